"""What is done beside all calls goes round the workspaces: none holds up the others, and nobody waits in a circle."""

import asyncio
from typing import Any

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.records import FOR_EVIDENCE
from sima_identity.store import erasures, graph, policies
from sima_identity.store.erasures import ToCheck
from sima_identity.store.policies import Place
from sima_identity.store.turns import Turn
from sima_runtime.database import Database, Driver, execute, fetch
from sima_runtime.keys import Key

from .conftest import Named, OpenDatabase, Replica, StartReplica, device, mail, together
from .laws import deadlocks, until_settled
from .test_erasing import now
from .test_hubs import until_counted

ONE, OTHER = b"1" * 16, b"2" * 16
PHONE = Named("phone", "+966551000001")
TABLET = device("tablet")


@pytest.fixture
async def idle(start_replica: StartReplica) -> Replica:
    """A replica that leaves everything to others."""
    return await start_replica(settle_seconds=3_600, count_seconds=3_600)


@pytest.fixture
def database(open_database: OpenDatabase) -> Database:
    """The database below."""
    return open_database("identity")


async def test_a_workspace_whose_work_fails_holds_up_nobody(
    start_replica: StartReplica, database: Database, workspace: str
) -> None:
    """One whose rows cannot be understood is tried again and again, and the others are grouped all the same."""
    names = [f"{workspace}-{letter}" for letter in "abc"]
    busy = await start_replica(neighbourhood_limit=1, settle_seconds=0.01)
    broken, *others = names
    await busy.resolve(broken, [together(mail(f"ada{number}"), mail(f"eve{number}")) for number in range(60)])
    async with database.statement() as connection:
        await execute(connection, "UPDATE edges SET refusal = 'of tomorrow' WHERE workspace = %s", (broken,))
        again = "INSERT INTO pending (workspace, key) SELECT workspace, key FROM identifiers WHERE workspace = %s"
        await execute(connection, f"{again} ON CONFLICT DO NOTHING", (broken,))
    for name in others:
        await busy.resolve(name, [together(mail("ada"), mail("eve"))])
        [answer] = await busy.resolve(name, [together(mail("ada"), mail("max"))])
        assert answer.pending
        await until_settled(database, name)
    async with database.statement() as connection:
        assert await fetch(connection, "SELECT FROM pending WHERE workspace = %s", (broken,))
        await execute(connection, "DELETE FROM pending WHERE workspace = %s", (broken,))


async def test_every_workspace_comes_in_turn(database: Database, workspace: str) -> None:
    """The next one behind the last; not one that rests, nor one that somebody else is at."""
    first, second, third = names = [f"{workspace}-{number}" for number in range(3)]
    async with database.transaction() as connection, database.statement() as other:
        await execute(other, "SELECT pg_advisory_lock(hashtextextended('sima turn ' || %s, 0))", (third,))
        for name in names:
            await graph.add_pending(connection, name, [ONE], FOR_EVIDENCE)
        assert await graph.next_pending(connection, Turn(workspace)) == (first, ONE)
        assert await graph.next_pending(connection, Turn(first)) == (second, ONE)
        assert await graph.next_pending(connection, Turn(first, [second])) != (third, ONE)
        await execute(other, "SELECT pg_advisory_unlock_all()")
        assert await graph.next_pending(connection, Turn(first, [second])) == (third, ONE)
        await connection.rollback()


async def test_who_waits_for_a_barrier_is_not_chosen(idle: Replica, database: Database, workspace: str) -> None:
    """Once all was looked through there is nothing to do before those who know only an earlier policy have ended."""
    await idle.set_policy(workspace, pb.IdentityPolicy())
    before = Turn(workspace[:-1])
    async with database.statement() as connection:
        async with database.transaction() as old:
            await graph.begin(old)
            async with database.transaction() as first:
                chosen = await policies.next_to_apply(first, before)
                assert chosen is not None
                assert chosen[:2] == (workspace, 1)
                await policies.move(first, *chosen, None)
            assert await next_to_apply(connection, before) != workspace
        async with asyncio.timeout(30):
            while await next_to_apply(connection, before) != workspace:  # noqa: ASYNC110  # no bell
                await asyncio.sleep(0.01)


async def next_to_apply(connection: Driver, before: Turn) -> str | None:
    """The workspace that is chosen."""
    chosen = await policies.next_to_apply(connection, before)
    return chosen and chosen[0]


async def test_what_an_erasure_marked_is_found_without_the_others(
    idle: Replica, database: Database, workspace: str
) -> None:
    """Where all was grouped under the policy before, only the hubs that lost a neighbour are read."""
    people = [mail(str(number)) for number in range(1_000)]
    await idle.resolve(workspace, [*map(together, people), *(together(one, PHONE) for one in people[:22])])
    await idle.erase(workspace, people[:1])
    async with database.transaction() as connection:
        await graph.begin(connection)
        place = await policies.place(connection, workspace, 0)
        assert place == Place(None, alone=False, applied_before=True)
        assert await policies.stale(connection, workspace, 0, place, 9) == []
        [hub] = await policies.stale(connection, workspace, 0, place._replace(alone=True), 9)
        [(kind,)] = await fetch(connection, "SELECT kind FROM identifiers WHERE key = %s", (Key(hub),))
        assert kind == "phone"
        parameters = {"workspace": workspace, "alone": True, "after": None, "limit": 9}
        plan = await fetch(connection, f"EXPLAIN (ANALYZE) {policies.STALE_AGAIN}", parameters)
        assert "identifiers_stale_again" in str(plan)
        assert "Removed" not in str(plan)


async def test_a_policy_that_was_not_applied_yet_is_looked_through_as_a_whole(
    idle: Replica, database: Database, workspace: str
) -> None:
    """Also if something is erased meanwhile; if it was applied, only what the erasure marked is."""
    people = [mail(str(number)) for number in range(23)]
    await idle.resolve(workspace, [together(one, PHONE) for one in people])
    await idle.set_policy(workspace, pb.IdentityPolicy())
    await idle.erase(workspace, people[:1])
    async with database.statement() as connection:
        assert not (await policies.place(connection, workspace, 1)).applied_before
        applied = "UPDATE policies SET applied_at = now() WHERE workspace = %s"
        await execute(connection, applied, (workspace,))
    for one in people[1:3]:
        await idle.erase(workspace, [one])
        async with database.statement() as connection:
            assert (await policies.place(connection, workspace, 1)).applied_before


async def test_who_erases_again_and_who_checks_never_wait_in_a_circle(
    idle: Replica, start_replica: StartReplica, database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came back late is erased again by a call just while it is found: both go on, and it is gone."""
    before, late = await deadlocks(database), erasures.late
    await idle.resolve(workspace, [together(mail("ada"), mail("eve"))])
    await idle.erase(workspace, [mail("ada")])
    request = pb.ResolveRequest(sets=[now(mail("ada"), mail("eve"))])
    await idle.client.call(idle.stub.Resolve, request, workspace=workspace)
    async with database.statement() as connection:  # so that it counts as late
        await execute(connection, "UPDATE tombstones SET until = clock_timestamp() WHERE workspace = %s", (workspace,))
    erasing: list[asyncio.Task[Any]] = []

    async def erased_while_found(connection: Any, in_workspace: str, keys: Any) -> Any:
        if in_workspace == workspace and not erasing:
            erasing.append(asyncio.create_task(idle.erase(workspace, [mail("ada")])))
            await until_done_or_waiting(erasing[0], database)
        return await late(connection, in_workspace, keys)

    monkeypatch.setattr(erasures, "late", erased_while_found)
    await start_replica(settle_seconds=0.01)
    await until_settled(database, workspace)
    assert (await erasing[0]).identifiers_erased == 1
    assert not (await idle.lookup(workspace, [mail("ada")]))[0].identifiers
    assert await deadlocks(database) == before


async def until_done_or_waiting(task: "asyncio.Task[Any]", database: Database) -> None:
    """Wait until a call is answered, or its transaction waits for another one."""
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
    async with asyncio.timeout(10), database.statement() as connection:
        while not task.done() and not await fetch(connection, waiting):  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.01)


async def test_what_is_erased_again_while_it_is_checked_is_checked_again(database: Database, workspace: str) -> None:
    """Everybody has to know of the later erasure, too."""
    async with database.transaction() as connection:
        await erasures.bury(connection, workspace, [ONE, OTHER])
    async with database.transaction() as connection, database.statement() as other:
        await erasures.raise_barriers(other)
        found = ToCheck([ONE, OTHER], await barrier(database, workspace, ONE) or 0)
        await erasures.bury(other, workspace, [OTHER])
        await erasures.raise_barriers(other)
        await erasures.clean(connection, workspace, found)
    query = "SELECT key FROM tombstones WHERE workspace = %s AND checked"
    async with database.statement() as connection:
        assert await fetch(connection, query, (workspace,)) == [(ONE,)]


async def test_a_barrier_is_not_raised_for_what_is_just_being_erased_again(database: Database, workspace: str) -> None:
    """Whoever raises it waits for nobody: who did not know of the later erasure may be younger."""
    async with database.transaction() as connection:
        await erasures.bury(connection, workspace, [ONE, OTHER])
    async with database.transaction() as connection:
        await erasures.bury(connection, workspace, [OTHER])
        async with database.statement() as other:
            await erasures.raise_barriers(other)
    assert await barrier(database, workspace, ONE) is not None
    assert await barrier(database, workspace, OTHER) is None


async def barrier(database: Database, workspace: str, key: bytes) -> int | None:
    """The barrier of a tombstone."""
    query = "SELECT barrier::text::bigint FROM tombstones WHERE workspace = %s AND key = %s"
    async with database.statement() as connection:
        [(number,)] = await fetch(connection, query, (workspace, Key(key)))
    return None if number is None else int(number)


async def test_a_workspace_that_cannot_be_counted_holds_up_nobody(
    idle: Replica, start_replica: StartReplica, database: Database, workspace: str
) -> None:
    """Others are counted all the same, also if it has something to be counted for longer."""
    broken, other = f"{workspace}-a", f"{workspace}-b"
    async with database.statement() as connection:
        check = f"ALTER TABLE degrees ADD CONSTRAINT of_nobody CHECK (workspace <> '{broken}') NOT VALID"
        await execute(connection, check)
    try:
        for name in (broken, other):
            await idle.resolve(name, [together(TABLET, mail("ada")), together(TABLET, mail("eve"))])
        await start_replica(settle_seconds=3_600, count_seconds=0.01)
        await until_counted(database, other)
        async with database.statement() as connection:
            assert await fetch(connection, "SELECT FROM recounts WHERE workspace = %s", (broken,))
    finally:
        async with database.statement() as connection:
            await execute(connection, "ALTER TABLE degrees DROP CONSTRAINT of_nobody")
