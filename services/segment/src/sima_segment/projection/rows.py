"""Small steps that all parts of the projection share."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice

import duckdb
import pyarrow as pa

from sima_segment.projection.tables import REFOLD

Connection = duckdb.DuckDBPyConnection

# What DuckDB takes to plan one statement over many tables grows much faster than their number.
_TABLES_AT_ONCE = 40
_REARRANGING = "build_side_probe_side,join_order,common_subexpressions,projection_placement,projection_pullup"


@contextmanager
def registered(connection: Connection, **tables: pa.Table) -> Iterator[None]:
    """Let statements read Arrow tables under names."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            with suppress(duckdb.Error):  # nothing can be done any more in a transaction that something aborted
                connection.unregister(name)


@contextmanager
def as_written(connection: Connection) -> Iterator[None]:
    """Have statements carried out much as they are written.

    Of a left join with few rows on the left and very many on the right DuckDB makes a right join, and version 2.0.0 at
    times fails in those with an internal error ("global dictionary column changed identity"), which ends the database.
    And for a few people to look for a better order of joins and columns costs more than it saves.
    """
    with without(connection, _REARRANGING):
        yield


@contextmanager
def without(connection: Connection, optimizers: str) -> Iterator[None]:
    """Have statements planned without some of DuckDB's optimizers."""
    connection.execute(f"SET disabled_optimizers = '{optimizers}'")
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # as above
            connection.execute("RESET disabled_optimizers")


@contextmanager
def rolled_back(connection: Connection) -> Iterator[None]:
    """Let statements see one state, and leave nothing behind, whatever becomes of them."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    """End a transaction. What interrupts its statements may hit this one, too, before or behind its effect."""
    with suppress(duckdb.TransactionException):
        while True:
            with suppress(duckdb.InterruptException):
                connection.execute("ROLLBACK")
                return


def portions(tables: Iterable[str]) -> Iterator[list[str]]:
    """Yield tables a few at a time, for statements that look into all of them."""
    rest = iter(tables)
    while portion := list(islice(rest, _TABLES_AT_ONCE)):
        yield portion


def keep(connection: Connection, name: str, query: str, parameters: Mapping[str, object] | None = None) -> int:
    """Keep the answer of a query for the statements that follow, and return how many rows it has."""
    [(rows,)] = connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}", parameters).fetchall()
    return int(rows)


def touch(connection: Connection, people: str, relation: str = "") -> None:
    """Note people whose rows changed, so that the segments look at them.

    Args:
        connection: The projection.
        people: A query for column `person`; it may answer nobody (NULL) and repeat itself.
        relation: The table in which their rows changed; what is folded from it is folded again.
    """
    for table in filter(None, ("touched", REFOLD.get(relation))):
        connection.execute(f"INSERT INTO {table} SELECT DISTINCT person FROM ({people}) WHERE person IS NOT NULL")


def remove(connection: Connection, relations: Iterable[str], ids: str) -> None:
    """Remove rows from fact tables, if they are there.

    DuckDB looks only at row groups within the range of the ids, and ids begin with the time: mostly that is the last.

    Args:
        connection: The projection.
        relations: The fact tables.
        ids: A table of the rows' ids.
    """
    for portion in portions(relations):
        found = (
            f"SELECT '{each}' AS relation, id, person FROM \"{each}\" SEMI JOIN {ids} USING (id)" for each in portion
        )
        if keep(connection, "gone", " UNION ALL ".join(found)):
            _remove_gone(connection)


def _remove_gone(connection: Connection) -> None:
    for (relation,) in connection.execute("SELECT DISTINCT relation FROM gone").fetchall():
        gone = f"FROM gone WHERE relation = '{relation}'"
        touch(connection, f"SELECT person {gone}", relation)
        connection.execute(f'DELETE FROM "{relation}" WHERE id IN (SELECT id {gone})')
