"""What exactly refuses a link: the rule of the policy with its numbers, and the decisions. Pure."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from sima_sdk.identifiers import IdentifierKind

from sima_identity.evidence import Pair, Refusal
from sima_identity.policy import Policy


class Rule(StrEnum):
    """A limit of the policy, as `sima.yaml` calls it."""

    SHARED_ABOVE = "shared_above"
    MOST_PER_PROFILE = "most_per_profile"
    MOST_PER_PERIOD = "most_per_period"
    MOST_IDENTIFIERS = "most_identifiers"


class Broken(NamedTuple):
    """A rule that a link would break, of one kind or of all (None): what it allows, and what there is or would be."""

    rule: Rule
    kind: str | None
    limit: int
    found: int


class Member(NamedTuple):
    """An identifier of a profile; when it was seen first is in microseconds since 1970."""

    profile_id: bytes
    key: bytes
    kind: str
    first_at: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known around the ends of links that do not bind.

    Attributes:
        ends: The kind of each end, and whose it is.
        members: The identifiers of these profiles.
        apart: Pairs among them of which somebody decided that they are not one person, each with the decision.
        degrees: Of ends that are hubs, with how many strong identifiers each was seen, and with how many in all.
    """

    ends: Mapping[bytes, tuple[str, bytes | None]]
    members: Sequence[Member]
    apart: Sequence[tuple[Pair, bytes]]
    degrees: Mapping[bytes, tuple[int, int]]

    def broken(self, ends: Pair, refusal: Refusal, policy: Policy) -> list[Broken]:
        """Return the rules of the sort that a refusal names which a link between two breaks, or would break."""
        if refusal is Refusal.HUB:
            rules = itertools.chain(*(self._of_hub(end, policy) for end in ends if end in self.degrees))
        else:
            rules = itertools.chain(_together(refusal, self._of_both(ends), policy))
        return [one for one in rules if one.found > one.limit]

    def kept_apart_by(self, ends: Pair) -> list[bytes]:
        """Return the decisions that keep apart two whom a link would join."""
        homes = {member.key: member.profile_id for member in self._of_both(ends)}
        between = (decision for (low, high), decision in self.apart if low in homes and high in homes)
        return sorted(set(between))

    def _of_both(self, ends: Pair) -> list[Member]:
        profiles = {profile_id for end in ends if end in self.ends and (profile_id := self.ends[end][1]) is not None}
        return [member for member in self.members if member.profile_id in profiles]

    def _of_hub(self, end: bytes, policy: Policy) -> Iterator[Broken]:
        (kind, _), (strong, all_) = self.ends[end], self.degrees[end]
        yield Broken(Rule.SHARED_ABOVE, kind, policy.kind(kind).shared_above, strong)
        yield Broken(Rule.MOST_IDENTIFIERS, None, policy.most_identifiers, all_)


def _together(refusal: Refusal, members: Sequence[Member], policy: Policy) -> Iterable[Broken]:
    """Return the rules of a sort that could keep identifiers from being one profile, with what it would have."""
    if refusal is Refusal.SIZE_LIMIT:
        return [Broken(Rule.MOST_IDENTIFIERS, None, policy.most_identifiers, len(members))]
    if refusal is Refusal.KIND_LIMIT:
        counts = sorted(Counter(member.kind for member in members).items())
        return [
            Broken(Rule.MOST_PER_PROFILE, kind, policy.kind(kind).most_per_profile, count) for kind, count in counts
        ]
    return _per_period(members, policy) if refusal is Refusal.PERIOD_LIMIT else ()


def _per_period(members: Sequence[Member], policy: Policy) -> Iterator[Broken]:
    for name in sorted({member.kind for member in members}):
        kind = policy.kind(name)
        if kind.most_per_period is not None:
            firsts = sorted(member.first_at for member in members if member.kind == name)
            yield Broken(Rule.MOST_PER_PERIOD, name, kind.most_per_period, _fullest(kind, firsts))


def _fullest(kind: IdentifierKind, firsts: Sequence[int]) -> int:
    """Return how many lie within the fullest period of a kind."""
    period, begin, most = kind.period // timedelta(microseconds=1), 0, 0
    for end, last in enumerate(firsts):
        while last - firsts[begin] >= period:
            begin += 1
        most = max(most, end - begin + 1)
    return most
