"""Connections, parameters and COPY against a real PostgreSQL."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus
from sima_runtime.database import Database, copy_into, execute, fetch
from sima_runtime.errors import DependencyUnavailableError, OverloadedError, SimaError, TooSlowError
from sima_runtime.keys import Key, Keys
from sima_runtime.settings import DatabaseSettings
from sqlalchemy.engine import make_url

from .conftest import LONG, LogLines

KEYS = st.lists(st.binary(min_size=16, max_size=16), max_size=20)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A schema of this test alone, with one table."""
    schema = f"things_{uuid.uuid4().hex}"
    settings = DatabaseSettings(
        database_url=postgres_url, database_pool_size=2, database_pool_overflow=0, database_pool_wait_seconds=0.3
    )
    database = Database(settings, schema)
    async with database.transaction() as connection:
        await execute(connection, f"CREATE SCHEMA {schema}")
        columns = "key uuid, keys uuid[], name text, at timestamptz, number float8, flag bool, xid xid8, content bytea"
        await execute(connection, f"CREATE TABLE things ({columns})")
    yield database
    await database.close()


def as_user(url: str, role: str) -> str:
    """The same database, for another user."""
    return make_url(url).set(username=role).render_as_string(hide_password=False)


async def count(database: Database) -> int:
    """How many things there are."""
    async with database.statement() as connection:
        [(number,)] = await fetch(connection, "SELECT count(*) FROM things")
    return int(number)


async def test_copy_writes_what_it_is_given(database: Database) -> None:
    """Rows of every type that Sima uses come back as they were, nulls included."""
    now = datetime.now(UTC)
    key = os.urandom(16)
    rows = [(key, [key, bytes(16)], "علی\t\\N", now, 0.1, True, b"\0\xff"), (None,) * 7]
    columns = ["key", "keys", "name", "at", "number", "flag", "content"]
    types = ["uuid", "uuid[]", "text", "timestamptz", "float8", "bool", "bytea"]
    sent = [(row[0], Keys(row[1]) if row[1] else None, *row[2:]) for row in rows]
    async with database.transaction() as connection:
        await copy_into(connection, "things", columns, types, sent)
    async with database.statement() as connection:
        assert await fetch(connection, f"SELECT {', '.join(columns)} FROM things") == rows


async def test_copy_takes_more_rows_than_a_buffer_holds(database: Database) -> None:
    """Many rows arrive completely."""
    rows = [(os.urandom(16), f"name {number}") for number in range(20_000)]
    async with database.transaction() as connection:
        await copy_into(connection, "things", ["key", "name"], ["uuid", "text"], iter(rows))
    assert await count(database) == 20_000


async def test_failed_copy_leaves_nothing(database: Database) -> None:
    """A row that cannot be written undoes the whole COPY, and the connection goes on."""
    rows = [(bytes(16), "a"), (b"short", "b")]

    async def copy() -> None:
        async with database.transaction() as connection:
            await copy_into(connection, "things", ["key", "name"], ["uuid", "text"], rows)

    with pytest.raises(psycopg.errors.ProtocolViolation):
        await copy()
    assert await count(database) == 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS)
async def test_keys_are_bytes(database: Database, keys: list[bytes]) -> None:
    """Keys go to PostgreSQL and come back as bytes, one by one and as arrays, in binary and in text."""
    query = "SELECT %s, array(SELECT k FROM unnest(%s) WITH ORDINALITY AS t(k, o) ORDER BY o)"
    one = keys[0] if keys else bytes(16)
    async with database.statement() as connection:
        assert await fetch(connection, query, (Key(one), Keys(keys))) == [(one, keys)]
        as_text = await connection.execute(query, (Key(one), Keys(keys)))
        assert await as_text.fetchall() == [(one, keys)]


async def test_nulls_among_keys_are_an_error(database: Database) -> None:
    """An array of keys with a null is never misread."""
    async with database.statement() as connection:
        with pytest.raises(ValueError, match="nulls"):
            await fetch(connection, "SELECT array[NULL::uuid]")


async def test_transaction_ids_are_numbers(database: Database) -> None:
    """Transaction ids beyond 32 bits are read as numbers."""
    async with database.statement() as connection:
        assert await fetch(connection, "SELECT '18446744073709551615'::xid8") == [(2**64 - 1,)]
        as_text = await connection.execute("SELECT '5'::xid8")
        assert await as_text.fetchall() == [(5,)]


async def test_failure_rolls_back(database: Database) -> None:
    """An exception in a transaction leaves nothing behind."""

    async def failing() -> None:
        async with database.transaction() as connection:
            await execute(connection, "INSERT INTO things (name) VALUES ('a')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    assert await count(database) == 0


async def test_swallowed_failure_is_not_committed(database: Database) -> None:
    """A transaction in which a failure was swallowed does not pretend that it was committed."""

    async def swallow() -> None:
        async with database.transaction() as connection:
            await execute(connection, "INSERT INTO things (name) VALUES ('a')")
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                await fetch(connection, "SELECT 1 / 0")

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallow()
    assert await count(database) == 0


async def test_forgotten_transaction_is_rolled_back(database: Database) -> None:
    """What was begun by hand and never ended does not hold on in the pool."""
    async with database.statement() as connection:
        await execute(connection, "BEGIN")
        await execute(connection, "INSERT INTO things (name) VALUES ('a')")
    async with database.statement() as one, database.statement() as two:
        for connection in (one, two):
            assert connection.info.transaction_status is TransactionStatus.IDLE
    assert await count(database) == 0


async def test_single_statement_is_committed(database: Database) -> None:
    """A statement in autocommit holds, and the connection is an ordinary one afterwards."""
    async with database.statement() as connection:
        assert await execute(connection, "INSERT INTO things (name) VALUES ('a'), ('b')") == 2

    async def failing() -> None:
        async with database.transaction() as connection:
            await execute(connection, "DELETE FROM things")
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            await failing()
    assert await count(database) == 2


async def test_session_has_its_limits(database: Database) -> None:
    """Statements and pauses within transactions are limited, and the connection names its service."""
    shown = ["statement_timeout", "idle_in_transaction_session_timeout", "application_name", "search_path"]
    async with database.statement() as connection:
        values = [(await fetch(connection, f"SHOW {name}"))[0][0] for name in shown]
    assert values == ["30s", "15s", f"sima-{database.schema}"[:63], database.schema]


async def test_idle_transaction_is_ended(postgres_url: str) -> None:
    """Who opens a transaction and forgets it cannot hold feeds back for ever."""
    settings = DatabaseSettings(database_url=postgres_url, database_idle_transaction_seconds=0.1)
    database = Database(settings, "public")

    async def forget() -> None:
        async with database.transaction() as connection:
            await execute(connection, "SELECT pg_current_xact_id()")
            await asyncio.sleep(0.5)
            await execute(connection, "SELECT 1")

    with pytest.raises(DependencyUnavailableError):
        await forget()
    await database.close()


async def test_all_connections_in_use_is_overload(database: Database) -> None:
    """A call that gets no connection in time hears that Sima is overloaded."""
    async with database.statement(), database.statement():
        with pytest.raises(OverloadedError):
            await count(database)
    assert await count(database) == 0


async def test_lost_connection_heals(database: Database, log_lines: LogLines) -> None:
    """After PostgreSQL dropped all connections, calls fail as retryable once, the log says so, and then all is well."""
    async with database.statement() as one, database.statement() as two:
        pids = [connection.info.backend_pid for connection in (one, two)]
    async with await psycopg.AsyncConnection.connect(database.settings.database_url, autocommit=True) as other:
        for pid in pids:
            await other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(DependencyUnavailableError):
        await count(database)
    assert [line["event"] for line in log_lines()] == ["database_unavailable"]
    assert await count(database) == 0
    assert await count(database) == 0


async def test_a_loss_leaves_no_connection_open(database: Database) -> None:
    """What was in use while another connection was lost is closed and replaced, not left to the garbage collector."""

    async def lose() -> None:
        async with database.statement() as lost:
            await fetch(lost, "SELECT pg_terminate_backend(pg_backend_pid())")

    async with database.statement() as held:
        with pytest.raises(DependencyUnavailableError):
            await lose()
    async with database.statement() as one, database.statement() as two:
        assert held.closed
        assert not one.closed
        assert not two.closed


async def test_a_refused_connection_costs_no_other(postgres_url: str) -> None:
    """While the server has no room for more connections, those that there are stay in use."""
    role = f"narrow_{uuid.uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as other:
        await other.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    database = Database(DatabaseSettings(database_url=as_user(postgres_url, role)), "public")

    async def pid() -> int:
        async with database.statement() as connection:
            return connection.info.backend_pid

    async with database.statement() as held:
        with pytest.raises(DependencyUnavailableError):
            await pid()
    assert await pid() == held.info.backend_pid
    await database.close()


async def test_unreachable_database_is_unavailable() -> None:
    """Without a database calls are retryable failures."""
    database = Database(DatabaseSettings(database_url="postgresql://127.0.0.1:1/none"), "public")
    for door in (database.transaction, database.statement):
        with pytest.raises(DependencyUnavailableError):
            async with door():
                pass
    await database.close()


async def test_other_failures_stay_what_they_are(database: Database) -> None:
    """A statement that PostgreSQL refuses is no lost connection."""
    async with database.transaction() as connection:
        await execute(connection, "CREATE UNIQUE INDEX ON things (name)")
        await execute(connection, "INSERT INTO things (name) VALUES ('ada@example.com')")

    async def repeat() -> None:
        async with database.transaction() as connection:
            await execute(connection, "INSERT INTO things (name) VALUES ('ada@example.com')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await repeat()


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("57014", TooSlowError),  # statement timeout
        ("40P01", OverloadedError),  # deadlock
        ("53100", DependencyUnavailableError),  # disk full
        ("25006", DependencyUnavailableError),  # no longer the primary
    ],
)
async def test_passing_trouble_may_be_tried_again(database: Database, sqlstate: str, expected: type[SimaError]) -> None:
    """What is the database's fault, and not the statement's, is never taken for a bad fact."""
    with pytest.raises(expected):
        async with database.transaction() as connection:
            await execute(connection, f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$")


async def test_instants_of_the_first_year_can_be_read(database: Database) -> None:
    """The time zone of the server, which may lie west of UTC, does not matter."""
    async with database.statement() as connection:
        [(instant,)] = await fetch(connection, "SELECT '0001-01-01T00:00:00Z'::timestamptz")
    assert instant == datetime(1, 1, 1, tzinfo=UTC)


async def test_refused_statement_keeps_the_connection(database: Database) -> None:
    """A statement in autocommit that PostgreSQL refuses costs no connection."""

    async def own_pid() -> int:
        async with database.statement() as connection:
            return connection.info.backend_pid

    async def divide() -> None:
        async with database.statement() as connection:
            await fetch(connection, "SELECT 1 / 0")

    before = await own_pid()
    with pytest.raises(psycopg.errors.DivisionByZero):
        await divide()
    assert await own_pid() == before


async def test_cancelled_calls_leak_no_connection(database: Database) -> None:
    """Calls cancelled in the midst of a statement give their connections back, usable or replaced."""

    async def sleep() -> None:
        async with database.transaction() as connection:
            await execute(connection, "INSERT INTO things (name) VALUES ('never')")
            await execute(connection, "SELECT pg_sleep(60)")

    for _ in range(3):
        calls = [asyncio.create_task(sleep()) for _ in range(2)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        async with asyncio.timeout(LONG):
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
    async with database.statement(), database.statement():
        pass
    assert await count(database) == 0
