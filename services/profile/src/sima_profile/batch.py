"""Which of several contents of one message counts, within a batch and against what is stored. Pure.

The smallest content hash counts, so the order of arrival does not matter; every other content is kept beside.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from sima_profile.facts import CheckedFact
from sima_profile.identity import Belonging


class Outcome(Enum):
    """What became of a fact."""

    ACCEPTED = auto()
    DUPLICATE = auto()
    REFUSED = auto()
    CONFLICT = auto()


class Arrival(NamedTuple):
    """A fact of a batch.

    Attributes:
        id: Its id.
        occurred_at: When it happened; if it does not say so, when it was first received.
        fact: What it says.
        belonging: Whom identity says that it belongs to.
    """

    id: bytes
    occurred_at: int
    fact: CheckedFact
    belonging: Belonging


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is to be done about messages that came with different contents.

    Attributes:
        replaced: Ids of stored facts whose content has to give way.
        kept: Arrivals that lost.
    """

    replaced: tuple[bytes, ...]
    kept: tuple[Arrival, ...]


def winners(arrivals: Iterable[Arrival]) -> dict[bytes, Arrival]:
    """Return the arrival that counts for each id."""
    best: dict[bytes, Arrival] = {}
    for arrival in arrivals:
        rival = best.setdefault(arrival.id, arrival)
        if arrival.fact.content < rival.fact.content:
            best[arrival.id] = arrival
    return best


def outcomes(arrivals: Sequence[Arrival], stored: Mapping[bytes, bytes]) -> list[Outcome]:
    """Return what became of each arrival, one after the other, given the contents that were stored before."""
    if not stored and len({arrival.id for arrival in arrivals}) == len(arrivals):
        return [Outcome.ACCEPTED] * len(arrivals)
    seen = {fact: {content} for fact, content in stored.items()}
    results = []
    for arrival in arrivals:
        known = seen.setdefault(arrival.id, set())
        content = arrival.fact.content
        results.append(Outcome.DUPLICATE if content in known else Outcome.CONFLICT if known else Outcome.ACCEPTED)
        known.add(content)
    return results


def settle(arrivals: Iterable[Arrival], best: Mapping[bytes, Arrival], stored: Mapping[bytes, bytes]) -> Settlement:
    """Decide between the arrivals, the best of them for each id, and the contents that are stored."""
    replaced = tuple(fact for fact, content in stored.items() if best[fact].fact.content < content)
    standing = {fact: arrival.fact.content for fact, arrival in best.items()}
    standing.update((fact, content) for fact, content in stored.items() if fact not in replaced)
    kept = {
        (arrival.id, arrival.fact.content): arrival
        for arrival in arrivals
        if arrival.fact.content not in (standing[arrival.id], stored.get(arrival.id))
    }
    # In one order, so that two batches with the same messages never wait for each other in a circle.
    return Settlement(replaced, tuple(kept[each] for each in sorted(kept)))
