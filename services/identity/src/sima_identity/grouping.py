"""Locks a part of the graph, groups it, and writes the difference; all who change the grouping do it through here."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

from sima_runtime.database import Database, Driver
from sima_runtime.errors import OverloadedError
from sima_runtime.feeds import notify
from sima_runtime.telemetry import meter

from sima_identity.batch import Batch
from sima_identity.closing import Closing
from sima_identity.evidence import Refusal
from sima_identity.hubs import GrowthLimits, to_recount
from sima_identity.neighbourhood import ENDS, Neighbourhoods, leading_out
from sima_identity.planning import Plan, Planner, Situation
from sima_identity.policies import InForce, Policies
from sima_identity.records import FOR_EVIDENCE, Because, Stored, StoredEdge
from sima_identity.store import graph, hubs
from sima_identity.store.log import FEED, STANDINGS
from sima_identity.store.turns import take_turn

# Groupings of more identifiers than this are computed beside the event loop, so that other calls go on.
_MANY = 2_000

#: Each beginning anew means that another transaction got through, so this many in a row are contention beyond use.
ATTEMPTS = 50

Done = TypeVar("Done")

_meter = meter("sima.identity")
recorded = _meter.create_counter("sima_identity_recorded", "1", "Transactions that recorded new evidence.")
begun_anew = _meter.create_counter("sima_identity_begun_anew", "1", "Transactions begun anew, another was faster.")


class OvertakenError(Exception):
    """Another transaction got in between; begin anew."""


class Transaction(NamedTuple):
    """A transaction that groups.

    Attributes:
        connection: Its connection.
        workspace: Whose identifiers it groups.
        in_force: Under which policy.
        spread: Whether rows lie on several machines.
        anew: Whether another one was faster when this was attempted before.
    """

    connection: Driver
    workspace: str
    in_force: InForce
    spread: bool
    anew: bool = False


class Locked(NamedTuple):
    """A part of the graph that is locked.

    Attributes:
        situation: What is there.
        seeds: The identifiers around which it lies, as far as they are not closed.
        newer: Edges that lead out of it, because they came before all was locked.
        closing: Knows which edges lead on.
    """

    situation: Situation
    seeds: set[bytes]
    newer: Collection[StoredEdge]
    closing: Closing


class Grouping:
    """Keeps the stored grouping equal to that of all evidence and decisions."""

    def __init__(
        self,
        database: Database,
        policies: Policies,
        secrets: Callable[[str], bytes],
        neighbourhood_limit: int,
        growth: GrowthLimits,
    ) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policies: The rules.
            secrets: Gives the secret of a workspace.
            neighbourhood_limit: Neighbourhoods with more identifiers are grouped in the background.
            growth: What growth is suspicious, and therefore to be counted.
        """
        self.limit = neighbourhood_limit
        self._database, self._policies, self._secrets, self._growth = database, policies, secrets, growth

    def by_strength(self, kinds: Mapping[bytes, str]) -> list[bytes]:
        """Return the keys of identifiers, the strongest first, given the kind of each."""
        return sorted(kinds, key=lambda key: (self._policies.base.kind(kinds[key]).rank, key))

    async def in_transaction(self, workspace: str, work: Callable[[Transaction], Awaitable[Done]]) -> Done:
        """Do some work in a transaction that groups, and anew as often as another one is faster.

        Raises:
            OverloadedError: Too many others write about the same identifiers at the same time.
        """
        for attempt in range(ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    if attempt:  # one at a time, or they would go on overtaking each other
                        await take_turn(connection, workspace)
                    transaction = await self.begin(connection, workspace)
                    return await work(transaction._replace(anew=attempt > 0))
            except OvertakenError:
                begun_anew.add(1)
        raise OverloadedError("the identifiers")

    async def begin(self, connection: Driver, workspace: str) -> Transaction:
        """Begin a transaction that groups."""
        spread = await graph.begin(connection)
        return Transaction(connection, workspace, await self._policies.in_force(connection, workspace), spread)

    async def lock(
        self,
        transaction: Transaction,
        around: Collection[Stored],
        *,
        limit: int | None,
        others: Iterable[Stored] = (),
        also: Collection[bytes] = (),
        unknown: Iterable[bytes] = (),
    ) -> Locked:
        """Lock the neighbourhoods of identifiers, and read what is there.

        Args:
            transaction: In which to do so.
            around: The identifiers.
            limit: Neighbourhoods with more identifiers are left out; None: there is no such limit.
            others: More identifiers that are known.
            also: Keys of more identifiers that are to be locked.
            unknown: Keys of identifiers that the transaction may insert.

        Raises:
            OvertakenError: Another transaction got in between.
        """
        connection, workspace, in_force, spread, _ = transaction
        closing = Closing(connection, workspace, in_force, spread=spread)
        seeds = await closing.open_among(around)
        neighbourhoods = Neighbourhoods(seeds, limit, closing)
        await neighbourhoods.load(partial(graph.read_edges, connection, workspace))
        members = neighbourhoods.members()
        stored = {row.key: row for row in (*others, *around)}
        to_lock = members.union(seeds, also, closing.to_lock())
        if spread:
            await graph.hold(connection, workspace, to_lock.union(unknown))
        if to_lock:
            lock = graph.read_held if spread else graph.lock_identifiers
            rows, overtaken = await lock(connection, workspace, to_lock)
            if overtaken or len(rows) < len(to_lock) or any(row.policy_version > in_force.version for row in rows):
                raise OvertakenError
            stored |= {row.key: row for row in rows}
        edges, newer = await self.edges(transaction, members, closing)
        if ends := _ends_around(edges, stored, in_force):
            stored |= {row.key: row for row in await graph.read_identifiers(connection, workspace, ends)}
        closed = await closing.closed(stored.values())
        if any(key not in closed for key in closing.stale_ends()) or await self._is_overtaken(transaction, stored):
            raise OvertakenError
        stale = {key for key in members | closing.stale_ends() if closing.is_stale(stored[key])}
        situation = Situation(stored, members, (), closed, frozenset(stale)).with_edges(edges)
        return Locked(situation, seeds, newer, closing)

    async def _is_overtaken(self, transaction: Transaction, stored: Mapping[bytes, Stored]) -> bool:
        """Whether what was opened or closed anew may have been so too early: something was erased just before."""
        connection, workspace, in_force, *_ = transaction
        anew = in_force.alone and any(row.closed and row.policy_version != in_force.version for row in stored.values())
        return anew and not (await self._policies.in_force(connection, workspace)).alone

    async def edges(
        self, transaction: Transaction, members: Collection[bytes], closing: Closing
    ) -> tuple[tuple[StoredEdge, ...], set[StoredEdge]]:
        """Return the edges of members that are locked: within and to what is closed, and those that lead out."""
        edges = set(await graph.read_edges(*transaction[:2], members)) if members else set()
        await closing.learn(edges)
        newer = leading_out(edges, members, closing)
        return tuple(edges - newer), newer

    async def plan(self, transaction: Transaction, batch: Batch, situation: Situation) -> Plan:
        """Group what is there together with a batch, and say what that changes."""
        work = partial(self._planned, transaction, batch, situation)
        if len(situation.members) + len(batch.identifiers) > _MANY:
            return await asyncio.to_thread(work)
        return work()

    def _planned(self, transaction: Transaction, batch: Batch, situation: Situation) -> Plan:
        _, workspace, in_force, *_ = transaction
        plan = Planner(in_force, self._secrets(workspace)).plan(batch, situation)
        plan.recounts = to_recount(batch, situation, plan, in_force.policy, self._growth)
        return plan


async def write(transaction: Transaction, plan: Plan, because: Because = FOR_EVIDENCE) -> None:
    """Write a plan in the one order in which everybody writes; the log says why.

    Raises:
        OvertakenError: Somebody else has just inserted the same identifier.
    """
    connection, workspace, *_ = transaction
    if plan.new:
        new = (plan.new, plan.policy_version, plan.returned)
        if not await graph.insert_identifiers(connection, workspace, *new):
            raise OvertakenError
    if plan.changed:
        await graph.update_identifiers(connection, workspace, plan.changed, because)
    if plan.confirmed:
        await graph.group_under(connection, workspace, plan.confirmed, plan.policy_version)
    if plan.edges:
        await graph.write_edges(connection, workspace, plan.edges)
    if plan.refusals:
        await graph.write_refusals(connection, workspace, plan.refusals)
    if plan.pending:
        await graph.add_pending(connection, workspace, plan.pending, because)
    if plan.recounts:
        await hubs.ask(connection, workspace, plan.recounts)
    if plan.changes_states():
        await notify(connection, FEED, workspace)
    if plan.changes_standings():
        await notify(connection, STANDINGS, workspace)


def _ends_around(edges: Iterable[StoredEdge], stored: Mapping[bytes, Stored], in_force: InForce) -> set[bytes]:
    """The hubs around; who was blocked under an earlier policy may be one by now, and then counts."""
    refusals = (Refusal.HUB,) if in_force.settled else ENDS
    ends = {end for edge in edges if edge.refusal in refusals for end in edge.pair}
    return ends - stored.keys()
