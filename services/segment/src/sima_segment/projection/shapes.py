"""Which properties an event's JSON has, and how SQL takes each of them out of it. Pure.

The shape is what DuckDB's `json_structure` says about a JSON object: the same object with types in place of values.
Nested objects are written with dots (`address.city`), lists of plain values have columns of their own, lists of objects
have none.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sima_segment.rules.context import LONGEST_NAME
from sima_segment.rules.schema import ColumnType

Shape = str | list["Shape"] | dict[str, "Shape"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBERS = ("UBIGINT", "BIGINT", "HUGEINT", "UHUGEINT", "DOUBLE")
_KINDS: Mapping[str, tuple[ColumnType, ...]] = {
    "VARCHAR": (ColumnType.TEXT,),
    "BOOLEAN": (ColumnType.BOOLEAN,),
    **dict.fromkeys(_NUMBERS, (ColumnType.NUMBER,)),
}
# What a list holds whose elements are of different types.
_ANY = (ColumnType.TEXT, ColumnType.BOOLEAN, ColumnType.NUMBER)
_JSON_TYPES: Mapping[ColumnType, str] = {
    ColumnType.TEXT: "('VARCHAR')",
    ColumnType.BOOLEAN: "('BOOLEAN')",
    ColumnType.NUMBER: str(_NUMBERS),
}

# Longer shapes are read each time: who sends ever new ones must not fill the memory.
_SHORT = 8_000


@dataclass(frozen=True, slots=True, order=True)
class Property:
    """One property: its name in rules, its place in the JSON (a JSON pointer), and a type that it has."""

    name: str
    pointer: str
    kind: ColumnType


def properties(shape: str) -> frozenset[Property]:
    """Read a shape; what no column can hold is left out."""
    return _remembered(shape) if len(shape) <= _SHORT else _read(shape)


@lru_cache(maxsize=1_024)
def _remembered(shape: str) -> frozenset[Property]:
    return _read(shape)


def _read(shape: str) -> frozenset[Property]:
    return frozenset(_walk(json.loads(shape), (), ""))


def fits(shape: str, known: frozenset[str]) -> bool:
    """Whether every value of JSON with this shape has a column, if these properties have columns."""
    return all(found.name in known for found in properties(shape))


def _walk(shape: Shape, path: tuple[str, ...], pointer: str) -> Iterable[Property]:
    if isinstance(shape, dict):
        for name, below in shape.items():
            yield from _walk(below, (*path, name), f"{pointer}/{_escaped(name)}")
    elif path and _is_name(name := ".".join(path)):
        yield from (Property(name, pointer, kind) for kind in _kinds(shape))


def _kinds(shape: str | list["Shape"]) -> tuple[ColumnType, ...]:
    if isinstance(shape, str):
        return _KINDS.get(shape, ())
    [element] = shape
    if not isinstance(element, str):
        return ()
    scalars = _ANY if element == "JSON" else _KINDS.get(element, ())
    return tuple(kind.plural for kind in scalars)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and not _CONTROL.search(name)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def expression(places: Iterable[int], kind: ColumnType) -> str:
    """Return the SQL for one column, from lists `types` and `texts` of what stands at each pointer.

    Args:
        places: Where in the lists, from 1; the first that has a value of the kind counts.
        kind: The type of the column.
    """
    found = [_of_list(place, kind) if kind.many else _of_scalar(place, kind) for place in places]
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def _of_scalar(place: int, kind: ColumnType) -> str:
    return f"CASE WHEN types[{place}] IN {_JSON_TYPES[kind]} THEN {_value(f'texts[{place}]', kind)} END"


def _of_list(place: int, kind: ColumnType) -> str:
    scalar = next(each for each in _JSON_TYPES if each.plural is kind)
    elements = f"""from_json(texts[{place}], '["JSON"]')"""
    wanted = f"list_filter({elements}, lambda e: json_type(e) IN {_JSON_TYPES[scalar]})"
    value = _value("e->>'$'", scalar)
    values = f"list_transform({wanted}, lambda e: {value})"
    return f"CASE WHEN types[{place}] = 'ARRAY' THEN nullif(list_filter({values}, lambda v: v IS NOT NULL), []) END"


def _value(text: str, kind: ColumnType) -> str:
    if kind is ColumnType.TEXT:
        return text
    if kind is ColumnType.BOOLEAN:
        return f"{text} = 'true'"
    number = f"TRY_CAST({text} AS DOUBLE)"
    return f"if(isfinite({number}), {number}, NULL)"
