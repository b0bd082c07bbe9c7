"""Names of tables and columns: safe, and different for different things."""

import duckdb
from hypothesis import given
from hypothesis import strategies as st
from sima_segment.rules import ColumnType
from sima_segment.rules.schema import DUCKDB_TYPES, event_table, property_column, trait_column

NAMES = st.one_of(st.text(max_size=60), st.text("aA_1$ ", max_size=6), st.text("abc__number", max_size=12))
KINDS = st.sampled_from(ColumnType)


def test_plain_names_stay_readable() -> None:
    """Who looks into the file sees what is what."""
    assert event_table("order_completed") == "event__order_completed"
    assert property_column("total", ColumnType.NUMBER) == "total__number"
    assert trait_column("city", ColumnType.TEXTS) == "city__texts"
    assert event_table("Order Completed").startswith("event__order_completed$")


@given(NAMES, NAMES, KINDS, KINDS)
def test_different_things_never_share_a_name(one: str, other: str, kind: ColumnType, other_kind: ColumnType) -> None:
    """Not even where letter case is ignored, as DuckDB does, nor through the separators of the names."""
    assert (event_table(one).lower() == event_table(other).lower()) == (one == other)
    same = property_column(one, kind).lower() == property_column(other, other_kind).lower()
    assert same == ((one, kind) == (other, other_kind))


@given(st.lists(NAMES, max_size=5, unique=True))
def test_any_name_makes_a_table(names: list[str]) -> None:
    """DuckDB takes every name between double quotes, of any script and length."""
    columns = {property_column(name, kind): DUCKDB_TYPES[kind] for name in names for kind in ColumnType}
    with duckdb.connect() as connection:
        for name in names:
            definition = ", ".join(f'"{column}" {kind}' for column, kind in {"person": "UUID", **columns}.items())
            connection.execute(f'CREATE TABLE "{event_table(name)}" ({definition})')
        found = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert found == {event_table(name) for name in names}
