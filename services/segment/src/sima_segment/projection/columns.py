"""Which tables and columns there are: the catalogue that rules are compiled against, kept within the limits."""

from collections.abc import Iterable, Mapping

import duckdb

from sima_segment.projection.tables import FACT_COLUMNS, Limits
from sima_segment.rules import Catalogue
from sima_segment.rules.schema import (
    DUCKDB_TYPES,
    TRAITS,
    ColumnType,
    event_table,
    property_column,
    trait_column,
)

#: So many names beyond a limit are told apart; whoever sends ever new ones must not fill the memory.
MOST_TOLD_APART = 10_000

#: Properties of one event name, with the types that have a column.
Columns = dict[str, frozenset[ColumnType]]


class Tables:
    """The tables of event names and the columns of properties and traits; grows while facts arrive.

    A transaction that is rolled back takes new tables with it: call `reload` then.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        #: What arrived beyond the limits since the start, for the report: `events`, `properties`, `traits`.
        self.beyond: dict[str, set[tuple[str, ...]]] = {"events": set(), "properties": set(), "traits": set()}
        self.events: dict[str, Columns] = {}
        self.traits: Columns = {}
        #: Event names that get a table whatever the limit, for rules ask for them: no flood of others keeps them out.
        self.asked_for: frozenset[str] = frozenset()
        self._catalogue: Catalogue | None = None
        self.reload()

    def reload(self) -> None:
        """Read from the database what there is."""
        self.events = {name: {} for (name,) in self._rows("SELECT event FROM event_names")}
        for event, name, kind in self._rows("SELECT event, property, kind FROM event_columns"):
            _add(self.events[event], name, {ColumnType(kind)})
        self.traits = {}
        for name, kind in self._rows("SELECT trait, kind FROM trait_columns"):
            _add(self.traits, name, {ColumnType(kind)})
        self._catalogue = None

    def catalogue(self) -> Catalogue:
        """Return what rules can be compiled against; the same object until something is added."""
        if self._catalogue is None:
            self._catalogue = Catalogue(
                events={event: dict(columns) for event, columns in self.events.items()}, traits=dict(self.traits)
            )
        return self._catalogue

    def want_event(self, event: str) -> bool:
        """Make sure that an event name has a table; answers False if there is no room for one."""
        if event in self.events:
            return True
        if len(self.events) >= self._limits.names and event not in self.asked_for:
            self._leave_out("events", event)
            return False
        self._connection.execute(
            f'CREATE TABLE "{event_table(event)}" ({FACT_COLUMNS}, occurred_at TIMESTAMP, rest VARCHAR)'
        )
        self._connection.execute("INSERT INTO event_names VALUES (?)", [event])
        self.events[event] = {}
        self._catalogue = None
        return True

    def want_properties(self, event: str, wanted: Iterable[tuple[str, ColumnType]]) -> None:
        """Make sure that properties of an event name have columns, as long as there is room."""
        columns = self.events[event]
        for name, kind in sorted(wanted):
            if kind in columns.get(name, ()):
                continue
            if name not in columns and len(columns) >= self._limits.properties:
                self._leave_out("properties", event, name)
                continue
            self._add_column(event_table(event), property_column(name, kind), kind)
            self._connection.execute("INSERT INTO event_columns VALUES (?, ?, ?)", [event, name, kind])
            _add(columns, name, {kind})

    def want_traits(self, wanted: Iterable[tuple[str, ColumnType]]) -> None:
        """Make sure that traits have columns, as long as there is room."""
        for name, kind in sorted(wanted):
            if kind in self.traits.get(name, ()):
                continue
            if name not in self.traits and len(self.traits) >= self._limits.traits:
                self._leave_out("traits", name)
                continue
            self._add_column(TRAITS, trait_column(name, kind), kind)
            self._connection.execute("INSERT INTO trait_columns VALUES (?, ?)", [name, kind])
            _add(self.traits, name, {kind})

    def _leave_out(self, kind: str, *name: str) -> None:
        if len(self.beyond[kind]) < MOST_TOLD_APART:
            self.beyond[kind].add(name)

    def _add_column(self, table: str, column: str, kind: ColumnType) -> None:
        self._connection.execute(f'ALTER TABLE "{table}" ADD COLUMN "{column}" {DUCKDB_TYPES[kind]}')
        self._catalogue = None

    def _rows(self, query: str) -> list[tuple[str, ...]]:
        return self._connection.execute(query).fetchall()


def _add(columns: Columns, name: str, kinds: Iterable[ColumnType]) -> None:
    columns[name] = columns.get(name, frozenset()) | frozenset(kinds)


def slots(columns: Mapping[str, frozenset[ColumnType]]) -> list[tuple[str, ColumnType]]:
    """Return (name, type) of every column, in order."""
    return sorted((name, kind) for name, kinds in columns.items() for kind in kinds)
