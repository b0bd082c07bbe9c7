"""A small database in memory with the rows of some people, in tables of the same names as those of the projection."""

from collections.abc import Mapping
from datetime import datetime

import duckdb
import pyarrow as pa

from sima_segment.plan import Plan
from sima_segment.projection.columns import slots
from sima_segment.projection.evaluation import differences, evaluate, forget
from sima_segment.projection.rows import Connection, registered
from sima_segment.rules import Catalogue
from sima_segment.rules.schema import (
    CONSENTS,
    DUCKDB_TYPES,
    GRANTED,
    MEMBERS,
    OCCURRED_AT,
    PEOPLE,
    PURPOSE,
    SEGMENT,
    TRAITS,
    ColumnType,
    event_table,
    property_column,
    trait_column,
)

#: Columns with their types, by table.
Layout = Mapping[str, Mapping[str, str]]


class Sample:
    """Evaluates rules over the people who may have changed.

    It holds only tables and columns that the rules read, and is made anew when those become others.
    """

    def __init__(self) -> None:
        # One thread: the tables are small, and handing work to others would cost more than doing it.
        self._connection = duckdb.connect(config={"threads": 1, "arrow_lossless_conversion": True})
        self._layout: Layout = {}

    def load(self, projection: Connection, people: str, plan: Plan, catalogue: Catalogue) -> None:
        """Copy the rows of some people.

        Args:
            projection: Where to copy from.
            people: Name of its table that says whose rows.
            plan: What will be evaluated.
            catalogue: Which columns there are.
        """
        self._prepare(layout(plan, catalogue))
        for table, columns in self._layout.items():
            names = ", ".join(f'"{name}"' for name in columns)
            rows = projection.sql(f'SELECT {names} FROM "{table}" SEMI JOIN {people} USING (person)').to_arrow_table()
            self._connection.execute(f'TRUNCATE "{table}"')
            if rows.num_rows:
                with registered(self._connection, rows=rows):
                    self._connection.execute(f'INSERT INTO "{table}" SELECT * FROM rows')

    def evaluate(self, plan: Plan, catalogue: Catalogue, instant: datetime) -> None:
        """Find the segments of the loaded people."""
        forget(self._connection)
        for level in plan.levels:
            evaluate(self._connection, {segment: plan.rules[segment] for segment in level}, catalogue, instant)

    def differences(self, stored: pa.Table) -> pa.Table:
        """Compare what was found with the memberships stored of the same people."""
        return differences(self._connection, stored)

    def close(self) -> None:
        """Give back the memory."""
        self._connection.close()

    def _prepare(self, wanted: Layout) -> None:
        if wanted == self._layout:
            return
        for table in self._layout:
            self._connection.execute(f'DROP TABLE "{table}"')
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {MEMBERS} ({SEGMENT} VARCHAR, person UUID)")
        for table, columns in wanted.items():
            definitions = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            self._connection.execute(f'CREATE TABLE "{table}" ({definitions})')
        self._layout = wanted


def layout(plan: Plan, catalogue: Catalogue) -> Layout:
    """Return which tables and columns rules read, of those that there are."""
    tables = {
        PEOPLE: _columns({}),
        TRAITS: _columns(
            {trait_column(name, kind): kind for name, kind in slots(_only(catalogue.traits, plan.traits))}
        ),
    }
    if plan.purposes:
        tables[CONSENTS] = {"person": "UUID", PURPOSE: "VARCHAR", GRANTED: "BOOLEAN"}
    for event, properties in plan.events.items():
        if event in catalogue.events:
            found = slots(_only(catalogue.events[event], properties))
            columns = {property_column(name, kind): kind for name, kind in found}
            tables[event_table(event)] = {**_columns(columns), OCCURRED_AT: "TIMESTAMP"}
    return tables


def _columns(columns: Mapping[str, ColumnType]) -> Mapping[str, str]:
    return {"person": "UUID", **{name: DUCKDB_TYPES[kind] for name, kind in columns.items()}}


def _only(columns: Mapping[str, frozenset[ColumnType]], names: frozenset[str]) -> Mapping[str, frozenset[ColumnType]]:
    return {name: kinds for name, kinds in columns.items() if name in names}
