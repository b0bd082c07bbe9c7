"""The tables of the projection that are always there, and how far it has read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import duckdb

from sima_segment.rules.schema import CONSENTS, MEMBERS, PEOPLE, TRAITS

#: Number of the layout of these tables.
LAYOUT = 5

OBSERVATIONS = "observations"
STATEMENTS = "statements"
#: Events whose name came after the last for which there was a table.
BEYOND = "events_beyond"
#: Who must be folded again when rows of these tables changed.
REFOLD = {OBSERVATIONS: "refold_traits", STATEMENTS: "refold_consents"}

#: What every row of a fact has: `displaced` says that the strongest of its keys is not plainly its owner, but might be.
FACT_COLUMNS = "id UUID, keys UUID[], person UUID, displaced BOOLEAN"

# Neighbours in `identity` often share a profile. DuckDB would store such runs as runs, in which single rows are slow to
# find: for 600 of two million keys that takes three times as long.
_TABLES = f"""
CREATE TABLE position (layout VARCHAR, lineage VARCHAR, tick BIGINT, facts VARCHAR, changes VARCHAR,
    instant TIMESTAMP, everybody BOOLEAN, rules VARCHAR);
CREATE TABLE identity (key UUID, profile UUID USING COMPRESSION uncompressed, shared BOOLEAN, blocked BOOLEAN,
    account BOOLEAN);
CREATE TABLE {PEOPLE} (person UUID);
CREATE TABLE touched (person UUID);
CREATE TABLE event_names (event VARCHAR);
CREATE TABLE event_columns (event VARCHAR, property VARCHAR, kind VARCHAR);
CREATE TABLE trait_columns (trait VARCHAR, kind VARCHAR);
CREATE TABLE {BEYOND} ({FACT_COLUMNS}, name VARCHAR, occurred_at TIMESTAMP, rest VARCHAR);
CREATE TABLE {OBSERVATIONS} ({FACT_COLUMNS}, trait VARCHAR, value VARCHAR, type VARCHAR, source VARCHAR,
    method VARCHAR, observed_at TIMESTAMP, confidence DOUBLE);
CREATE TABLE {STATEMENTS} ({FACT_COLUMNS}, purpose VARCHAR, granted BOOLEAN, stated_at TIMESTAMP);
CREATE TABLE {TRAITS} (person UUID);
CREATE TABLE {CONSENTS} (person UUID, purpose VARCHAR, granted BOOLEAN);
"""
# By what rows are looked up while facts arrive one by one.
_INDEXES = (("identity", "key"), ("identity", "profile"), (PEOPLE, "person"), (TRAITS, "person"), (CONSENTS, "person"))
# Of the session, not of the file: what one evaluation found, and work in progress.
_TEMPORARY = f"""
CREATE OR REPLACE TEMP TABLE {MEMBERS} (segment VARCHAR, person UUID);
CREATE OR REPLACE TEMP TABLE claims (relation VARCHAR, ordinal BIGINT, keys UUID[], person UUID, displaced BOOLEAN);
CREATE OR REPLACE TEMP TABLE refold_traits (person UUID);
CREATE OR REPLACE TEMP TABLE refold_consents (person UUID);
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How wide the projection may become; what is beyond stays readable as JSON.

    Attributes:
        names: Event names with a table of their own.
        properties: Properties of one event name with columns of their own.
        traits: Traits with columns of their own.
    """

    names: int = 1_000
    properties: int = 300
    traits: int = 1_000


@dataclass(frozen=True, slots=True)
class Position:
    """How far a projection has read and evaluated.

    Attributes:
        lineage: Names this projection; another file has another one.
        tick: How many evaluations were stored.
        facts: Cursor in the feed of facts; empty before the first page.
        changes: Cursor in the feed of the grouping.
        instant: The instant of the last evaluation. None: nothing was evaluated yet.
        everybody: Anybody's memberships may differ from what is stored, not only those who were touched.
        rules: What the rules meant that were evaluated last.
    """

    lineage: str
    tick: int = 0
    facts: str = ""
    changes: str = ""
    instant: datetime | None = None
    everybody: bool = True
    rules: str = ""


def prepare(connection: duckdb.DuckDBPyConnection, layout: str) -> Position:
    """Make what is not there yet, and answer how far the projection has read."""
    prepare_session(connection)
    if not has_layout(connection, layout):
        connection.execute(_TABLES)
        write_position(connection, layout, Position(uuid4().hex))
    return _read_position(connection)


def prepare_session(connection: duckdb.DuckDBPyConnection) -> None:
    """Make what a connection needs for itself."""
    connection.execute(_TEMPORARY)


def has_layout(connection: duckdb.DuckDBPyConnection, layout: str) -> bool:
    """Whether the tables are there, in this layout. A file of another is thrown away and built again."""
    query = "SELECT count(*) FROM duckdb_tables() WHERE NOT temporary AND table_name = 'position'"
    if connection.execute(query).fetchall() == [(0,)]:
        return False
    return bool(connection.execute("SELECT layout FROM position").fetchall() == [(layout,)])


def write_position(connection: duckdb.DuckDBPyConnection, layout: str, position: Position) -> None:
    """Store how far the projection has read."""
    connection.execute("DELETE FROM position")
    connection.execute(
        "INSERT INTO position VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            layout,
            position.lineage,
            position.tick,
            position.facts,
            position.changes,
            naive(position.instant) if position.instant else None,
            position.everybody,
            position.rules,
        ],
    )


def index(connection: duckdb.DuckDBPyConnection, fact_tables: Iterable[str]) -> None:
    """Make the indexes that are not there yet; to be done once the bulk of the facts is in, which is faster."""
    for table, column in (*_INDEXES, *((each, "person") for each in (*fact_tables, BEYOND, OBSERVATIONS, STATEMENTS))):
        connection.execute(f'CREATE INDEX IF NOT EXISTS "{table}_by_{column}" ON "{table}" ({column})')


def _read_position(connection: duckdb.DuckDBPyConnection) -> Position:
    columns = "lineage, tick, facts, changes, instant, everybody, rules"
    [row] = connection.execute(f"SELECT {columns} FROM position").fetchall()
    lineage, tick, facts, changes, instant, everybody, rules = row
    return Position(lineage, tick, facts, changes, instant and instant.replace(tzinfo=UTC), everybody, rules)


def naive(instant: datetime) -> datetime:
    """Return an instant as the tables hold it: in UTC, without zone."""
    return instant.astimezone(UTC).replace(tzinfo=None)
