"""Whom each fact belongs to: the identity map, and the person of every fact row kept in step with it.

The owner of a fact is the strongest of its keys that is neither shared nor blocked; if there is none, the strongest
shared one; if all are blocked, nobody. `person` is the owner's profile. A key that the identity feed has not told yet
counts as an ordinary one without a profile, so what the tables hold is a function of the two cursors alone, whichever
feed comes first.

A change of the grouping can concern a row only if its person is one that an identifier left, or if its strongest key is
not plainly its owner (`displaced`). So most rows are passed over by one look at one column.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from sima_segment.projection.pages import for_duckdb
from sima_segment.projection.tables import REFOLD
from sima_segment.rules.schema import PEOPLE

# A page may say several times where a key belongs: the last time counts. What is known already is no change.
_MOVED = """
CREATE OR REPLACE TEMP TABLE moved AS
WITH latest AS (
    SELECT key, TRY_CAST(nullif(profile, '') AS UUID) AS profile, shared, blocked FROM page_changes
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY ordinal DESC) = 1)
SELECT latest.*, identity.profile AS previous, identity.key IS NOT NULL AS known
FROM latest LEFT JOIN identity USING (key)
WHERE identity.key IS NULL OR latest.profile IS DISTINCT FROM identity.profile
    OR latest.shared <> identity.shared OR latest.blocked <> identity.blocked;
"""
_SIDES = """
CREATE OR REPLACE TEMP TABLE sides AS
SELECT previous AS person FROM moved WHERE previous IS NOT NULL
UNION SELECT profile FROM moved WHERE profile IS NOT NULL;
"""
_REMEMBER = """
UPDATE identity SET profile = moved.profile, shared = moved.shared, blocked = moved.blocked
FROM moved WHERE identity.key = moved.key AND moved.known;
INSERT INTO identity SELECT key, profile, shared, blocked FROM moved WHERE NOT known;
"""
# Everybody who goes by an identifier that is not blocked.
_PEOPLE = f"""
CREATE OR REPLACE TEMP TABLE standing AS
SELECT DISTINCT identity.profile AS person FROM identity SEMI JOIN sides ON identity.profile = sides.person
WHERE NOT identity.blocked;
DELETE FROM {PEOPLE} WHERE person IN (SELECT person FROM sides ANTI JOIN standing USING (person));
INSERT INTO {PEOPLE} SELECT person FROM standing ANTI JOIN {PEOPLE} USING (person);
"""
_STRAYS = """
CREATE OR REPLACE TEMP TABLE strays AS
SELECT rowid AS ordinal, keys FROM {table} SEMI JOIN sides USING (person)
UNION
SELECT rowid, keys FROM {table} WHERE displaced AND rowid IN (
    SELECT ordinal FROM (SELECT rowid AS ordinal, unnest(keys) AS key FROM {table} WHERE displaced)
    SEMI JOIN moved USING (key));
"""
_RETURNED = """
CREATE OR REPLACE TEMP TABLE returned AS
SELECT owned.*, {table}.person AS previous FROM owned JOIN {table} ON {table}.rowid = owned.ordinal
WHERE owned.person IS DISTINCT FROM {table}.person OR owned.displaced <> {table}.displaced;
"""
_MOVE = """
UPDATE {table} SET person = returned.person, displaced = returned.displaced
FROM returned WHERE {table}.rowid = returned.ordinal;
"""
# Shared keys rank behind all others; a row has at most some dozens of keys.
_OWNED = """
CREATE OR REPLACE TEMP TABLE owned AS
WITH ranked AS (
    SELECT ordinal, unnest(keys) AS key, generate_subscripts(keys, 1) AS rank FROM {source}),
judged AS (
    SELECT ordinal, rank, profile, coalesce(shared, false) AS shared, coalesce(blocked, false) AS blocked
    FROM ranked LEFT JOIN identity USING (key))
SELECT ordinal,
    arg_min_null(profile, if(shared, 1000000 + rank, rank)) FILTER (NOT blocked) AS person,
    bool_or(rank = 1 AND (profile IS NULL OR shared OR blocked)) AS displaced
FROM judged GROUP BY ordinal;
"""


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    """Let statements read an Arrow table under a name."""
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def learn(connection: duckdb.DuckDBPyConnection, changes: pa.Table) -> bool:
    """Take in changes of the grouping; leaves tables `moved` and `sides`, and answers whether anything is new."""
    with registered(connection, "page_changes", for_duckdb(changes)):
        connection.execute(_MOVED)
    if connection.execute("SELECT count(*) FROM moved").fetchall() == [(0,)]:
        return False
    connection.execute(_SIDES + _REMEMBER + _PEOPLE)
    touch(connection, "SELECT person FROM sides")
    return True


def move(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Give the rows of a fact table to their new owners, as the changes in `moved` want it."""
    connection.execute(_STRAYS.format(table=f'"{table}"'))
    if connection.execute("SELECT count(*) FROM strays").fetchall() == [(0,)]:
        return
    own(connection, "strays")
    connection.execute(_RETURNED.format(table=f'"{table}"') + _MOVE.format(table=f'"{table}"'))
    touch(connection, "SELECT previous FROM returned UNION SELECT person FROM returned", REFOLD.get(table))


def own(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Find the owners of rows (ordinal, keys); leaves them in table `owned` (ordinal, person, displaced)."""
    connection.execute(_OWNED.format(source=source))


def remove(connection: duckdb.DuckDBPyConnection, table: str, ids: str) -> None:
    """Remove rows of a fact table, if they are there.

    DuckDB looks only at row groups within the range of the ids, and ids begin with the time: mostly that is the last.

    Args:
        connection: The projection.
        table: The fact table.
        ids: A query for the ids of the rows.
    """
    gone = f'CREATE OR REPLACE TEMP TABLE gone AS SELECT id, person FROM "{table}" WHERE id IN ({ids})'
    connection.execute(gone)
    if connection.execute("SELECT count(*) FROM gone").fetchall() == [(0,)]:
        return
    touch(connection, "SELECT person FROM gone", REFOLD.get(table))
    connection.execute(f'DELETE FROM "{table}" WHERE id IN (SELECT id FROM gone)')


def touch(connection: duckdb.DuckDBPyConnection, people: str, refold: str | None = None) -> None:
    """Note people whose rows changed, so that the segments look at them.

    Args:
        connection: The projection.
        people: A query for them; it may answer nobody (NULL) and repeat itself.
        refold: Table of people for whom something must be folded again too.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE hands AS SELECT DISTINCT person FROM ({people}) AS _ (person)")
    for table in filter(None, ("touched", refold)):
        connection.execute(f"INSERT INTO {table} SELECT person FROM hands WHERE person IS NOT NULL")
