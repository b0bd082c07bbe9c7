"""Says why identifiers are one person or are not: the way from one to the other, and what stands on it. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from sima_identity.evidence import Pair, Refusal, Verdict, pair
from sima_identity.records import StoredEdge

_REMEDIES = {
    Refusal.BLOCKED: "one of the two is a value that names nobody; only another policy could let it bind",
    Refusal.HUB: "one of the two was seen with too many others; only a higher limit of its kind could let it bind",
    Refusal.NEVER_LINK: "a decision about two whom it would join; withdraw that one",
    Refusal.SEVERAL_PEOPLE: "a weak identifier that leads to several people; decide whose it is with AlwaysLink",
    Refusal.KIND_LIMIT: "the profile would have too many identifiers of one kind; split those that are not theirs",
    Refusal.PERIOD_LIMIT: "the profile would have too many identifiers of one kind that were first seen within a short "
    "time; only another policy, or a split of those that are not theirs, could let it bind",
    Refusal.SIZE_LIMIT: "the profile would have too many identifiers; split those that are not theirs",
    Refusal.PENDING: "the neighbourhood is large and still to be looked at; ask again in a moment",
}


class Evidence(NamedTuple):
    """That a source showed two identifiers together; `message_id` is of a message that showed it first."""

    source: str
    message_id: str | None
    first_at: datetime


class Link(NamedTuple):
    """Everything between two identifiers: evidence and decisions; without refusal it binds."""

    pair: Pair
    evidence: Sequence[Evidence]
    decisions: Sequence[bytes]
    refusal: Refusal | None


def remedy(refusal: Refusal) -> str:
    """Return what would have to change for a link to bind."""
    return _REMEDIES[refusal]


def chain(edges: Iterable[StoredEdge], one: bytes, other: bytes) -> list[Pair]:
    """Return the way from one identifier to another with the fewest edges that do not bind, and of these the shortest.

    Args:
        edges: All that is known around the two.
        one: Where the way begins.
        other: Where it ends.

    Returns:
        The pairs along the way, in order; none if there is no way.
    """
    neighbours = _neighbours(edges)
    # Cost, hops, where, and the way to it; ties are decided by keys, so that the answer is always the same.
    waiting: list[tuple[int, int, bytes, tuple[bytes, ...]]] = [(0, 0, one, (one,))]
    done: set[bytes] = set()
    while waiting:
        cost, hops, key, way = heapq.heappop(waiting)
        if key == other:
            return [pair(*ends) for ends in pairwise(way)]
        if key not in done:
            done.add(key)
            for neighbour, more in neighbours[key].items():
                if neighbour not in done:
                    heapq.heappush(waiting, (cost + more, hops + 1, neighbour, (*way, neighbour)))
    return []


def _neighbours(edges: Iterable[StoredEdge]) -> defaultdict[bytes, dict[bytes, int]]:
    """Return, by identifier, its neighbours with 0 where something binds the two, and 1 where all is refused."""
    costs: defaultdict[bytes, dict[bytes, int]] = defaultdict(dict)
    for edge in edges:
        if edge.verdict is not Verdict.NEVER:
            cost = min(int(edge.refusal is not None), costs[edge.low].get(edge.high, 1))
            costs[edge.low][edge.high] = costs[edge.high][edge.low] = cost
    return costs
