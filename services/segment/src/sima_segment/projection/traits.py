"""Trait observations, and the one row per person into which they are folded.

The value that counts is chosen as the profile service does it: by the trait's rule of survivorship, then the latest,
and among equally late ones by content, so that the order of arrival never matters.
"""

from collections.abc import Iterable, Mapping

from sima_segment.projection.columns import Tables
from sima_segment.projection.rows import Connection, keep, remove, touch
from sima_segment.projection.tables import OBSERVATIONS
from sima_segment.rules.schema import DUCKDB_TYPES, TRAITS, ColumnType, trait_column
from sima_segment.survivorship import Survivorship, TraitPolicy

_ARRIVED = """
SELECT page.*, owned.person, owned.displaced FROM page_observations AS page JOIN owned USING (ordinal)
WHERE relation = 'page_observations'
QUALIFY row_number() OVER (PARTITION BY id ORDER BY ordinal DESC) = 1
"""
_ADD = f"""
INSERT INTO {OBSERVATIONS}
SELECT id, keys, person, displaced, trait, value, type, source, method, observed_at, confidence FROM arrived;
"""
_POLICIES = """
CREATE OR REPLACE TEMP TABLE survivorship (trait VARCHAR, rule VARCHAR);
CREATE OR REPLACE TEMP TABLE trust (trait VARCHAR, source VARCHAR, place INTEGER);
"""
_OBSERVED = f"""
SELECT person, trait, type, value, source, method, observed_at, confidence
FROM {OBSERVATIONS} SEMI JOIN refold_traits USING (person)
"""
# One row per value that counts; `place` is 1 for the best of a trait.
_FOLDED = f"""
WITH latest AS (
    SELECT person, trait, coalesce(rule, '') AS rule, type, value,
        row_number() OVER (PARTITION BY person, trait ORDER BY
            CASE rule WHEN '{Survivorship.MOST_TRUSTED_SOURCE}' THEN coalesce(trust.place, 1000000)
                WHEN '{Survivorship.DECLARED_FIRST}' THEN if(method = 'declared', 0, 1) ELSE 0 END,
            observed_at DESC, confidence DESC, source DESC, method DESC, type DESC, value DESC) AS place
    FROM observed LEFT JOIN survivorship USING (trait) LEFT JOIN trust USING (trait, source))
SELECT * FROM latest WHERE place = 1 OR rule = '{Survivorship.UNION}'
"""
_FORGET = f"DELETE FROM {TRAITS} WHERE person IN (SELECT person FROM refold_traits)"
_VALUES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "value->>'$'",
    ColumnType.NUMBER: "TRY_CAST(value AS DOUBLE)",
    ColumnType.BOOLEAN: "value = 'true'",
    ColumnType.TIME: "TRY_CAST(value->>'$' AS TIMESTAMP)",
}


def configure(connection: Connection, policies: Mapping[str, TraitPolicy]) -> None:
    """Tell how traits are folded; the default is the most recent value."""
    connection.execute(_POLICIES)
    for trait, policy in policies.items():
        connection.execute("INSERT INTO survivorship VALUES (?, ?)", [trait, policy.survivorship])
        for place, source in enumerate(policy.trusted_sources):
            connection.execute("INSERT INTO trust VALUES (?, ?, ?)", [trait, source, place])


def add(connection: Connection) -> None:
    """Take in the observations of `page_observations`, whose owners are in `owned`; `refold` follows."""
    keep(connection, "arrived", _ARRIVED)
    touch(connection, "SELECT person FROM arrived", OBSERVATIONS)
    remove(connection, [OBSERVATIONS], "arrived")
    connection.execute(_ADD)


def refold(connection: Connection, tables: Tables) -> None:
    """Fold the traits of everybody whose observations changed."""
    if connection.execute("FROM refold_traits LIMIT 1").fetchall() == []:
        return
    connection.execute(_FORGET)
    keep(connection, "observed", _OBSERVED)
    keep(connection, "folded", _FOLDED)
    found = connection.execute("SELECT DISTINCT trait, type, rule FROM folded ORDER BY ALL").fetchall()
    slots = [(trait, _kind(kind, rule)) for trait, kind, rule in found]
    tables.want_traits(slots)
    kept = [(trait, kind) for trait, kind in slots if kind in tables.traits.get(trait, ())]
    if kept:
        connection.execute(_insert(kept), [trait for trait, _ in kept])
    connection.execute("TRUNCATE refold_traits")


def _kind(kind: str, rule: str) -> ColumnType:
    scalar = ColumnType(kind)
    return scalar.plural if rule == Survivorship.UNION else scalar


def _insert(slots: Iterable[tuple[str, ColumnType]]) -> str:
    slots = list(slots)
    names = "".join(f', "{trait_column(trait, kind)}"' for trait, kind in slots)
    values = "".join(f", {_value(kind)}" for _, kind in slots)
    return f"INSERT INTO {TRAITS} (person{names}) SELECT person{values} FROM folded GROUP BY person"


def _value(kind: ColumnType) -> str:
    scalar = next(each for each in _VALUES if kind in (each, each.plural))
    value = f"({_VALUES[scalar]})"
    aggregate = f"list(DISTINCT {value} ORDER BY {value})" if kind.many else f"any_value({value})"
    return f"CAST({aggregate} FILTER (trait = ? AND type = '{scalar}') AS {DUCKDB_TYPES[kind]})"
