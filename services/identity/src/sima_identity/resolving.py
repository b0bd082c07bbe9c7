"""Records what messages show and says whom their identifiers belong to.

What is known already is answered by one query. Else the neighbourhoods of what is new are locked, grouped together
with it, and the difference is written, in one transaction, which begins anew when another one got in between. Whatever
calls and replicas do at the same time, what is stored in the end is the grouping of all evidence.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import NamedTuple
from weakref import WeakValueDictionary

from sima_runtime.database import Database, Driver
from sima_runtime.errors import OverloadedError

from sima_identity.batch import AffiliationId, Batch, Sighting, gather, portions
from sima_identity.evidence import Pair, pair
from sima_identity.grouping import ATTEMPTS, Grouping, OvertakenError, Transaction, recorded, write
from sima_identity.owners import owner
from sima_identity.planning import Plan
from sima_identity.records import State, shown_version
from sima_identity.rounds import Rounds
from sima_identity.store import affiliations, erasures, graph
from sima_identity.store.known import Reading, read


class Answer(NamedTuple):
    """Whom a sighting belongs to: its keys, strongest first, its owner and the owner's profile, if there are any.

    `policy_version` is that under which the owner, or else the strongest, was grouped. `erased` says that some of its
    identifiers, which are left out, were erased after it was observed.
    """

    keys: list[bytes]
    owner_key: bytes | None
    profile_id: bytes | None
    pending: bool
    policy_version: int
    erased: bool = False


class LateError(Exception):
    """Something was erased after it was observed; `until` says by key what is refused."""

    def __init__(self, until: Mapping[bytes, int]) -> None:
        self.until = until
        super().__init__("erased after it was observed")


class Resolver:
    """Keeps the stored grouping equal to that of all evidence."""

    def __init__(self, database: Database, grouping: Grouping) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            grouping: Groups what is locked.
        """
        self._database, self._grouping = database, grouping
        self._rounds = Rounds(database, graph.next_pending, self._settle)
        # Within one process taking turns costs less than overtaking each other; replicas meet in the database.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

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
        erased: dict[bytes, int] = {}
        for _ in range(ATTEMPTS):
            try:
                return await self._resolve_left(workspace, sightings, erased)
            except LateError as error:
                erased |= error.until
        raise OverloadedError("the identifiers")

    async def _resolve_left(
        self, workspace: str, sightings: Sequence[Sighting], erased: Mapping[bytes, int]
    ) -> list[Answer]:
        """Resolve what is left of sightings without what was erased after it was observed."""
        left = [_left(sighting, erased) for sighting in sightings] if erased else sightings
        batch = gather(left)
        async with self._database.statement() as connection:
            known = await read(connection, workspace, batch)
            unseen = await affiliations.missing(connection, workspace, batch.affiliations) if batch.affiliations else ()
        states, pending = known.states, known.pending
        if known.unknown or known.missing or unseen:
            plan = await self._record(workspace, _unknown_part(batch, known, unseen), known.states.keys())
            states |= plan.states
            pending |= plan.pending_pairs()
        answers = [_answer(sighting, states, pending) for sighting in left]
        if erased:
            lost = (len(rest.identifiers) < len(each.identifiers) for rest, each in zip(left, sightings, strict=True))
            answers = [answer._replace(erased=gone) for answer, gone in zip(answers, lost, strict=True)]
        return answers

    async def _record(self, workspace: str, batch: Batch, known: Collection[bytes]) -> Plan:
        stored = [key for key in batch.identifiers if key in known]
        turn = self._turns.setdefault(workspace, asyncio.Lock())
        if turn.locked():  # who waits must look again: what is recorded meanwhile may be the same
            stored = list(batch.identifiers)
        async with turn:
            return await self._grouping.in_transaction(workspace, partial(self._attempt, batch, stored))

    async def _attempt(self, batch: Batch, stored: Sequence[bytes], transaction: Transaction) -> Plan:
        """Record a batch of which at least the identifiers `stored` are stored."""
        connection, workspace, in_force, *_ = transaction
        if transaction.anew:
            stored = list(batch.identifiers)
        until = await erasures.tombstones(connection, workspace, batch.identifiers)
        if late := {key: at for key, at in until.items() if batch.first_seen[key] <= at}:
            raise LateError(late)
        known = await graph.read_identifiers(connection, workspace, stored) if stored else []
        ends = {end for edge in batch.edges for end in (edge.low, edge.high)}
        tied = {end for each in batch.affiliations for end in (each.person, each.account)}
        earlier = {row.key for row in known if batch.first_seen[row.key] < row.first_seen_at}
        ends |= {row.key for row in known if row.key in earlier and in_force.policy.kind(row.kind).most_per_period}
        locked = await self._grouping.lock(
            transaction,
            [row for row in known if row.key in ends],
            limit=self._grouping.limit,
            others=known,
            also=earlier | {row.key for row in known if row.key in tied and not row.closed},
            unknown=batch.identifiers.keys() - {row.key for row in known},
        )
        if locked.newer:
            raise OvertakenError
        plan = await self._grouping.plan(transaction, batch, locked.situation)
        plan.returned = until.keys()
        await write(transaction, plan)
        if batch.affiliations:
            await affiliations.write(connection, workspace, batch.affiliations)
        recorded.add(1)
        return plan

    async def settle_one(self) -> bool:
        """Group one neighbourhood that was too large for a call; False if there is none."""
        return await self._rounds.go_on()

    async def _settle(self, connection: Driver, workspace: str, key: bytes) -> None:
        transaction = await self._grouping.begin(connection, workspace)
        known = await graph.read_identifiers(connection, workspace, [key])
        locked = await self._grouping.lock(transaction, known, limit=None)
        members = locked.situation.members
        because = await graph.remove_pending(connection, workspace, members | {key})
        await write(transaction, await self._grouping.plan(transaction, Batch(), locked.situation), because)
        # What grows faster than it is read would never be grouped if it had to be whole.
        if ends := members.intersection(end for edge in locked.newer for end in edge.pair):
            await graph.add_pending(connection, workspace, ends, because)


def _unknown_part(batch: Batch, known: Reading, unseen: Collection[AffiliationId]) -> Batch:
    """What of a batch has to be recorded."""
    edges = {edge: batch.edges[edge] for edge in known.missing}
    tied = {each: batch.affiliations[each] for each in unseen}
    keys = known.unknown.union(
        *((edge.low, edge.high) for edge in edges), *((each.person, each.account) for each in tied)
    )
    identifiers = {key: batch.identifiers[key] for key in keys}
    first_seen = {key: batch.first_seen[key] for key in keys}
    return Batch(identifiers, first_seen, edges=edges, affiliations=tied)


def _answer(sighting: Sighting, states: Mapping[bytes, State], pending: Collection[Pair]) -> Answer:
    keys = [identifier.key for identifier in sighting.identifiers]
    owner_key = owner(keys, states)
    profile_id = None if owner_key is None else states[owner_key].profile_id
    is_pending = bool(pending) and any(pair(one, other) in pending for one in keys for other in keys)
    version = shown_version(states[owner_key or keys[0]].policy_version) if keys else 0
    return Answer(keys, owner_key, profile_id, is_pending, version)


def _left(sighting: Sighting, erased: Mapping[bytes, int]) -> Sighting:
    """What is left of a sighting."""
    at = sighting.observed_at
    stays = [erased.get(one.key, at - 1) < at for one in sighting.identifiers]
    left = list(compress(sighting.identifiers, stays))
    return sighting._replace(identifiers=left, people=sum(stays[: sighting.people]))
