"""Who was seen with many: what is to be counted, and what the counts say. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from sima_identity.batch import Batch
from sima_identity.planning import Plan, Situation
from sima_identity.policy import Policy
from sima_identity.records import Subject


@dataclass(frozen=True, slots=True)
class GrowthLimits:
    """More distinct identifiers than this within 24 hours are suspicious.

    Attributes:
        identifier: Seen with one identifier, by the time of messages.
        profile: Come to one profile, by the time at which that was concluded.
    """

    identifier: int = 50
    profile: int = 30


class Gained(NamedTuple):
    """Identifiers that were first seen with an identifier in a span of time, and profiles that are new to it."""

    identifiers: int
    profiles: int


class Neighbours(NamedTuple):
    """What the edges of an identifier say: how many others of each kind there are, and how many profiles they have."""

    key: bytes
    kind: str
    profile_id: bytes | None
    shared: bool
    hub: bool
    kinds: Mapping[str, int]
    profiles: int
    day: Gained
    week: Gained


class Degree(NamedTuple):
    """With how many others an identifier was seen, as it is stored; `counted_at` is None until it is."""

    identifiers: int
    strong: int
    most: int
    profiles: int
    kinds: Mapping[str, int]
    day: Gained
    week: Gained
    crowded: bool
    counted_at: datetime | None = None


class Grown(NamedTuple):
    """That something gained suspiciously many identifiers; `kind` is None of a profile."""

    subject: Subject
    profile_id: bytes | None
    kind: str | None
    gained: int
    most: int


def degree(seen: Neighbours, policy: Policy) -> Degree | None:
    """Return what is stored of an identifier that was counted; None if it is neither shared nor seen with many."""
    strong = sum(count for kind, count in seen.kinds.items() if policy.kind(kind).strong)
    most = policy.kind(seen.kind).shared_above
    crowded = seen.hub or 2 * strong >= most
    if not (seen.shared or crowded):
        return None
    return Degree(sum(seen.kinds.values()), strong, most, seen.profiles, seen.kinds, seen.day, seen.week, crowded)


def to_recount(batch: Batch, situation: Situation, plan: Plan, policy: Policy, limits: GrowthLimits) -> set[Subject]:
    """Return what a plan makes worth counting: too much rather than too little.

    Whoever was seen with few is never counted, so that this costs nothing where nothing is wrong.
    """
    identifiers = {Subject(key, is_profile=False) for key in _many(batch, situation, plan, policy, limits)}
    return identifiers | {Subject(own, is_profile=True) for own in _gaining(plan, limits.profile)}


def _many(batch: Batch, situation: Situation, plan: Plan, policy: Policy, limits: GrowthLimits) -> Iterator[bytes]:
    """Identifiers with a new edge or another standing that are shared, or seen with many; of a regrouping, any such."""
    yield from (row.key for row in plan.new if row.shared)
    yield from (row.key for row in plan.changed if row.standing_changed)
    looked_at = {end for edge in batch.edges for end in edge[:2]} or situation.members
    yield from (key for key in looked_at if plan.states[key].shared)
    pairs = {edge.pair for edge in situation.edges if edge.verdict is None}.union(edge[:2] for edge in batch.edges)
    degrees = Counter(chain.from_iterable(pairs))
    fewest = min(_least(name, policy, limits) for name in ("", *policy.kinds))  # nearly all were seen with fewer
    for key in looked_at.intersection(key for key, count in degrees.items() if count >= fewest):
        stored = situation.stored.get(key)
        kind = batch.identifiers[key].kind if stored is None else stored.kind
        if degrees[key] >= _least(kind, policy, limits) and not plan.states[key].blocked:
            yield key


def _least(kind: str, policy: Policy, limits: GrowthLimits) -> int:
    """With fewer others than this nothing can be said of an identifier."""
    return min((policy.kind(kind).shared_above + 1) // 2, limits.identifier + 1)


def _gaining(plan: Plan, most: int) -> Iterator[bytes]:
    """Profiles that gain identifiers, and have more than so many."""
    gaining = {row.profile_id for row in plan.new}
    gaining |= {row.profile_id for row in plan.changed if row.profile_id != row.previous_profile_id}
    sizes = Counter(state.profile_id for state in plan.states.values())
    return (own for own in gaining if own is not None and sizes[own] > most)
