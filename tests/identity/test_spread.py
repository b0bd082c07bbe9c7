"""With Citus identifiers are held rather than locked; how that works can be seen on one machine, too."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise, product
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sima_identity.store import graph, neighbours, past
from sima_identity.store.arrays import NOBODY
from sima_runtime.database import Database, Driver, execute, fetch
from sima_runtime.epochs import ENDED_BEFORE, HAS_ENDED
from sima_runtime.migrations import migrate

from tests.databases import fresh_database
from tests.identity.conftest import Replica, Sighted, StartReplica, at, cookie, mail, together, user

ONE, OTHER = b"1" * 16, b"2" * 16


@pytest.fixture(scope="module")
def spread_url(postgres_server: str) -> Iterator[str]:
    """Address of a migrated database that says that Citus is loaded."""
    with fresh_database(postgres_server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET citus.version = 'none'").format(name))
        migrate(url, "sima_identity")
        yield url


async def test_replicas_that_hold_identifiers_group_what_they_record_at_the_same_time(
    start_replica: StartReplica, spread_url: str, workspace: str
) -> None:
    """Everybody who is linked to everybody else by somebody's message is one person, and told so in the feed."""
    replicas = [await start_replica(database_url=spread_url) for _ in range(2)]
    named = [user("u"), *(mail(f"m{number}") for number in range(12)), *(cookie(f"c{number}") for number in range(12))]
    pairs = [together(one, other) for one, other in pairwise(named)]

    async def record(replica: Replica, *batch: int) -> None:
        await replica.resolve(workspace, [pairs[number] for number in batch])

    async with asyncio.TaskGroup() as tasks:
        for number in range(len(pairs)):
            tasks.create_task(record(replicas[number % 2], number, (7 * number) % len(pairs)))
    states = await replicas[0].states(workspace, named)
    assert len({state.profile_id for state in states.values()}) == 1
    told = {change.identifier.key: change.profile_id for change in await replicas[1].changes(workspace)}
    assert len(told) == len(named)
    assert set(told.values()) == {state.profile_id for state in states.values()}


async def test_neighbours_of_the_past_are_the_same_where_they_are_read_one_by_one(
    start_replica: StartReplica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """Of each as many as are asked for, seen together or decided about, at both ends; and no more in all."""
    identity = await start_replica()
    named = [user("u"), *(mail(f"m{number}") for number in range(6)), cookie("late")]
    await identity.resolve(workspace, [together(named[0], one, minute=minute) for minute, one in enumerate(named[1:])])
    await identity.never(workspace, named[1], named[2])
    async with open_database("identity").transaction() as connection:
        await past.begin(connection)
        keys = [
            key for (key,) in await fetch(connection, "SELECT key FROM identifiers WHERE workspace = %s", (workspace,))
        ]
        for minute, most in product((0, 3, 9), (1, 3, 250)):
            asked = connection, workspace, int(at(minute).timestamp()) * 1_000_000, keys, most
            whole = await past.read_neighbours(*asked, 1_000)
            assert whole
            assert sorted(whole, key=repr) == sorted(await past.read_spread_neighbours(*asked, 1_000), key=repr)
            assert len(await past.read_spread_neighbours(*asked, 2)) == len(await past.read_neighbours(*asked, 2)) == 2


async def test_neighbours_are_the_same_where_they_are_read_one_by_one(
    start_replica: StartReplica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """Each once, whatever sources showed it, so many at a time, and behind the last of before."""
    identity = await start_replica()
    named = [user("u"), *(mail(f"m{number}") for number in range(6))]
    for source in ("shop", "till"):
        await identity.resolve(workspace, [Sighted([named[0], one], source=source) for one in named[1:]])
    async with open_database("identity").statement() as connection:
        all_ = await fetch(connection, "SELECT key FROM identifiers WHERE workspace = %s", (workspace,))
        for most in (1, 2, 6, 250):
            after, seen = {key: NOBODY for (key,) in all_}, list[tuple[bytes, bytes]]()
            while after:
                found, more = await neighbours.read(connection, workspace, after, most, spread=False)
                one_by_one = await neighbours.read(connection, workspace, after, most, spread=True)
                assert (sorted(found), more) == (sorted(one_by_one[0]), one_by_one[1])
                seen += [(one.of, one.key) for one in found]
                after = more
            assert len(seen) == len(set(seen)) == 2 * 6


async def test_the_past_is_told_where_tables_lie_on_several_machines(
    start_replica: StartReplica, spread_url: str, workspace: str
) -> None:
    """As where they lie on one: who was one person, without what was seen later."""
    identity = await start_replica(database_url=spread_url)
    named = [user("u"), mail("m"), cookie("late")]
    await identity.resolve(workspace, [together(*ends, minute=minute) for minute, ends in enumerate(pairwise(named))])
    before, after = [(await identity.as_of(workspace, [named[0]], at(minute)))[0] for minute in (0, 1)]
    assert (len(before.identifiers), len(after.identifiers)) == (2, 3)


async def test_what_somebody_holds_nobody_else_does(open_database: Callable[[str], Database], workspace: str) -> None:
    """Until that one's transaction has ended; others are free, unless somebody holds too many to count."""
    database = open_database("identity")
    many = [number.to_bytes(16) for number in range(2_001)]
    async with _holding(database, workspace, [ONE]):
        assert await _can_hold(database, workspace, [OTHER])
        assert not await _can_hold(database, workspace, [OTHER, ONE])
        assert not await _can_hold(database, workspace, many)
        assert await _can_hold(database, f"{workspace}2", [ONE])
    async with _holding(database, workspace, many):
        assert not await _can_hold(database, workspace, [ONE])
    assert await _can_hold(database, workspace, [ONE])


async def test_a_transaction_has_ended_when_it_no_longer_holds_its_number(
    open_database: Callable[[str], Database], workspace: str
) -> None:
    """Where Citus is loaded, too, readers wait for the oldest one that has not, and for nothing else."""
    database = open_database("identity")
    note = "INSERT INTO recounts (workspace, subject, is_profile) VALUES (%s, %s, false)"
    async with database.statement() as reader:
        await execute(reader, "SELECT set_config('citus.version', 'none', false)")
        async with database.transaction() as writer:
            await execute(writer, note, (workspace, uuid4()))
            [(own,)] = await fetch(writer, "SELECT pg_current_xact_id()")
            assert await _horizon(reader) <= own
        query = f"SELECT {HAS_ENDED} FROM recounts WHERE workspace = %s"
        assert await fetch(reader, query, (workspace,)) == [(True,)]
        async with asyncio.timeout(30):
            while await _horizon(reader) <= own:  # noqa: ASYNC110  # other tests have transactions of their own
                await asyncio.sleep(0.01)
        await execute(reader, "RESET citus.version")


async def _horizon(connection: Driver) -> int:
    horizon: int = (await fetch(connection, f"SELECT {ENDED_BEFORE}"))[0][0]
    return horizon


@asynccontextmanager
async def _holding(database: Database, workspace: str, keys: list[bytes]) -> AsyncIterator[None]:
    async with database.transaction() as connection:
        await graph.hold(connection, workspace, keys)
        yield


async def _can_hold(database: Database, workspace: str, keys: list[bytes]) -> bool:
    """Whether nobody else holds any of them."""
    async with database.transaction() as connection:
        await execute(connection, "SELECT set_config('lock_timeout', '50ms', true)")
        try:
            await graph.hold(connection, workspace, keys)
        except psycopg.errors.LockNotAvailable:
            await connection.rollback()
            return False
    return True
