"""Statements about consent, and what they come to per person and purpose.

A statement holds for each identifier of its message, so there is one row per statement and key, owned by that key
alone. Per identifier the latest statement wins, a tie is a denial; over the person one denial denies.
"""

import duckdb
import pyarrow as pa

from sima_segment.projection.owners import own, registered, remove, touch
from sima_segment.projection.pages import for_duckdb
from sima_segment.projection.tables import REFOLD, STATEMENTS
from sima_segment.rules.schema import CONSENTS

_SPREAD = """
CREATE OR REPLACE TEMP TABLE spread AS
SELECT row_number() OVER () AS ordinal, [key] AS keys, id, purpose, granted, stated_at
FROM (SELECT id, purpose, granted, stated_at, unnest(keys) AS key FROM page_consents
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY ordinal DESC) = 1);
"""
_ADD = f"""
INSERT INTO {STATEMENTS}
SELECT id, keys, person, displaced, purpose, granted, stated_at FROM spread JOIN owned USING (ordinal);
"""
_REFOLD = f"""
DELETE FROM {CONSENTS} WHERE person IN (SELECT person FROM refold_consents);
INSERT INTO {CONSENTS}
SELECT person, purpose, bool_and(granted) FROM (
    SELECT person, purpose, granted
    FROM {STATEMENTS} SEMI JOIN (SELECT DISTINCT person FROM refold_consents) AS refold USING (person)
    QUALIFY row_number() OVER (PARTITION BY person, purpose, keys ORDER BY stated_at DESC, granted) = 1)
GROUP BY person, purpose;
TRUNCATE refold_consents;
"""


def add(connection: duckdb.DuckDBPyConnection, consents: pa.Table) -> None:
    """Take in a page of statements; `refold` follows."""
    with registered(connection, "page_consents", for_duckdb(consents)):
        connection.execute(_SPREAD)
    own(connection, "spread")
    touch(connection, "SELECT person FROM owned", REFOLD[STATEMENTS])
    remove(connection, STATEMENTS, "SELECT id FROM spread")
    connection.execute(_ADD)


def refold(connection: duckdb.DuckDBPyConnection) -> None:
    """Fold the statements of everybody about whom one changed."""
    if connection.execute("SELECT count(*) FROM refold_consents").fetchall() != [(0,)]:
        connection.execute(_REFOLD)
