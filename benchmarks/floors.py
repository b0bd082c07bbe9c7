"""The least that any implementation would need: the bare database, with nothing of Sima around it."""

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import partial

import psycopg
from sima.profile.v1 import profile_service_pb2 as pb

_TABLE = """CREATE TABLE {name} (
    id uuid, keys uuid[], name text, source text, occurred_at timestamptz, properties bytea
)"""
_INSERT = "INSERT INTO bare_single VALUES (%s, %s, %s, %s, %s, %s)"
_OBSERVE = """INSERT INTO bare_observations
    SELECT owner, 'trait_' || number, 'value ' || number, now()
    FROM unnest(%s::uuid[]) AS owner, generate_series(1, %s) AS number"""
_TYPES = ["uuid", "uuid[]", "text", "text", "timestamptz", "bytea"]
Row = tuple[object, ...]


def rows(request: pb.IngestRequest) -> list[Row]:
    """The rows of a batch, as a table would hold them."""
    return [
        (
            uuid.uuid4(),
            [uuid.uuid4() for _ in fact.identifiers],
            fact.event.name,
            fact.source,
            fact.occurred_at.ToDatetime(tzinfo=UTC),
            fact.event.properties,
        )
        for fact in request.facts
    ]


def copy_per_second(url: str, batches: Sequence[Sequence[Row]]) -> float:
    """Rows a second of binary COPY in time order into one bare table, durable after each batch."""
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLE.format(name="bare").encode())
        began = time.perf_counter()
        for batch in batches:
            with cursor.copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(_TYPES)
                for row in batch:
                    copy.write_row(row)
        seconds = time.perf_counter() - began
        cursor.execute("DROP TABLE bare")
    return sum(map(len, batches)) / seconds


def insert_ms(url: str, rows: Sequence[Row]) -> list[float]:
    """Milliseconds of each durable INSERT of one row into one bare table."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE.format(name="bare_single").encode())
        taken = [milliseconds(partial(connection.execute, _INSERT, row)) for row in rows]
        connection.execute("DROP TABLE bare_single")
    return taken


def select_ms(url: str, people: int, observations: int, count: int) -> list[float]:
    """Milliseconds of each SELECT of the observations of one person out of a bare table, by index."""
    owners = [uuid.uuid4() for _ in range(people)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE bare_observations (owner uuid, trait text, value text, observed_at timestamptz)"
        )
        connection.execute(_OBSERVE, (owners, observations))
        connection.execute("CREATE INDEX ON bare_observations (owner)")
        connection.execute("ANALYZE bare_observations")
        taken = [milliseconds(partial(_select, connection, owners[number % people])) for number in range(count)]
        connection.execute("DROP TABLE bare_observations")
    return taken


def _select(connection: psycopg.Connection, owner: uuid.UUID) -> None:
    connection.execute("SELECT trait, value, observed_at FROM bare_observations WHERE owner = %s", (owner,)).fetchall()


def notify_ms(url: str, count: int) -> list[float]:
    """Milliseconds in which one connection reads a row that another commits, and of which it is notified."""
    with psycopg.connect(url, autocommit=True) as writer, psycopg.connect(url, autocommit=True) as reader:
        writer.execute("CREATE TABLE bare_changes (number integer PRIMARY KEY)")
        reader.execute("LISTEN bare_changes")
        taken = [milliseconds(partial(_tell, writer, reader, number)) for number in range(count)]
        writer.execute("DROP TABLE bare_changes")
    return taken


def _tell(writer: psycopg.Connection, reader: psycopg.Connection, number: int) -> None:
    with writer.transaction():
        writer.execute("INSERT INTO bare_changes VALUES (%s)", (number,))
        writer.execute("NOTIFY bare_changes")
    next(reader.notifies(stop_after=1))
    assert reader.execute("SELECT FROM bare_changes WHERE number = %s", (number,)).fetchall()


def milliseconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
