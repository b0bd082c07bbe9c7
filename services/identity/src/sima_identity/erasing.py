"""Erases identifiers: with all that was seen of them, so that nothing but a keyed tombstone is left.

What is left of their people is grouped anew, in the same transaction. A tombstone refuses what is older than itself, as
often as it comes. Somebody may have begun to record an identifier before its tombstone could be seen; so once all of
them have ended it is looked at again.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from sima_runtime.database import Database, Driver
from sima_runtime.errors import AlreadyExistsError, NotFoundError
from sima_runtime.feeds import notify

from sima_identity.batch import Batch
from sima_identity.decisions import Deciding
from sima_identity.grouping import Grouping, OvertakenError, Transaction, write
from sima_identity.planning import Plan, Situation, told_anew
from sima_identity.records import FOR_EVIDENCE, Because, ChangedIdentifier, Subject, Wanted
from sima_identity.rounds import Rounds
from sima_identity.rules import Rules
from sima_identity.store import erasures, graph, lookups, policies
from sima_identity.store import hubs as hub_counts
from sima_identity.store.erasures import Erased
from sima_identity.store.log import FEED, STANDINGS

# Tombstones that are looked at again in one transaction.
_PORTION = 1_000


class Erasure(NamedTuple):
    """What came of a call: identifiers of others that moved; `pending` if some neighbourhood is grouped later."""

    erased: Erased
    changes: Sequence[ChangedIdentifier]
    pending: bool


class Eraser:
    """Erases, in the name of who calls."""

    def __init__(self, database: Database, grouping: Grouping, secrets: Callable[[str], bytes]) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            grouping: Groups what is locked.
            secrets: Gives the secret of a workspace.
        """
        self._database, self._grouping, self._secrets = database, grouping, secrets
        self._rounds = Rounds(database, erasures.next_to_check, self._check)

    async def erase(self, workspace: str, keys: Collection[bytes], profile: bytes | None, by: Deciding) -> Erasure:
        """Erase identifiers, and all of a profile if one is given; or return what the same call erased before.

        Raises:
            NotFoundError: No profile was ever known by the id.
            AlreadyExistsError: The same call asked for something else before.
            OverloadedError: Too many others write about the same identifiers at the same time.
        """
        own = self._digest(workspace, b"erasure", by.request_id.encode())
        asked = self._digest(workspace, b"erased", b"".join(sorted(keys)) + b"/" + (profile or b""))

        async def work(transaction: Transaction) -> Erasure:
            connection = transaction.connection
            await graph.take_time(connection)  # hubs have millions of edges
            if (done := await erasures.find(connection, workspace, own)) is not None:
                if done.asked not in {None, asked}:
                    raise AlreadyExistsError("erasure", own.hex())
                return Erasure(done, (), pending=False)
            wanted = {*keys, *(await _members(connection, workspace, profile) if profile else ())}
            known, changes, pending = await self._erase(transaction, wanted, Because(erasure=own))
            return Erasure(await self._noted(transaction, own, asked, by, known), changes, pending)

        return await self._grouping.in_transaction(workspace, work)

    def _digest(self, workspace: str, of: bytes, content: bytes) -> bytes:
        return blake2b(content, digest_size=16, key=self._secrets(workspace), person=of).digest()

    async def _noted(self, transaction: Transaction, own: bytes, asked: bytes, by: Deciding, known: int) -> Erased:
        erased = await erasures.insert(*transaction[:2], own, asked, by, known)
        if erased is None:
            raise OvertakenError
        return erased

    async def check_some(self) -> bool:
        """Look again at some erased identifiers; False if there are none."""
        async with self._database.statement() as connection:
            await erasures.raise_barriers(connection)
        return await self._rounds.go_on()

    async def _check(self, connection: Driver, workspace: str) -> None:
        transaction = await self._grouping.begin(connection, workspace)
        found = await erasures.to_check(connection, workspace, _PORTION)
        if late := await erasures.late(connection, workspace, found.keys):
            await self._erase(transaction, late, FOR_EVIDENCE, anew=False)
            return  # the others are looked at in a transaction that has locked nothing yet
        gone = await erasures.told_last(connection, workspace, found.keys)
        back = [row.key for row in await graph.read_identifiers(connection, workspace, gone)]
        misled = set(await erasures.misled(connection, workspace, found.keys))
        locked = await self._grouping.lock(transaction, (), limit=None, also=misled.union(back))
        # Readers learn who is there of those that the feed said last are gone: they came back meanwhile.
        told = [told_anew(locked.situation.stored[key]) for key in back]
        await write(transaction, Plan(transaction.in_force.version, changed=told))
        await erasures.clean(connection, workspace, found)
        await self._look_again(transaction, set(), misled, (), FOR_EVIDENCE)

    async def _erase(
        self, transaction: Transaction, keys: Collection[bytes], because: Because, *, anew: bool = True
    ) -> tuple[int, Sequence[ChangedIdentifier], bool]:
        """Erase identifiers and group the rest; returns how many were known, who moved, and whether some are left.

        What is not erased anew was recorded by who did not know of the erasure; its tombstone stays as it is, so that
        what was observed since is taken when it comes again.
        """
        connection, workspace, *_ = transaction
        known = await graph.read_identifiers(connection, workspace, keys)
        touched = await erasures.touched(connection, workspace, known)
        limit, own = self._grouping.limit, {row.key for row in known}
        locked = await self._grouping.lock(transaction, known, limit=limit, also={*touched, *own})
        stored = locked.situation.stored
        if (
            locked.newer
            or any(stored[row.key] != row for row in known)
            or not (await erasures.touched(connection, workspace, known)).keys() <= touched.keys()
        ):
            raise OvertakenError
        if anew:
            await erasures.bury(connection, workspace, keys)
        await erasures.delete(connection, workspace, known, because.erasure)
        await policies.forget_values(connection, workspace, keys)
        rest = _without(locked.situation, own)
        plan = await self._grouping.plan(transaction, Batch(), rest)
        await write(transaction, plan, because)
        hubs = {key for key in touched.keys() - own if stored[key].hub}
        left_out = touched.keys() - rest.members - hubs - own
        await self._look_again(transaction, own, hubs, left_out, because)
        for feed in (FEED, STANDINGS) if known else ():
            await notify(connection, feed, workspace)
        return len(known), [row for row in plan.changed if row.state_changed], bool(left_out)

    async def _look_again(
        self,
        transaction: Transaction,
        own: set[bytes],
        hubs: set[bytes],
        left_out: Collection[bytes],
        because: Because,
    ) -> None:
        """Have hubs, which may be none any more, and neighbourhoods that are too large, looked at in the background.

        The erased are counted once more: whoever is counting them just now writes what is gone.
        """
        connection, workspace, *_ = transaction
        if hubs:
            await erasures.make_stale(connection, workspace, hubs)
            await policies.unsettle(connection, workspace, Rules().to_json())
        if recounts := own | hubs:
            await hub_counts.ask(connection, workspace, [Subject(key, is_profile=False) for key in recounts])
        if left_out:
            await graph.add_pending(connection, workspace, left_out, because)


async def _members(connection: Driver, workspace: str, profile: bytes) -> list[bytes]:
    """The identifiers that a profile, current or former, has now."""
    found = (await lookups.lookup(connection, workspace, [Wanted(None, profile)])).get(0)
    if found is None:
        raise NotFoundError("profile", profile.hex())
    return [member.key for member in found.members]


def _without(situation: Situation, gone: Collection[bytes]) -> Situation:
    """What is there when some identifiers are gone."""
    return replace(
        situation,
        stored={key: row for key, row in situation.stored.items() if key not in gone},
        members=situation.members.difference(gone),
        edges=tuple(edge for edge in situation.edges if edge.low not in gone and edge.high not in gone),
        closed={key: reason for key, reason in situation.closed.items() if key not in gone},
        stale=situation.stale.difference(gone),
    )
