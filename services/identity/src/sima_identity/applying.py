"""Groups what is stored under the policy in force, one portion after the other, beside all calls.

An identifier knows the version of the policy under which it was grouped. Whoever records new evidence about a
neighbourhood groups it under the policy in force; here the others follow, each neighbourhood in one transaction. Who
began when only an earlier version was known may still write under that one; so all is looked through again when the
last of them has ended. Where it stands is stored, so that it goes on after a restart.
"""

from sima_runtime.database import Database, Driver

from sima_identity.batch import Batch
from sima_identity.grouping import Grouping, OvertakenError, Transaction, begun_anew, write
from sima_identity.store import graph, policies

# Identifiers whose neighbourhoods are grouped in one transaction.
_PORTION = 1_000


class Applier:
    """Applies policies. Of several replicas, one at a time is at it in a workspace."""

    def __init__(self, database: Database, grouping: Grouping) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            grouping: Groups what is locked.
        """
        self._database, self._grouping = database, grouping
        self._overtaken = False

    async def apply_some(self) -> bool:
        """Group a portion; False if there is nothing to do now."""
        try:
            async with self._database.transaction() as connection:
                await graph.take_time(connection)
                task = await policies.next_to_apply(connection)
                done = task is not None and await self._apply(connection, *task)
        except OvertakenError:
            begun_anew.add(1)
            self._overtaken = done = True
        else:
            self._overtaken = False
        return done

    async def _apply(self, connection: Driver, workspace: str, version: int) -> bool:
        transaction = await self._grouping.begin(connection, workspace)
        if transaction.in_force.version != version:
            raise OvertakenError
        if self._overtaken:
            await graph.take_turn(connection, workspace)
        after, alone = await policies.place(connection, workspace, version)
        keys = await policies.stale(connection, workspace, version, after, _PORTION)
        if keys:
            await self._group(transaction, keys)
            await policies.move(connection, workspace, version, keys[-1])
        elif after is None and alone:
            await policies.finish(connection, workspace, version)
        else:
            await policies.move(connection, workspace, version, None)
        return bool(keys) or after is not None

    async def _group(self, transaction: Transaction, keys: list[bytes]) -> None:
        known = await graph.read_identifiers(transaction.connection, transaction.workspace, keys)
        locked = await self._grouping.lock(transaction, known, limit=None)
        if locked.newer:
            raise OvertakenError
        await write(transaction, await self._grouping.plan(transaction, Batch(), locked.situation))
