"""Locks a part of the graph, groups it, and writes the difference; all who change the grouping do it through here."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial

from sima_runtime.database import Driver
from sima_runtime.feeds import notify
from sima_runtime.telemetry import meter

from sima_identity.batch import Batch
from sima_identity.evidence import Refusal
from sima_identity.hubs import GrowthLimits, to_recount
from sima_identity.neighbourhood import Neighbourhoods, leading_out
from sima_identity.planning import Plan, Planner, Situation
from sima_identity.policy import Policy
from sima_identity.records import Stored, StoredEdge
from sima_identity.store import graph, hubs
from sima_identity.store.log import FEED, STANDINGS

# Groupings of more identifiers than this are computed beside the event loop, so that other calls go on.
_MANY = 2_000
_WORKSPACES = 1024

#: Each beginning anew means that another transaction got through, so this many in a row are contention beyond use.
ATTEMPTS = 50

_meter = meter("sima.identity")
recorded = _meter.create_counter("sima_identity_recorded", "1", "Transactions that recorded new evidence.")
begun_anew = _meter.create_counter("sima_identity_begun_anew", "1", "Transactions begun anew, another was faster.")


class OvertakenError(Exception):
    """Another transaction got in between; begin anew."""


class Grouping:
    """Keeps the stored grouping equal to that of all evidence and decisions. Every method is for a transaction."""

    def __init__(
        self,
        policy: Policy,
        secrets: Callable[[str], bytes],
        neighbourhood_limit: int,
        growth: GrowthLimits,
    ) -> None:
        """Set up.

        Args:
            policy: The rules.
            secrets: Gives the secret of a workspace.
            neighbourhood_limit: Neighbourhoods with more identifiers are grouped in the background.
            growth: What growth is suspicious, and therefore to be counted.
        """
        self.limit = neighbourhood_limit
        self._policy, self._growth = policy, growth
        self._planner = lru_cache(_WORKSPACES)(lambda workspace: Planner(policy, secrets(workspace)))

    def by_strength(self, kinds: Mapping[bytes, str]) -> list[bytes]:
        """Return the keys of identifiers, the strongest first, given the kind of each."""
        return sorted(kinds, key=lambda key: (-self._policy.kind(kinds[key]).priority, key))

    async def lock(
        self,
        connection: Driver,
        workspace: str,
        known: Sequence[Stored],
        neighbourhoods: Neighbourhoods,
        others: Collection[bytes],
    ) -> tuple[Situation, set[StoredEdge]]:
        """Lock neighbourhoods, and `others`, and read what is there.

        Returns:
            What is there, and the edges that lead out of it, because they came before all was locked.

        Raises:
            OvertakenError: Another transaction got in between.
        """
        await neighbourhoods.load(partial(graph.read_edges, connection, workspace))
        members = neighbourhoods.members()
        stored = {row.key: row for row in known}
        if to_lock := members.union(others):
            rows, overtaken = await graph.lock_identifiers(connection, workspace, to_lock)
            if overtaken:
                raise OvertakenError
            stored |= {row.key: row for row in rows}
        edges = set(await graph.read_edges(connection, workspace, members)) if members else set()
        edges -= (newer := leading_out(edges, members))
        if hubs := _hubs_around(edges, stored):
            stored |= {row.key: row for row in await graph.read_identifiers(connection, workspace, hubs)}
        return Situation(stored, members, tuple(edges)), newer

    async def plan(self, workspace: str, batch: Batch, situation: Situation) -> Plan:
        """Group what is there together with a batch, and say what that changes."""
        work = partial(self._planned, workspace, batch, situation)
        if len(situation.members) + len(batch.identifiers) > _MANY:
            return await asyncio.to_thread(work)
        return work()

    def _planned(self, workspace: str, batch: Batch, situation: Situation) -> Plan:
        plan = self._planner(workspace).plan(batch, situation)
        plan.recounts = to_recount(batch, situation, plan, self._policy, self._growth)
        return plan


async def write(connection: Driver, workspace: str, plan: Plan, decision: bytes | None = None) -> None:
    """Write a plan in the one order in which everybody writes; if a decision was the reason, the log says which.

    Raises:
        OvertakenError: Somebody else has just inserted the same identifier.
    """
    if plan.new and not await graph.insert_identifiers(connection, workspace, plan.new):
        raise OvertakenError
    if plan.changed:
        await graph.update_identifiers(connection, workspace, plan.changed, decision)
    if plan.edges:
        await graph.write_edges(connection, workspace, plan.edges)
    if plan.refusals:
        await graph.write_refusals(connection, workspace, plan.refusals)
    if plan.pending:
        await graph.add_pending(connection, workspace, plan.pending, decision)
    if plan.recounts:
        await hubs.ask(connection, workspace, plan.recounts)
    if plan.changes_states():
        await notify(connection, FEED, workspace)
    if plan.changes_standings():
        await notify(connection, STANDINGS, workspace)


def _hubs_around(edges: Collection[StoredEdge], stored: Mapping[bytes, Stored]) -> set[bytes]:
    ends = {end for edge in edges if edge.refusal is Refusal.HUB for end in (edge.low, edge.high)}
    return ends - stored.keys()
