"""Records what messages show and says whom their identifiers belong to.

What is known already is answered by one query. Else the neighbourhoods of what is new are locked, grouped together
with it, and the difference is written, in one transaction, which begins anew when another one got in between. Whatever
calls and replicas do at the same time, what is stored in the end is the grouping of all evidence.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from sima_runtime.database import Database, Driver
from sima_runtime.errors import OverloadedError
from sima_runtime.feeds import notify
from sima_runtime.telemetry import meter

from sima_identity.batch import Batch, Sighting, gather, portions
from sima_identity.evidence import Pair, Refusal, pair
from sima_identity.neighbourhood import Neighbourhoods, leading_out
from sima_identity.owners import owner
from sima_identity.planning import Plan, Planner, Situation
from sima_identity.policy import Policy
from sima_identity.records import State, Stored, StoredEdge
from sima_identity.store import graph
from sima_identity.store.log import FEED, STANDINGS

# Groupings of more identifiers than this are computed beside the event loop, so that other calls go on.
_MANY = 2_000
# Each beginning anew means that another transaction got through, so this many in a row are contention beyond use.
_ATTEMPTS = 50
_WORKSPACES = 1024

_meter = meter("sima.identity")
_recorded = _meter.create_counter("sima_identity_recorded", "1", "Transactions that recorded new evidence.")
_begun_anew = _meter.create_counter("sima_identity_begun_anew", "1", "Transactions begun anew, another was faster.")


class Answer(NamedTuple):
    """Whom a sighting belongs to: its keys, strongest first, its owner and the owner's profile, if there are any."""

    keys: list[bytes]
    owner_key: bytes | None
    profile_id: bytes | None
    pending: bool


class _OvertakenError(Exception):
    """Another transaction got in between; begin anew."""


class Resolver:
    """Keeps the stored grouping equal to that of all evidence."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        secrets: Callable[[str], bytes],
        neighbourhood_limit: int,
    ) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policy: The rules.
            secrets: Gives the secret of a workspace.
            neighbourhood_limit: Neighbourhoods with more identifiers are grouped in the background.
        """
        self._database = database
        self._limit = neighbourhood_limit
        # Within one process taking turns costs less than overtaking each other; replicas meet in the database.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._planner = lru_cache(_WORKSPACES)(lambda workspace: Planner(policy, secrets(workspace)))

    async def resolve(self, workspace: str, sightings: Sequence[Sighting]) -> list[Answer]:
        """Record sightings durably and answer each, in order.

        Raises:
            OverloadedError: Too many others write about the same identifiers at the same time.
            DependencyUnavailableError: The database does not answer.
        """
        answers: list[Answer] = []
        for portion in portions(sightings):
            answers += await self._resolve(workspace, portion)
        return answers

    async def _resolve(self, workspace: str, sightings: Sequence[Sighting]) -> list[Answer]:
        batch = gather(sightings)
        async with self._database.statement() as connection:
            known = await graph.read(connection, workspace, batch)
        states, pending = known.states, known.pending
        if known.unknown or known.missing:
            plan = await self._record(workspace, _unknown_part(batch, known), known.states.keys())
            states |= plan.states
            pending |= plan.pending_pairs()
        return [_answer(sighting, states, pending) for sighting in sightings]

    async def _record(self, workspace: str, batch: Batch, known: Collection[bytes]) -> Plan:
        stored = [key for key in batch.identifiers if key in known]
        turn = self._turns.setdefault(workspace, asyncio.Lock())
        if turn.locked():  # who waits must look again: what is recorded meanwhile may be the same
            stored = list(batch.identifiers)
        async with turn:
            return await self._record_in_turn(workspace, batch, stored)

    async def _record_in_turn(self, workspace: str, batch: Batch, stored: list[bytes]) -> Plan:
        for attempt in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    await graph.begin(connection)
                    if attempt:  # one at a time, or they would go on overtaking each other
                        await graph.take_turn(connection, workspace)
                    return await self._attempt(connection, workspace, batch, stored)
            except _OvertakenError:
                _begun_anew.add(1)
                stored = list(batch.identifiers)
        raise OverloadedError("the identifiers")

    async def _attempt(self, connection: Driver, workspace: str, batch: Batch, stored: Sequence[bytes]) -> Plan:
        """Record a batch of which at least the identifiers `stored` are stored."""
        known = await graph.read_identifiers(connection, workspace, stored) if stored else []
        ends = {end for edge in batch.edges for end in (edge.low, edge.high)}
        seeds = {row.key for row in known if row.key in ends and not (row.hub or row.blocked)}
        earlier = {row.key for row in known if batch.first_seen[row.key] < row.first_seen_at}
        neighbourhoods = Neighbourhoods(seeds, self._limit)
        situation, newer = await self._lock(connection, workspace, known, neighbourhoods, earlier.union(seeds))
        if newer:
            raise _OvertakenError
        plan = await self._plan(workspace, batch, situation)
        await _write(connection, workspace, plan)
        _recorded.add(1)
        return plan

    async def _lock(
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
        """
        await neighbourhoods.load(partial(graph.read_edges, connection, workspace))
        members = neighbourhoods.members()
        stored = {row.key: row for row in known}
        if to_lock := members.union(others):
            rows, overtaken = await graph.lock_identifiers(connection, workspace, to_lock)
            if overtaken:
                raise _OvertakenError
            stored |= {row.key: row for row in rows}
        edges = set(await graph.read_edges(connection, workspace, members)) if members else set()
        edges -= (newer := leading_out(edges, members))
        if hubs := _hubs_around(edges, stored):
            stored |= {row.key: row for row in await graph.read_identifiers(connection, workspace, hubs)}
        return Situation(stored, members, tuple(edges)), newer

    async def _plan(self, workspace: str, batch: Batch, situation: Situation) -> Plan:
        work = partial(self._planner(workspace).plan, batch, situation)
        if len(situation.members) + len(batch.identifiers) > _MANY:
            return await asyncio.to_thread(work)
        return work()

    async def settle_one(self) -> bool:
        """Group one neighbourhood that was too large for a call; False if there is none."""
        try:
            async with self._database.transaction() as connection:
                await graph.begin(connection)
                await graph.take_time(connection)
                task = await graph.next_pending(connection)
                if task is not None:
                    await self._settle(connection, *task)
                return task is not None
        except _OvertakenError:
            _begun_anew.add(1)
            return True

    async def _settle(self, connection: Driver, workspace: str, key: bytes) -> None:
        known = await graph.read_identifiers(connection, workspace, [key])
        seeds = {row.key for row in known if not row.hub}
        neighbourhoods = Neighbourhoods(seeds, limit=None)
        situation, newer = await self._lock(connection, workspace, known, neighbourhoods, seeds)
        await _write(connection, workspace, await self._plan(workspace, Batch(), situation))
        await graph.remove_pending(connection, workspace, situation.members | {key})
        # What grows faster than it is read would never be grouped if it had to be whole.
        if ends := situation.members.intersection(end for edge in newer for end in (edge.low, edge.high)):
            await graph.add_pending(connection, workspace, ends)


async def _write(connection: Driver, workspace: str, plan: Plan) -> None:
    """Write a plan in the one order in which everybody writes."""
    if plan.new and not await graph.insert_identifiers(connection, workspace, plan.new):
        raise _OvertakenError
    if plan.changed:
        await graph.update_identifiers(connection, workspace, plan.changed)
    if plan.edges:
        await graph.write_edges(connection, workspace, plan.edges)
    if plan.refusals:
        await graph.write_refusals(connection, workspace, plan.refusals)
    if plan.pending:
        await graph.add_pending(connection, workspace, plan.pending)
    if plan.changes_states():
        await notify(connection, FEED, workspace)
    if plan.changes_standings():
        await notify(connection, STANDINGS, workspace)


def _unknown_part(batch: Batch, known: graph.Reading) -> Batch:
    """What of a batch has to be recorded."""
    edges = {edge: batch.edges[edge] for edge in known.missing}
    keys = known.unknown.union(*((edge.low, edge.high) for edge in edges))
    identifiers = {key: batch.identifiers[key] for key in keys}
    return Batch(identifiers, {key: batch.first_seen[key] for key in keys}, edges=edges)


def _hubs_around(edges: Collection[StoredEdge], stored: Mapping[bytes, Stored]) -> set[bytes]:
    ends = {end for edge in edges if edge.refusal is Refusal.HUB for end in (edge.low, edge.high)}
    return ends - stored.keys()


def _answer(sighting: Sighting, states: Mapping[bytes, State], pending: Collection[Pair]) -> Answer:
    keys = [identifier.key for identifier in sighting.identifiers]
    owner_key = owner(keys, states)
    profile_id = None if owner_key is None else states[owner_key].profile_id
    is_pending = bool(pending) and any(pair(one, other) in pending for one in keys for other in keys)
    return Answer(keys, owner_key, profile_id, is_pending)
