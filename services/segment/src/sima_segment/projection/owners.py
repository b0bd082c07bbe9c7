"""Whom each fact belongs to: the identity map, and the person of every fact row kept in step with it.

The owner of a fact is the strongest of its keys that is neither shared nor blocked; if there is none, the strongest
shared one; if all are blocked, nobody. `person` is the owner's profile. A key that the identity feed has not told yet
counts as an ordinary one without a profile, so what the tables hold is a function of the two cursors alone, whichever
feed comes first. Companies are nobody: their keys have no profile here, and own facts as others do.

A change of the grouping can concern a row only if its person is one that an identifier left or kept, or if its
strongest key is not plainly its owner (`displaced`); none can if all its keys are companies'. So most rows are passed
over by one look at one column.

All rows whose owner must be found, old and new ones, are gathered as claims and answered at once, because each look
into the identity map costs a pass over it.
"""

from collections.abc import Iterable

import pyarrow as pa

from sima_segment.projection.pages import for_duckdb
from sima_segment.projection.rows import Connection, as_written, keep, portions, registered, touch
from sima_segment.projection.tables import REFOLD
from sima_segment.rules.schema import PEOPLE

# A page may say several times where a key belongs: the last time counts. What is known already is no change.
_MOVED = """
WITH latest AS (
    SELECT key, TRY_CAST(nullif(profile, '') AS UUID) AS profile, shared, blocked, account FROM page_changes
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY ordinal DESC) = 1)
SELECT latest.*, known.profile AS previous, known.place
FROM latest LEFT JOIN (SELECT *, rowid AS place FROM identity SEMI JOIN page_changes USING (key)) AS known USING (key)
WHERE known.key IS NULL OR latest.profile IS DISTINCT FROM known.profile
    OR latest.shared <> known.shared OR latest.blocked <> known.blocked
"""
_SIDES = """
SELECT previous AS person FROM moved WHERE previous IS NOT NULL
UNION SELECT profile FROM moved WHERE profile IS NOT NULL
"""
_UPDATE = """
UPDATE identity SET profile = moved.profile, shared = moved.shared, blocked = moved.blocked
FROM moved WHERE identity.rowid = moved.place
"""
_INSERT = "INSERT INTO identity SELECT key, profile, shared, blocked, account FROM moved WHERE place IS NULL"
# Everybody who goes by an identifier that is not blocked. (A condition on the rows themselves would keep DuckDB from
# looking them up in the index.)
_PEOPLE = f"""
CREATE OR REPLACE TEMP TABLE standing AS
SELECT identity.profile AS person FROM identity SEMI JOIN sides ON identity.profile = sides.person
GROUP BY identity.profile HAVING NOT bool_and(identity.blocked);
DELETE FROM {PEOPLE} WHERE person IN (SELECT person FROM sides ANTI JOIN standing USING (person));
INSERT INTO {PEOPLE} SELECT person FROM standing
ANTI JOIN (FROM {PEOPLE} SEMI JOIN standing USING (person)) USING (person);
"""
_OF_PREVIOUS = """
SELECT '{table}', rowid, keys, person, displaced FROM "{table}" SEMI JOIN previous USING (person)
"""
_OF_DISPLACED = """
SELECT '{table}', rowid, keys, person, displaced FROM "{table}" WHERE displaced
    AND (person IS NULL OR person NOT IN (SELECT person FROM previous)) AND rowid IN (
    SELECT place FROM (SELECT rowid AS place, unnest(keys) AS key FROM "{table}" WHERE displaced)
    WHERE key IN (SELECT key FROM moved))
"""
_HAS_DISPLACED = """(SELECT '{table}' FROM "{table}" WHERE displaced LIMIT 1)"""
# Shared keys rank behind all others; a row has at most some dozens of keys.
_RANKED = """
SELECT relation, ordinal, unnest(keys) AS key, generate_subscripts(keys, 1) AS rank FROM claims
"""
_OWNED = """
WITH judged AS (
    SELECT relation, ordinal, rank, profile, coalesce(shared, false) AS shared, coalesce(blocked, false) AS blocked,
        coalesce(account, false) AS account
    FROM ranked LEFT JOIN (FROM identity SEMI JOIN ranked USING (key)) USING (key))
SELECT relation, ordinal,
    arg_min_null(profile, if(shared, 1000000 + rank, rank)) FILTER (NOT blocked) AS person,
    bool_or(rank = 1 AND (profile IS NULL OR shared OR blocked)) AND NOT bool_and(account) AS displaced
FROM judged GROUP BY relation, ordinal
"""
_RETURNED = """
SELECT relation, ordinal, owned.person, owned.displaced, claims.person AS previous
FROM owned JOIN claims USING (relation, ordinal)
WHERE claims.displaced IS NOT NULL
    AND (owned.person IS DISTINCT FROM claims.person OR owned.displaced <> claims.displaced)
"""
_BOTH_SIDES = "SELECT unnest([previous, person]) AS person FROM returned"
_MOVE = """
UPDATE "{table}" SET person = returned.person, displaced = returned.displaced
FROM returned WHERE returned.relation = '{table}' AND "{table}".rowid = returned.ordinal
"""


def learn(connection: Connection, changes: pa.Table) -> bool:
    """Take in changes of the grouping, leave them in table `moved`, and answer whether there is any news."""
    with registered(connection, page_changes=for_duckdb(changes)), as_written(connection):
        if not keep(connection, "moved", _MOVED):
            return False
    keep(connection, "sides", _SIDES)
    keep(connection, "previous", "SELECT DISTINCT previous AS person FROM moved WHERE previous IS NOT NULL")
    connection.execute(_UPDATE)
    connection.execute(_INSERT)
    connection.execute(_PEOPLE)
    touch(connection, "FROM sides")
    return True


def reclaim(connection: Connection, tables: Iterable[str]) -> None:
    """Claim the rows of fact tables that the changes in `moved` may concern.

    Mostly there are none, so it is asked first where there may be some: to find nothing in all tables takes time.
    """
    any_previous = connection.execute("FROM previous LIMIT 1").fetchall() != []
    for portion in portions(tables):
        concerned = [_OF_PREVIOUS.format(table=table) for table in portion if any_previous]
        concerned += [_OF_DISPLACED.format(table=table) for table in _with_displaced(connection, portion)]
        if concerned:
            connection.execute(f"INSERT INTO claims {' UNION ALL '.join(concerned)}")


def _with_displaced(connection: Connection, tables: Iterable[str]) -> list[str]:
    """Return those of some fact tables in which a row's strongest key is not plainly its owner."""
    asked = " UNION ALL ".join(_HAS_DISPLACED.format(table=table) for table in tables)
    return [table for (table,) in connection.execute(asked).fetchall()]


def claim(connection: Connection, relation: str) -> None:
    """Claim the rows of a relation that arrives, with columns `ordinal` and `keys`."""
    connection.execute(f"INSERT INTO claims SELECT '{relation}', ordinal, keys, NULL, NULL FROM {relation}")


def decide(connection: Connection) -> None:
    """Find the owner of everything claimed, leave it in table `owned`, and move the rows that have another one now.

    If nothing is claimed, it does nothing.
    """
    if not keep(connection, "ranked", _RANKED):
        return
    with as_written(connection):
        keep(connection, "owned", _OWNED)
    if keep(connection, "returned", _RETURNED):
        _move(connection)
    connection.execute("TRUNCATE claims")


def _move(connection: Connection) -> None:
    """Give the rows in `returned` to their owners, and note both sides."""
    relations = [relation for (relation,) in connection.execute("SELECT DISTINCT relation FROM returned").fetchall()]
    for relation in relations:
        connection.execute(_MOVE.format(table=relation))
    touch(connection, _BOTH_SIDES)
    for relation in REFOLD.keys() & relations:
        touch(connection, f"{_BOTH_SIDES} WHERE relation = '{relation}'", relation)
