"""Loads a world into the databases of a running Sima, as if all of it had been sent to `Ingest` in the order of time.

The rows are those that identity and profile themselves would have written: so segment finds them in the feeds, and
what is sent to `Ingest` later finds the people. Indexes stay: to make them afterwards takes as long (measured).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psycopg

from benchmarks.figures import told
from benchmarks.world import PROPERTIES, TRAITS, World

SOURCE = "bench"

_AT_ONCE = 1_000_000  # events in one COPY
_BLOCK = 1 << 20

# What a person said at the start of the story: one message with traits and consent, without event.
_DONE = "lpad(to_hex(epoch_ms(occurred_at)), 12, '0') || substr(md5('event ' || place), 1, 20)"
_PART = "lpad(to_hex(epoch_ms($start)), 12, '0') || substr(md5('{path} ' || number), 1, 20)"
_SAID = _PART.format(path="said")
_KEYS = "concat('{', user_key, ',', browser_key, '}')"
_JSON = {
    "text": "to_json({})",
    "number": "CAST({} AS VARCHAR)",
    "boolean": "if({}, 'true', 'false')",
}

# Each query makes the rows of a table, with all its columns by name. $epoch and $xid are those of the transaction.
_IDENTIFIERS = """SELECT $workspace AS workspace, key, kind, value, person AS profile_id, founded_id, founded_seq,
        false AS shared, false AS hub, false AS blocked, $start AS first_seen_at, $epoch AS changed_epoch,
        $xid AS changed_xid
    FROM (
        SELECT user_key AS key, 'user_id' AS kind, 'u' || number AS value, person, person AS founded_id,
            number + 1 AS founded_seq FROM people
        UNION ALL SELECT browser_key, 'anonymous_id', 'browser-' || number, person, NULL, NULL FROM people)
    ORDER BY key"""
_EDGES = f"""SELECT $workspace AS workspace, least(user_key, browser_key) AS low,
        greatest(user_key, browser_key) AS high, 'seen_together' AS evidence, '{SOURCE}' AS source,
        'said ' || number AS message_id, $start AS first_at
    FROM people ORDER BY low"""
_CHANGES = """SELECT $workspace AS workspace, unnest([user_key, browser_key]) AS key,
        unnest(['user_id', 'anonymous_id']) AS kind, person AS profile_id, false AS shared, false AS blocked,
        $start AS changed_at, false AS standing_changed, 'evidence' AS cause, $epoch AS epoch
    FROM people"""
_SAYINGS = f"""SELECT $workspace AS workspace, {_SAID} AS id, $start AS occurred_at, $start AS received_at,
        '{SOURCE}' AS source, {_KEYS} AS keys, user_key AS owner, false AS contested,
        md5('what was said ' || number) AS content, $epoch AS epoch
    FROM people"""
_CONSENTS = f"""SELECT $workspace AS workspace, {_SAID} AS fact_id, 0 AS position,
        {_PART.format(path="consent")} AS id, {_KEYS} AS keys, 'email_marketing' AS purpose, granted,
        '{SOURCE}' AS source, $start AS stated_at, $start AS received_at, $epoch AS epoch
    FROM people WHERE granted IS NOT NULL"""
# Ids that are given out later are younger than those that were loaded.
_FOUNDED = "SELECT setval('identity.founded_seq', greatest(nextval('identity.founded_seq'), %s))"


def load(world: World, url: str, folder: Path) -> None:
    """Load a world.

    Args:
        world: Which.
        url: Of the database; identity and profile must have begun there, and know nobody yet.
        folder: For files on the way.
    """
    load_identity(world, url, folder)
    with _connected(url) as connection:
        _load(world, connection, "profile", _profile(world), folder)
        connection.execute("INSERT INTO profile.workspaces (workspace) VALUES (%s)", (world.workspace,))


def load_identity(world: World, url: str, folder: Path) -> None:
    """Load what identity knows of a world, into a workspace of which it knows nobody yet.

    Args:
        world: Which.
        url: Of the database.
        folder: For files on the way.
    """
    # In one transaction, as the service writes identifiers and the log of their changes.
    with _connected(url) as connection, connection.transaction():
        _load(world, connection, "identity", _identity(), folder)
        connection.execute(_FOUNDED, (world.people,))


def _connected(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, options="-c timezone=UTC")


def _load(
    world: World, connection: psycopg.Connection, schema: str, queries: Iterable[tuple[str, str]], folder: Path
) -> None:
    """Fill tables of a schema, each with the rows of its query."""
    connection.execute(f"SET search_path TO {schema}".encode())
    for table, query in queries:
        with told(f"{schema}.{table}"):
            _copy(world, connection, table, query, folder / "rows.csv")


def _identity() -> Iterator[tuple[str, str]]:
    """Yield the tables of identity with the queries of their rows."""
    yield "identifiers", _IDENTIFIERS
    yield "edges", _EDGES
    yield "profile_changes", _CHANGES


def _profile(world: World) -> Iterator[tuple[str, str]]:
    """Yield the tables of profile with the queries of their rows, in the order in which they would have come."""
    yield "facts", _SAYINGS
    for position, trait in enumerate(TRAITS):
        yield "observations", _observations(position, trait)
    yield "consents", _CONSENTS
    for first in range(0, world.events, _AT_ONCE):
        yield "facts", _events(first)


def _observations(position: int, trait: str) -> str:
    kind = TRAITS[trait]
    return f"""SELECT $workspace AS workspace, {_SAID} AS fact_id, {position} AS position,
            {_PART.format(path=trait)} AS id, user_key AS owner, {_KEYS} AS keys,
            '{trait}' AS trait, '{kind}' AS type, {_JSON[kind].format(trait)} AS value, '{SOURCE}' AS source,
            'declared' AS method, $start AS observed_at, $start AS received_at, 1 AS confidence, $epoch AS epoch
        FROM people WHERE {trait} IS NOT NULL"""


def _events(first: int) -> str:
    properties = " ".join(f"WHEN '{name}' THEN {_object(names)}" for name, names in PROPERTIES.items())
    return f"""SELECT $workspace AS workspace, {_DONE} AS id, occurred_at, occurred_at AS received_at,
            '{SOURCE}' AS source, {_KEYS} AS keys, user_key AS owner, false AS contested, name,
            '\\x' || hex(CASE name {properties} END) AS properties, md5('what was done ' || place) AS content,
            $epoch AS epoch
        FROM events JOIN people USING (number) WHERE place >= {first} AND place < {first + _AT_ONCE}"""


def _object(properties: Iterable[str]) -> str:
    pairs = (f"'{name}', {name}" for name in properties)
    return f"json_object({', '.join(pairs)})"


def _copy(world: World, connection: psycopg.Connection, table: str, query: str, file: Path) -> None:
    """Copy the rows that a query makes into a table, in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        columns = _write(world, query, _of_transaction(cursor), file)
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT csv)".encode()) as copy, file.open("rb") as rows:
            while block := rows.read(_BLOCK):
                copy.write(block)
    file.unlink()


def _of_transaction(cursor: psycopg.Cursor) -> Mapping[str, int]:
    [row] = cursor.execute("SELECT epoch, pg_current_xact_id()::text::bigint FROM feed_epoch").fetchall()
    return dict(zip(("epoch", "xid"), row, strict=True))


def _write(world: World, query: str, of_transaction: Mapping[str, int], file: Path) -> str:
    """Write the rows of a query into a file, and return the names of their columns."""
    every = {"workspace": world.workspace, "start": world.start, **of_transaction}
    parameters = {name: value for name, value in every.items() if f"${name}" in query}
    rows = world.tables.sql(query, params=parameters)
    rows.write_csv(str(file), header=False)
    return ", ".join(rows.columns)
