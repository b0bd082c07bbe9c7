"""Which value of a trait counts, folded from all its observations. Pure, and the same in whatever order they came.

Only the latest observations of each source and method are weighed (`WEIGHED`), except under union, so that a trait that
was observed ten thousand times costs no more than one that was observed a hundred times.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

#: How many observations of each source and method are weighed, the latest ones.
WEIGHED = 50
#: How many losing values are shown at most.
MAX_ALTERNATIVES = 20


class Survivorship(StrEnum):
    """How the value that counts is chosen."""

    MOST_RECENT = "most_recent"
    MOST_TRUSTED_SOURCE = "most_trusted_source"
    DECLARED_FIRST = "declared_first"
    UNION = "union"


class Observation(NamedTuple):
    """One observation of one trait; the order of the fields is the order of precedence among the latest.

    Attributes:
        observed_at: When, in microseconds since 1970.
        confidence: How sure the source is, above 0 and at most 1.
        source: Who stated it.
        method: How the source knew: declared, observed or acquired.
        type: Type of the value: text, number, boolean or time.
        value: The value as JSON text.
    """

    observed_at: int
    confidence: float
    source: str
    method: str
    type: str
    value: str


@dataclass(frozen=True, slots=True)
class TraitPolicy:
    """How one trait survives.

    Attributes:
        survivorship: The rule.
        trusted_sources: Sources in their order of trust, each once, for most_trusted_source; who is absent comes last.

    Raises:
        ValueError: A source has two places, or most_trusted_source has no trusted_sources.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # else the settings would drop a misspelt key in silence

    survivorship: Survivorship = Survivorship.MOST_RECENT
    trusted_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.survivorship is Survivorship.MOST_TRUSTED_SOURCE and not self.trusted_sources:
            raise ValueError("expected trusted_sources for most_trusted_source")
        if len(set(self.trusted_sources)) < len(self.trusted_sources):
            raise ValueError("expected each source once in trusted_sources")


@dataclass(frozen=True, slots=True)
class FoldedTrait:
    """A trait of a profile.

    Attributes:
        trait: Its name.
        values: Each value that counts, with the observation that ranks best for it; several only under union.
        alternatives: The best losing values, in their order.
        survivorship: The rule that chose.
        contradiction: What the person declared last differs from what was observed or acquired last.
    """

    trait: str
    values: tuple[Observation, ...]
    alternatives: tuple[Observation, ...]
    survivorship: Survivorship
    contradiction: bool


_DEFAULT = TraitPolicy()
Rank = Callable[[Observation], Any]


def fold_traits(
    observations: Mapping[str, Sequence[Observation]], policies: Mapping[str, TraitPolicy]
) -> tuple[FoldedTrait, ...]:
    """Fold the observations of each trait by its policy; the traits come in the order of their names."""
    return tuple(
        fold_trait(trait, observations[trait], policies.get(trait, _DEFAULT)) for trait in sorted(observations)
    )


def fold_trait(trait: str, observations: Sequence[Observation], policy: TraitPolicy) -> FoldedTrait:
    """Fold the observations of one trait; there is at least one."""
    if len(observations) == 1:  # most are seen once, and there is nothing to weigh
        return FoldedTrait(trait, tuple(observations), (), policy.survivorship, contradiction=False)
    union = policy.survivorship is Survivorship.UNION
    weighed = observations if union else _latest_of_each(observations)
    ranked = _best_of_each_value(weighed, _rank(policy))
    winners = len(ranked) if union else 1
    return FoldedTrait(
        trait,
        tuple(ranked[:winners]),
        tuple(ranked[winners : winners + MAX_ALTERNATIVES]),
        policy.survivorship,
        # A set of values holds what was declared beside what was observed.
        contradiction=not union and _contradicts(weighed),
    )


def _latest_of_each(observations: Sequence[Observation]) -> Sequence[Observation]:
    if len(observations) <= WEIGHED:
        return observations
    groups: defaultdict[tuple[str, str], list[Observation]] = defaultdict(list)
    for observation in sorted(observations, reverse=True):
        groups[observation.source, observation.method].append(observation)
    return [observation for group in groups.values() for observation in group[:WEIGHED]]


def _rank(policy: TraitPolicy) -> Rank:
    match policy.survivorship:
        case Survivorship.MOST_TRUSTED_SOURCE:
            trust = {source: -place for place, source in enumerate(policy.trusted_sources)}
            least = -len(trust)
            return lambda observation: (trust.get(observation.source, least), observation)
        case Survivorship.DECLARED_FIRST:
            return lambda observation: (observation.method == "declared", observation)
        case _:
            return lambda observation: observation


def _best_of_each_value(observations: Iterable[Observation], rank: Rank) -> list[Observation]:
    best: dict[tuple[str, str], Observation] = {}
    for observation in sorted(observations, key=rank, reverse=True):
        best.setdefault((observation.type, observation.value), observation)
    return list(best.values())


def _contradicts(observations: Iterable[Observation]) -> bool:
    latest: dict[str, tuple[str, str]] = {}
    for observation in sorted(observations):
        latest[observation.method] = observation.type, observation.value
    declared = latest.pop("declared", None)
    return declared is not None and any(other != declared for other in latest.values())
