"""Groups what is stored under the policy in force, one portion after the other, beside all calls.

An identifier knows the version of the policy under which it was grouped. Whoever records new evidence about a
neighbourhood groups it under the policy in force; here the others follow, each neighbourhood in one transaction. Who
began when only an earlier version was known may still write under that one; so all is looked through again when the
last of them has ended. Where it stands is stored, so that it goes on after a restart. What an erasure marked, when all
was grouped under the policy already, is found by an index.
"""

from sima_runtime.database import Database, Driver

from sima_identity.batch import Batch
from sima_identity.grouping import Grouping, OvertakenError, Transaction, write
from sima_identity.rounds import Rounds
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
        self._grouping = grouping
        self._rounds = Rounds(database, policies.next_to_apply, self._apply)

    async def apply_some(self) -> bool:
        """Group a portion; False if there is nothing to do now."""
        return await self._rounds.go_on()

    async def _apply(self, connection: Driver, workspace: str, version: int, seen: str) -> None:
        transaction = await self._grouping.begin(connection, workspace)
        if transaction.in_force.version != version:
            raise OvertakenError
        place = await policies.place(connection, workspace, version)
        keys = await policies.stale(connection, workspace, version, place, _PORTION)
        if keys:
            await self._group(transaction, keys)
            await policies.move(connection, workspace, version, seen, keys[-1])
        elif place.after is None and place.alone:
            await policies.finish(connection, workspace, version)
        else:
            await policies.move(connection, workspace, version, seen, None)

    async def _group(self, transaction: Transaction, keys: list[bytes]) -> None:
        known = await graph.read_identifiers(transaction.connection, transaction.workspace, keys)
        locked = await self._grouping.lock(transaction, known, limit=None)
        if locked.newer:
            raise OvertakenError
        await write(transaction, await self._grouping.plan(transaction, Batch(), locked.situation))
