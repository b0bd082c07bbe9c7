"""Statements about consent, and what they come to per person and purpose.

A statement holds for each identifier of its message, so there is one row per statement and key, owned by that key
alone. Per identifier the latest statement wins, a tie is a denial; over the person one denial denies.
"""

from sima_segment.projection.rows import Connection, keep, remove, touch
from sima_segment.projection.tables import STATEMENTS
from sima_segment.rules.schema import CONSENTS

_SPREAD = """
SELECT row_number() OVER () AS ordinal, [key] AS keys, id, purpose, granted, stated_at
FROM (SELECT id, purpose, granted, stated_at, unnest(keys) AS key FROM (
    FROM page_consents QUALIFY row_number() OVER (PARTITION BY id ORDER BY ordinal DESC) = 1))
"""
_ADD = f"""
INSERT INTO {STATEMENTS}
SELECT id, keys, person, displaced, purpose, granted, stated_at FROM spread JOIN owned USING (ordinal)
WHERE relation = 'spread';
"""
_REFOLD = f"""
DELETE FROM {CONSENTS} WHERE person IN (SELECT person FROM refold_consents);
INSERT INTO {CONSENTS}
SELECT person, purpose, bool_and(granted) FROM (
    SELECT person, purpose, granted
    FROM {STATEMENTS} SEMI JOIN refold_consents USING (person)
    QUALIFY row_number() OVER (PARTITION BY person, purpose, keys ORDER BY stated_at DESC, granted) = 1)
GROUP BY person, purpose;
TRUNCATE refold_consents;
"""


def spread(connection: Connection) -> None:
    """Make one row per statement and key of `page_consents`, in table `spread`."""
    keep(connection, "spread", _SPREAD)


def add(connection: Connection) -> None:
    """Take in the statements of `spread`, whose owners are in `owned`; `refold` follows."""
    touch(connection, "SELECT person FROM owned WHERE relation = 'spread'", STATEMENTS)
    remove(connection, [STATEMENTS], "spread")
    connection.execute(_ADD)


def refold(connection: Connection) -> None:
    """Fold the statements of everybody about whom one changed."""
    if connection.execute("FROM refold_consents LIMIT 1").fetchall():
        connection.execute(_REFOLD)
