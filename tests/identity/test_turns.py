"""Who was overtaken waits for the turn of the workspace, is not overtaken again, and holds up nobody meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sima_identity.grouping import Grouping, OvertakenError, Transaction
from sima_identity.hubs import GrowthLimits
from sima_identity.policies import Policies
from sima_identity.policy import Policy
from sima_identity.store import graph
from sima_identity.store.turns import take_turn
from sima_runtime.database import Database, fetch

from .conftest import OpenDatabase, Replica, Secret, mail, together

Meanwhile = Callable[[], Awaitable[object]]


@pytest.fixture
def database(open_database: OpenDatabase) -> Database:
    """The database below."""
    return open_database("identity")


class Attempts:
    """Work that is overtaken at first, and then locks all that is known."""

    def __init__(self) -> None:
        self.count = 0

    async def work(self, transaction: Transaction) -> None:
        """Attempt it."""
        self.count += 1
        if self.count == 1:
            raise OvertakenError
        connection, workspace, *_ = transaction
        rows = await fetch(connection, "SELECT key FROM identifiers WHERE workspace = %s", (workspace,))
        _, overtaken = await graph.lock_identifiers(connection, workspace, [key for (key,) in rows])
        if overtaken:
            raise OvertakenError


@pytest.fixture
async def waiting(database: Database, secret: Secret, workspace: str) -> AsyncIterator[Attempts]:
    """Some work that waits for the turn, which it gets when the test is through, and then is done."""
    grouping = Grouping(database, Policies(database, Policy(), secret), secret, 2_000, GrowthLimits())
    attempts = Attempts()
    async with database.transaction() as holder:
        await take_turn(holder, workspace)
        task = asyncio.create_task(grouping.in_transaction(workspace, attempts.work))
        await until_waiting(database)
        yield attempts
    await task
    assert attempts.count == 2


async def until_waiting(database: Database) -> None:
    """Wait until somebody waits for a turn."""
    waits = """SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE NOT granted AND locktype = 'advisory' AND datname = current_database()"""
    async with asyncio.timeout(10), database.statement() as connection:
        while not await fetch(connection, waits):  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.01)


async def test_who_got_through_before_it_had_the_turn_has_not_overtaken_it(
    identity: Replica, waiting: Attempts, workspace: str
) -> None:
    """Others, who take no turn at their first attempt, change all that it is about to lock; it begins behind them."""
    await identity.resolve(workspace, [together(mail("ada"), mail("eve"))])
    await identity.never(workspace, mail("ada"), mail("eve"))
    assert waiting.count == 1


async def test_who_waits_for_the_turn_does_not_hold_back_the_feeds(
    identity: Replica, waiting: Attempts, workspace: str
) -> None:
    """Nothing of it is written yet, so readers of all workspaces hear what others write."""
    await identity.resolve(f"{workspace}-other", [together(mail("ada"))])
    async with asyncio.timeout(20):
        assert await identity.changes(f"{workspace}-other")
    assert waiting.count == 1
