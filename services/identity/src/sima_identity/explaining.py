"""Says why identifiers are one person or are not: the way from one to the other, and what stands on it. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from sima_identity.evidence import Pair, Refusal, Verdict, pair
from sima_identity.guards import Broken, Rule
from sima_identity.records import StoredEdge

_MOST_NAMED = 5  # decisions in one text

#: Of each refusal, what stands against the link, where nothing more is known, and what would have to change.
_REASONS = {
    Refusal.BLOCKED: ("one of the two is a value that names nobody", "only another policy could let it bind"),
    Refusal.HUB: ("one of the two was seen with too many others", "only a higher limit of its kind could let it bind"),
    Refusal.NEVER_LINK: ("a decision about two whom it would join", "withdraw that one"),
    Refusal.SEVERAL_PEOPLE: (
        "one of the two is weak, and was seen with several people",
        "decide whose it is (`always`)",
    ),
    Refusal.KIND_LIMIT: (
        "the profile would have too many identifiers of one kind",
        "split those that are not theirs",
    ),
    Refusal.PERIOD_LIMIT: (
        "the profile would have too many identifiers of one kind that were first seen within a short time",
        "only another policy, or a split of those that are not theirs, could let it bind",
    ),
    Refusal.SIZE_LIMIT: ("the profile would have too many identifiers", "split those that are not theirs"),
    Refusal.PENDING: ("the neighbourhood is large and still to be looked at", "ask again in a moment"),
}
_COUNTED = {
    Rule.SHARED_ABOVE: "one of the two was seen with {found:,} strong identifiers",
    Rule.MOST_PER_PROFILE: "the profile would have {found:,}",
    Rule.MOST_PER_PERIOD: "the profile would have {found:,} that were first seen within one period",
    Rule.MOST_IDENTIFIERS: "there are {found:,} identifiers",
}


class Evidence(NamedTuple):
    """That a source showed two identifiers together; `message_id` is of a message that showed it first."""

    source: str
    message_id: str | None
    first_at: datetime


class Link(NamedTuple):
    """Everything between two identifiers: evidence and decisions; without refusal it binds.

    Where it is known, `broken` has the rules that refuse it, and `kept_apart_by` the decisions that do.
    """

    pair: Pair
    evidence: Sequence[Evidence]
    decisions: Sequence[bytes]
    refusal: Refusal | None
    broken: Sequence[Broken] = ()
    kept_apart_by: Sequence[bytes] = ()


def remedy(link: Link) -> str:
    """Return what stands against a link, and what would have to change for it to bind; empty if it binds."""
    if link.refusal is None:
        return ""
    reason, change = _REASONS[link.refusal]
    if link.kept_apart_by:
        reason = f"{_named(link.kept_apart_by)} about two whom it would join"
    elif link.broken:
        reason = ", ".join(map(_counted, link.broken))
    return f"{reason}; {change}"


def _named(decisions: Sequence[bytes]) -> str:
    names = " and ".join(decision.hex() for decision in decisions[:_MOST_NAMED])
    more = f" and {len(decisions) - _MOST_NAMED:,} more" if len(decisions) > _MOST_NAMED else ""
    return f"decision {names}{more}"


def _counted(broken: Broken) -> str:
    of_kind = f" of {broken.kind}" if broken.kind else ""
    return f"{_COUNTED[broken.rule].format(found=broken.found)}, and {broken.rule}{of_kind} is {broken.limit:,}"


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
