"""Events: one table per event name, one nullable column per property and type.

The JSON is taken apart in DuckDB: `json_structure` says once per distinct shape what there is, and one statement per
event name takes all values out at once. Properties that it cannot read, because they are no JSON or nested more than
127 levels deep, have no shape and no columns.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby

from sima_segment.projection.columns import Tables
from sima_segment.projection.rows import Connection, keep, remove, touch, without
from sima_segment.projection.shapes import Property, expression, fits, properties
from sima_segment.projection.tables import BEYOND
from sima_segment.rules.dialect import literal
from sima_segment.rules.schema import ColumnType, event_table, property_column

# A fact may come again, alone or within the page: the last one counts.
_ARRIVED = """
SELECT id, keys, owned.person, owned.displaced, name, occurred_at,
    properties, TRY(json_structure(properties)) AS shape
FROM page_events JOIN owned USING (ordinal) WHERE relation = 'page_events'
QUALIFY row_number() OVER (PARTITION BY id ORDER BY ordinal DESC) = 1
"""
_RECALLED = f"""
SELECT id, keys, person, displaced, name, occurred_at, rest AS properties, TRY(json_structure(rest)) AS shape
FROM {BEYOND} WHERE {{asked_for}}
"""
_SHAPES = "SELECT DISTINCT name, shape FROM arrived ORDER BY ALL"
_READABLE = "CASE WHEN shape IS NOT NULL THEN properties END"
# It looks at each list of types again for each other one: an event of 300 properties takes 20 seconds with it.
_OF_LISTS = "in_clause"
_REST = "CASE WHEN shape IS NULL OR list_contains(?::VARCHAR[], shape) THEN properties END"
_FACT = "id, keys, person, displaced"


def add(connection: Connection, tables: Tables) -> None:
    """Take in the events of `page_events`, whose owners are in `owned`."""
    keep(connection, "arrived", _ARRIVED)
    touch(connection, "SELECT person FROM arrived")
    shapes = _shapes(connection)
    kept = [name for name in shapes if tables.want_event(name)]
    remove(connection, [*map(event_table, kept), *([BEYOND] if len(kept) < len(shapes) else [])], "arrived")
    _distribute(connection, tables, shapes)


def recall(connection: Connection, tables: Tables) -> bool:
    """Give events that came beyond the limit to the tables of their names, now that rules ask for some.

    Returns:
        Whether there were any.
    """
    asked_for = f"name IN ({', '.join(map(literal, sorted(tables.asked_for)))})"
    if not keep(connection, "arrived", _RECALLED.format(asked_for=asked_for)):
        return False
    shapes = _shapes(connection)
    for name in shapes:
        tables.want_event(name)
    _distribute(connection, tables, shapes)
    connection.execute(f"DELETE FROM {BEYOND} WHERE {asked_for}")
    return True


def _shapes(connection: Connection) -> dict[str, list[str]]:
    """Return the shapes of each event name in table `arrived`."""
    found = connection.execute(_SHAPES).fetchall()
    return {name: [shape for _, shape in rows if shape] for name, rows in groupby(found, key=lambda row: row[0])}


def _distribute(connection: Connection, tables: Tables, shapes: Mapping[str, list[str]]) -> None:
    """Put what is in table `arrived` where each event name belongs."""
    with without(connection, _OF_LISTS):
        for name, of_name in shapes.items():
            _add_named(connection, tables, name, of_name)


def _add_named(connection: Connection, tables: Tables, event: str, shapes: list[str]) -> None:
    if event not in tables.events:
        columns = f"{_FACT}, name, occurred_at, properties"
        connection.execute(f"INSERT INTO {BEYOND} SELECT {columns} FROM arrived WHERE name = ?", [event])
        return
    found = frozenset[Property]().union(*map(properties, shapes))
    tables.want_properties(event, {(each.name, each.kind) for each in found})
    kept = [each for each in found if each.kind in tables.events[event].get(each.name, ())]
    too_wide = [shape for shape in shapes if not fits(shape, frozenset(tables.events[event]))]
    connection.execute(_insert(event, kept), [too_wide, event])


def _insert(event: str, found: Iterable[Property]) -> str:
    """Return the statement; its parameters are the shapes of which not everything has a column, and the event."""
    pointers = sorted({each.pointer for each in found})
    places = {pointer: place for place, pointer in enumerate(pointers, 1)}
    by_column = _by_column(found, places)
    names = "".join(f', "{column}"' for column in by_column)
    values = "".join(f", {value}" for value in by_column.values())
    return f"""
        INSERT INTO "{event_table(event)}" ({_FACT}, occurred_at, rest{names})
        SELECT {_FACT}, occurred_at, {_REST}{values}
        FROM (SELECT *{_taken(pointers)} FROM arrived WHERE name = ?)"""


def _by_column(found: Iterable[Property], places: Mapping[str, int]) -> dict[str, str]:
    grouped = groupby(sorted(found, key=lambda each: (each.name, each.kind, each.pointer)), key=_name_and_kind)
    return {
        property_column(name, kind): expression([places[each.pointer] for each in group], kind)
        for (name, kind), group in grouped
    }


def _name_and_kind(found: Property) -> tuple[str, ColumnType]:
    return found.name, found.kind


def _taken(pointers: list[str]) -> str:
    if not pointers:
        return ""
    wanted = f"[{', '.join(map(literal, pointers))}]"
    return f", json_extract_string({_READABLE}, {wanted}) AS texts, json_type({_READABLE}, {wanted}) AS types"
