"""What the bare database needs for the work of the identity service, with nothing of Sima around it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import psycopg
from sima_runtime.keys import Keys, register

# The plainest way to ask what is known: identifiers by key, and edges by their smaller end.
_LOOK_UP = """SELECT key, profile_id, shared, blocked::text FROM identity.identifiers
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
    UNION ALL SELECT low, high, refusal IS NULL, first_at::text FROM identity.edges
    WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)"""
#: The tables into which new evidence goes, with the columns by which rows of identifiers are found.
WRITTEN = {"identifiers": "key", "edges": "low", "profile_changes": "key"}


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """Give a connection that reads and takes keys as bytes."""
    with psycopg.connect(url, autocommit=True) as connection:
        register(connection.adapters)
        yield connection


def look_ups_per_second(url: str, workspace: str, batches: Sequence[Sequence[bytes]], sets: int) -> float:
    """Sets a second when each batch of keys is one query; `sets` is of all batches together."""
    wanted = [Keys(batch) for batch in batches]
    with connected(url) as connection:
        began = time.perf_counter()
        for keys in wanted:
            found = connection.execute(_LOOK_UP, {"workspace": workspace, "keys": keys}, prepare=True).fetchall()
            assert len(found) > len(keys), "some of the identifiers or edges are not there"
        return sets / (time.perf_counter() - began)


def copies_per_second(url: str, workspace: str, batches: Sequence[Sequence[bytes]], sets: int) -> float:
    """Sets a second of COPY of the rows that belong to keys into empty tables with the same columns and indexes.

    Each batch is durable before the next begins, as it is for the service.
    """
    with connected(url) as connection:
        rows = [{table: _read(connection, workspace, table, keys) for table in WRITTEN} for keys in batches]
        with _tables(connection):
            began = time.perf_counter()
            for batch in rows:
                with connection.transaction():
                    for table, content in batch.items():
                        _write(connection, table, content)
            return sets / (time.perf_counter() - began)


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
