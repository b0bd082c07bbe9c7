"""What has to be written so that what is stored equals the grouping of all evidence. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sima_identity.batch import Batch
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Clustering, Decisions, Edge, Node, Pair, Refusal, Verdict
from sima_identity.policies import InForce
from sima_identity.policy import Policy
from sima_identity.profile_ids import founded_id, founder
from sima_identity.records import (
    Cause,
    ChangedIdentifier,
    NewIdentifier,
    RefusedPair,
    State,
    Stored,
    StoredEdge,
    Subject,
    WrittenEdge,
    shown_version,
)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is stored around a batch.

    Attributes:
        stored: Identifiers of the batch and of its neighbourhoods, by key.
        members: Those whose whole neighbourhood is in `edges`; the others keep their profile: they are closed, or
            their neighbourhood is too large to be looked at now.
        edges: All edges of the members, and what was decided about them.
        closed: Stored identifiers that bind nobody under the policy in force, and why.
        stale: Those that were grouped under another policy, and are to be grouped under this one now.
    """

    stored: Mapping[bytes, Stored] = field(default_factory=dict)
    members: frozenset[bytes] = frozenset()
    edges: tuple[StoredEdge, ...] = ()
    closed: Mapping[bytes, Refusal] = field(default_factory=dict)
    stale: frozenset[bytes] = frozenset()

    def with_edges(self, edges: Iterable[StoredEdge]) -> "Situation":
        """Return it with other edges, but those to hubs that are gone: who took them for present may have written some.

        They are deleted when their erasure is looked at again.
        """
        there = (edge for edge in edges if edge.refusal is not Refusal.HUB or self.stored.keys() >= set(edge.pair))
        return replace(self, edges=tuple(there))


@dataclass(slots=True)
class Plan:
    """What to write, and what identifiers are like afterwards.

    Attributes:
        new: Identifiers to insert, by key.
        changed: Identifiers to rewrite.
        confirmed: Identifiers that are as they were, but grouped under another version of the policy.
        edges: Edges to insert or to make earlier, in order of their keys.
        refusals: Stored edges that bind no longer, bind now, or are refused for another reason.
        pending: Identifiers whose neighbourhood has to be looked at in the background.
        states: Of all identifiers that were looked at.
        policy_version: The version of the policy under which all this is.
        recounts: What is worth counting anew.
        returned: Identifiers that were erased once: readers still have the standing that they had.
    """

    policy_version: int
    new: list[NewIdentifier] = field(default_factory=list)
    changed: list[ChangedIdentifier] = field(default_factory=list)
    confirmed: list[bytes] = field(default_factory=list)
    edges: list[WrittenEdge] = field(default_factory=list)
    refusals: list[RefusedPair] = field(default_factory=list)
    pending: set[bytes] = field(default_factory=set)
    states: dict[bytes, State] = field(default_factory=dict)
    recounts: set[Subject] = field(default_factory=set)
    returned: Collection[bytes] = ()

    def pending_pairs(self) -> set[Pair]:
        """Pairs of the batch that have not been looked at."""
        return {(edge.low, edge.high) for edge in self.edges if edge.refusal is Refusal.PENDING}

    def changes_states(self) -> bool:
        """Whether the log will tell of it."""
        return bool(self.new) or any(row.state_changed for row in self.changed)

    def changes_standings(self) -> bool:
        """Whether the log will tell that identifiers became or ceased to be shared or blocked."""
        told = any(row.shared or row.blocked or row.key in self.returned for row in self.new)
        return told or any(row.standing_changed for row in self.changed)


class Planner:
    """Plans for one workspace."""

    def __init__(self, in_force: InForce, secret: bytes) -> None:
        self._policy, self._blocking, self._version = in_force.policy, in_force.blocking, in_force.version
        self._secret = secret

    def plan(self, batch: Batch, situation: Situation) -> Plan:
        """Group what is stored around a batch together with the batch, and say what that changes."""
        closed = {**situation.closed, **dict(self._closed(batch, situation))}
        clustering = grouped(batch, situation, closed, self._policy)
        plan = Plan(self._version, states={key: row.state for key, row in situation.stored.items()})
        self._plan_blocked(batch, situation, closed, plan)
        self._plan_clusters(batch, situation, clustering, plan)
        _plan_first_seen(batch, situation, plan)
        _plan_edges(batch, situation, clustering, plan)
        plan.new.sort()
        return plan

    def _closed(self, batch: Batch, situation: Situation) -> Iterator[tuple[bytes, Refusal]]:
        """What else is known to bind nobody before anything is grouped."""
        for key in situation.stored:
            if key not in situation.members and key not in situation.closed:
                yield key, Refusal.PENDING
        for key, (kind, value, _) in batch.identifiers.items():
            if key not in situation.stored and self._blocking.blocks(key, kind, value):
                yield key, Refusal.BLOCKED

    def _plan_blocked(self, batch: Batch, situation: Situation, closed: Mapping[bytes, Refusal], plan: Plan) -> None:
        state = State(None, shared=False, blocked=True, policy_version=self._version)
        for key, reason in closed.items():
            if reason is Refusal.BLOCKED and (key not in situation.stored or key in situation.stale):
                self._plan_identifier(batch, situation, key, state, plan)

    def _plan_clusters(self, batch: Batch, situation: Situation, clustering: Clustering, plan: Plan) -> None:
        for members in clustering.clusters:
            stored = situation.stored.get(members[0])
            # What is closed is as it was as long as the policy is the same.
            if stored is None or not stored.closed or stored.key in situation.stale:
                self._plan_cluster(batch, situation, clustering, members, plan)

    def _plan_cluster(
        self, batch: Batch, situation: Situation, clustering: Clustering, members: list[bytes], plan: Plan
    ) -> None:
        founding, founds = founder(members, situation.stored)
        reason = clustering.shared.get(members[0])
        profile = founded_id(self._secret, founding)
        state = State(profile, shared=reason is not None, blocked=False, policy_version=self._version)
        hub = reason is Refusal.HUB
        for key in members:
            self._plan_identifier(batch, situation, key, state, plan, founds=founds and key == founding, hub=hub)

    def _plan_identifier(
        self,
        batch: Batch,
        situation: Situation,
        key: bytes,
        state: State,
        plan: Plan,
        *,
        founds: bool = False,
        hub: bool = False,
    ) -> None:
        plan.states[key] = state
        row = situation.stored.get(key)
        if row is None:
            plan.new.append(_new(batch, key, state, founds=founds, hub=hub))
        elif (row.state[:3], row.hub) != (state[:3], hub):
            plan.changed.append(_changed(row, state, founds=founds, hub=hub))
        elif row.policy_version != state.policy_version:
            plan.confirmed.append(key)


def grouped(batch: Batch, situation: Situation, closed: Mapping[bytes, Refusal], policy: Policy) -> Clustering:
    """Return the grouping of what is stored together with a batch, given what is known to bind nobody, and why."""
    nodes, edges = _nodes(batch, situation, closed), _edges(batch, situation)
    return cluster_identifiers(nodes, edges, policy, _decisions(situation))


def _nodes(batch: Batch, situation: Situation, closed: Mapping[bytes, Refusal]) -> Iterator[Node]:
    for key, row in situation.stored.items():
        first_at = min(row.first_seen_at, batch.first_seen.get(key, row.first_seen_at))
        yield Node(key, row.kind, closed.get(key), first_at)
    for key, identifier in batch.identifiers.items():
        if key not in situation.stored:
            yield Node(key, identifier.kind, closed.get(key), batch.first_seen[key])
    for edge in situation.edges:  # what is blocked ends the neighbourhood and was not loaded
        if edge.refusal is Refusal.BLOCKED:
            ends = (end for end in edge.pair if end not in situation.stored and end not in batch.identifiers)
            yield from (Node(end, "", Refusal.BLOCKED) for end in ends)


def _edges(batch: Batch, situation: Situation) -> Iterator[Edge]:
    yield from (Edge(edge.low, edge.high, edge.first_at) for edge in situation.edges if edge.verdict is None)
    yield from (Edge(edge.low, edge.high, seen.first_at) for edge, seen in batch.edges.items())


def _decisions(situation: Situation) -> Decisions:
    said = {verdict: frozenset(edge.pair for edge in situation.edges if edge.verdict is verdict) for verdict in Verdict}
    return Decisions(always=said[Verdict.ALWAYS], never=said[Verdict.NEVER])


def _new(batch: Batch, key: bytes, state: State, *, founds: bool, hub: bool) -> NewIdentifier:
    kind, value, _ = batch.identifiers[key]
    return NewIdentifier(
        key, kind, value, state.profile_id, founds, state.shared, hub, state.blocked, batch.first_seen[key]
    )


def told_anew(row: Stored) -> ChangedIdentifier:
    """Return an identifier as it is, to be told as if it were new."""
    before = row._replace(profile_id=None, shared=False, blocked=False)
    told = _changed(before, row.state, founds=False, hub=row.hub)
    return told._replace(state_changed=True, standing_changed=True)


def _changed(row: Stored, state: State, *, founds: bool, hub: bool) -> ChangedIdentifier:
    return ChangedIdentifier(
        row.key,
        row.kind,
        row.profile_id,
        state.profile_id,
        founds,
        state.shared,
        hub,
        state.blocked,
        row.first_seen_at,
        state.policy_version,
        state_changed=row.state[:3] != state[:3],
        standing_changed=(row.shared, row.blocked) != (state.shared, state.blocked),
        own_cause=_own_cause(row, state),
        previously_shared=row.shared,
        previously_blocked=row.blocked,
    )


def _own_cause(row: Stored, state: State) -> Cause | None:
    if row.policy_version == state.policy_version:
        return None
    return Cause.OTHERS_ERASED if shown_version(row.policy_version) == state.policy_version else Cause.POLICY


def _plan_first_seen(batch: Batch, situation: Situation, plan: Plan) -> None:
    """Let identifiers that were seen earlier than was known say so."""
    earlier = {
        key: first_at
        for key, first_at in batch.first_seen.items()
        if (row := situation.stored.get(key)) and first_at < row.first_seen_at
    }
    plan.changed = [row._replace(first_seen_at=earlier.pop(row.key, row.first_seen_at)) for row in plan.changed]
    for key, first_at in earlier.items():
        row = situation.stored[key]
        plan.changed.append(_changed(row, row.state, founds=False, hub=row.hub)._replace(first_seen_at=first_at))


def _plan_edges(batch: Batch, situation: Situation, clustering: Clustering, plan: Plan) -> None:
    refused = clustering.refused
    plan.edges = [
        WrittenEdge(*edge, seen.message_id, seen.first_at, refused.get((edge.low, edge.high)))
        for edge, seen in sorted(batch.edges.items())
    ]
    changed = {
        RefusedPair(*edge.pair, refused.get(edge.pair))
        for edge in situation.edges
        if edge.verdict is not Verdict.NEVER and edge.refusal is not refused.get(edge.pair)
    }
    plan.refusals = list(changed)
    plan.pending = _pending(plan.edges, situation)


def _pending(edges: Iterable[WrittenEdge], situation: Situation) -> set[bytes]:
    """Ends whose neighbourhood is too large to be looked at now; an edge to a hub, too, may make a hub of them.

    Of an edge that has not been looked at both ends, also new ones: until then the other may turn out to be closed.
    """
    waiting = {end for edge in edges if edge.refusal is Refusal.PENDING for end in edge[:2]}
    ends = {end for edge in edges if edge.refusal is not Refusal.BLOCKED for end in edge[:2]} - situation.members
    return waiting | {end for end in ends if end in situation.stored and end not in situation.closed}
