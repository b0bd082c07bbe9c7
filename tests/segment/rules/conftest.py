"""People with facts, as a projection in DuckDB to run compiled rules over."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypedDict

import duckdb
import pytest
from sima_sdk.rules import SegmentFunction
from sima_segment.rules import Catalogue, ColumnType, CompiledRule, compile_rule, compile_together, parse, references
from sima_segment.rules.schema import DUCKDB_TYPES, event_table, property_column, trait_column

Value: TypeAlias = "str | float | bool | datetime | Sequence[str | float | bool | datetime]"
Values: TypeAlias = Mapping[str, Value]
Functions: TypeAlias = Mapping[str, SegmentFunction]
Columns: TypeAlias = Mapping[str, frozenset[ColumnType]]


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Person(TypedDict, total=False):
    """Everything known about a person; each event is its name, its time and its properties."""

    events: Sequence[tuple[str, datetime, Values]]
    traits: Values
    consents: Mapping[str, bool]
    segments: Iterable[str]


@dataclass(frozen=True)
class Projection:
    """The tables of some people, and who a rule says is meant."""

    connection: duckdb.DuckDBPyConnection
    catalogue: Catalogue

    def members(self, rule: str, at: datetime = NOW, functions: Functions | None = None) -> set[str]:
        """Return for whom a rule holds at an instant; nobody may be there twice, together or alone."""
        parsed = parse(rule, functions)
        found = self._found(compile_rule(parsed, self.catalogue), at)
        if not references(parsed).segments:
            together = compile_together({"asked": parsed}, [["asked"]], self.catalogue, "people")
            assert sorted(self._found(together, at)) == sorted(found)
        assert len(found) == len(set(found))
        return set(found)

    def _found(self, compiled: CompiledRule, at: datetime) -> list[str]:
        rows = self.connection.execute(compiled.sql, compiled.parameters(at)).fetchall()
        return [row[-1] for row in rows]


def column_type(value: Value) -> ColumnType:
    """Return the type of the column for a value."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return column_type(value[0]).plural
    for python, kind in ((bool, ColumnType.BOOLEAN), (str, ColumnType.TEXT), (datetime, ColumnType.TIME)):
        if isinstance(value, python):
            return kind
    return ColumnType.NUMBER


def columns_of(facts: Iterable[Mapping[str, Value]]) -> Columns:
    """Return the columns that some traits or properties need."""
    found: dict[str, set[ColumnType]] = {}
    for values in facts:
        for name, value in values.items():
            found.setdefault(name, set()).add(column_type(value))
    return {name: frozenset(kinds) for name, kinds in found.items()}


def _naive(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    return [_naive(each) for each in value] if isinstance(value, tuple | list) else value


@dataclass(frozen=True)
class _Table:
    """A table with fixed columns, and one for each trait or property and type."""

    name: str
    fixed: Mapping[str, str]
    columns: Columns
    column_name: Callable[[str, ColumnType], str]

    def fill(self, connection: duckdb.DuckDBPyConnection, rows: Iterable[tuple[Sequence[Any], Values]]) -> None:
        """Create the table with these rows: the fixed columns, and the values by name."""
        kinds = {
            self.column_name(name, kind): DUCKDB_TYPES[kind] for name in self.columns for kind in self.columns[name]
        }
        definition = ", ".join(f'"{column}" {kind}' for column, kind in {**self.fixed, **kinds}.items())
        connection.execute(f'CREATE TABLE "{self.name}" ({definition})')
        for head, values in rows:
            named = {self.column_name(name, column_type(value)): _naive(value) for name, value in values.items()}
            row = [*head, *(named.get(column) for column in kinds)]
            connection.execute(f'INSERT INTO "{self.name}" VALUES ({", ".join("?" * len(row))})', row)


def _plain(name: str, *columns: str) -> _Table:
    return _Table(name, dict.fromkeys(columns, "VARCHAR"), {}, trait_column)


def _project(people: Mapping[str, Person]) -> Projection:
    connection = duckdb.connect()
    _plain("people", "person").fill(connection, (((name,), {}) for name in people))
    traits = {name: person["traits"] for name, person in people.items() if person.get("traits")}
    columns = columns_of(traits.values())
    table = _Table("traits", {"person": "VARCHAR"}, columns, trait_column)
    table.fill(connection, (((name,), values) for name, values in traits.items()))
    _fill_consents_and_segments(connection, people)
    return Projection(connection, Catalogue(_fill_events(connection, people), columns))


def _fill_events(connection: duckdb.DuckDBPyConnection, people: Mapping[str, Person]) -> dict[str, Columns]:
    events: dict[str, list[tuple[list[Any], Values]]] = {}
    for name, person in people.items():
        for event, at, values in person.get("events", ()):
            events.setdefault(event, []).append(([name, _naive(at)], values))
    columns = {event: columns_of(values for _, values in rows) for event, rows in events.items()}
    for event, rows in events.items():
        fixed = {"person": "VARCHAR", "occurred_at": "TIMESTAMP"}
        _Table(event_table(event), fixed, columns[event], property_column).fill(connection, rows)
    return columns


def _fill_consents_and_segments(connection: duckdb.DuckDBPyConnection, people: Mapping[str, Person]) -> None:
    stated = [(name, *each) for name, person in people.items() for each in person.get("consents", {}).items()]
    fixed = {"person": "VARCHAR", "purpose": "VARCHAR", "granted": "BOOLEAN"}
    _Table("consents", fixed, {}, trait_column).fill(connection, ((each, {}) for each in stated))
    members = [(segment, name) for name, person in people.items() for segment in person.get("segments", ())]
    _plain("segment_members", "segment", "person").fill(connection, ((each, {}) for each in members))


@pytest.fixture(scope="session")
def project() -> Callable[[Mapping[str, Person]], Projection]:
    """Make the projection of some people."""
    return _project
