"""What the bare database needs for the work of the identity service, with nothing of Sima around it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar
from uuid import UUID

import psycopg
from sima_runtime.keys import Keys, register

from benchmarks.ingest import IN_FLIGHT

Item = TypeVar("Item")

# The plainest way to ask what is known: identifiers by key, and edges by their smaller end.
_LOOK_UP = """SELECT key, profile_id, shared, blocked::text FROM identity.identifiers
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
    UNION ALL SELECT low, high, refusal IS NULL, first_at::text FROM identity.edges
    WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)"""
#: The tables into which new evidence goes, with the columns by which rows of identifiers are found.
WRITTEN = {"identifiers": "key", "edges": "low", "profile_changes": "key"}


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """Give a connection that reads and takes keys as bytes, and starts no workers for what is faster without."""
    options = "-c timezone=UTC -c max_parallel_workers_per_gather=0"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        register(connection.adapters)
        yield connection


def look_ups_per_second(url: str, workspace: str, batches: Sequence[Sequence[bytes]]) -> float:
    """Sets a second when each batch of keys, two of each set, is one query."""

    def look_up(connection: psycopg.Connection, keys: Sequence[bytes]) -> None:
        given = {"workspace": workspace, "keys": Keys(keys)}
        found = connection.execute(_LOOK_UP, given, prepare=True, binary=True).rowcount
        assert found > len(keys), "some of the identifiers or edges are not there"

    return _sets(batches) / _seconds(url, batches, look_up)


def copies_per_second(url: str, workspace: str, batches: Sequence[Sequence[bytes]]) -> float:
    """Sets a second of COPY of the rows that belong to keys, two of each set, into empty tables like the service's.

    Each batch is durable before its caller begins the next, as it is for the service.
    """

    def write(connection: psycopg.Connection, rows: Mapping[str, bytes]) -> None:
        with connection.transaction():
            for table, content in rows.items():
                _write(connection, table, content)

    with connected(url) as connection:
        rows = [{table: _read(connection, workspace, table, keys) for table in WRITTEN} for keys in batches]
        with _tables(connection):
            return _sets(batches) / _seconds(url, rows, write)


def _sets(batches: Sequence[Sequence[bytes]]) -> int:
    return sum(map(len, batches)) // 2


def _seconds(url: str, items: Sequence[Item], work: Callable[[psycopg.Connection, Item], None]) -> float:
    """How long as many callers as the service has, each on a connection of its own, take to work off items."""

    def caller(connection: psycopg.Connection, own: Sequence[Item]) -> None:
        for item in own:
            work(connection, item)

    with ExitStack() as stack, ThreadPoolExecutor(IN_FLIGHT) as threads:
        connections = [stack.enter_context(connected(url)) for _ in range(IN_FLIGHT)]
        began = time.perf_counter()
        list(threads.map(caller, connections, [items[number::IN_FLIGHT] for number in range(IN_FLIGHT)]))
        return time.perf_counter() - began


def read_seconds(url: str, workspace: str) -> float:
    """Seconds of reading the identifiers and edges of a workspace, as binary COPY."""
    with connected(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for table in ("identifiers", "edges"):
            query = f"COPY (SELECT * FROM identity.{table} WHERE workspace = %s) TO STDOUT (FORMAT binary)"
            with cursor.copy(query, (workspace,)) as copied:
                assert sum(map(len, copied)) > 0
        return time.perf_counter() - began


def select_ms(url: str, workspace: str, keys: Sequence[bytes], count: int) -> list[float]:
    """Milliseconds of each SELECT of all edges among some identifiers."""
    query = """SELECT low, high, source, message_id, first_at, refusal FROM identity.edges
        WHERE workspace = %s AND low = ANY(%s)"""
    with connected(url) as connection:
        return [_milliseconds(connection, query, (workspace, Keys(keys))) for _ in range(count)]


def update_ms(url: str, workspace: str, keys: Sequence[bytes]) -> float:
    """Milliseconds of a durable UPDATE of the profile of some identifiers, in a copy of all of the workspace."""
    with connected(url) as connection, _tables(connection):
        connection.execute(
            "INSERT INTO bare.identifiers SELECT * FROM identity.identifiers WHERE workspace = %s", (workspace,)
        )
        connection.execute("ANALYZE bare.identifiers")
        query = "UPDATE bare.identifiers SET profile_id = key WHERE workspace = %s AND key = ANY(%s)"
        return _milliseconds(connection, query, (workspace, Keys(keys)))


def count_ms(url: str, workspace: str, keys: Sequence[bytes]) -> float:
    """Milliseconds of a query that counts the facts of some identifiers, as every profile tells them."""
    query = """SELECT owner, count(name), min(occurred_at), max(occurred_at) FROM profile.facts
        WHERE workspace = %s AND owner = ANY(%s) GROUP BY owner"""
    with connected(url) as connection:
        return _milliseconds(connection, query, (workspace, Keys(keys)))


def _milliseconds(connection: psycopg.Connection, query: str, parameters: tuple[object, ...]) -> float:
    began = time.perf_counter()
    cursor = connection.execute(query.encode(), parameters)
    assert cursor.rowcount > 0
    if cursor.description:
        cursor.fetchall()
    return (time.perf_counter() - began) * 1000


@contextmanager
def _tables(connection: psycopg.Connection) -> Iterator[None]:
    connection.execute("CREATE SCHEMA bare")
    for table in WRITTEN:
        connection.execute(f"CREATE TABLE bare.{table} (LIKE identity.{table} INCLUDING ALL)".encode())
    yield
    connection.execute("DROP SCHEMA bare CASCADE")


def _read(connection: psycopg.Connection, workspace: str, table: str, keys: Sequence[bytes]) -> bytes:
    query = f"""COPY (SELECT * FROM identity.{table} WHERE workspace = %s AND {WRITTEN[table]} = ANY(%s::uuid[]))
        TO STDOUT (FORMAT BINARY)"""
    given = (workspace, [str(UUID(bytes=key)) for key in keys])
    with connection.cursor() as cursor, cursor.copy(query.encode(), given) as copy:
        return b"".join(copy)


def _write(connection: psycopg.Connection, table: str, content: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY bare.{table} FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.write(content)
