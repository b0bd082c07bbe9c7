"""Runs compiled rules over whatever tables a connection has, and finds what differs from the memberships stored."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

import pyarrow as pa

from sima_segment.projection.rows import Connection, registered
from sima_segment.projection.shapes import literal
from sima_segment.projection.tables import naive
from sima_segment.rules import Catalogue, Rule, compile_rule
from sima_segment.rules.schema import MEMBERS, event_table

_DIFFERENCES = f"""
SELECT segment, person, true AS entered FROM (FROM {MEMBERS} {{where}}) ANTI JOIN stored USING (segment, person)
UNION ALL
SELECT segment, person, false FROM stored ANTI JOIN {MEMBERS} USING (segment, person)
"""


def evaluate(connection: Connection, rules: Mapping[str, Rule], catalogue: Catalogue, instant: datetime) -> None:
    """Add the members of segments that do not refer to each other to the table of members.

    Rules are run in one statement, because for a few rows planning many statements costs more than running them.
    """
    if not rules:
        return
    compiled = {segment: compile_rule(rule, catalogue) for segment, rule in rules.items()}
    queries = (f"SELECT {literal(segment)} AS segment, person FROM ({each.sql})" for segment, each in compiled.items())
    parameters: dict[str, datetime] = {}
    for each in compiled.values():
        parameters |= each.parameters(instant)
    # Never straight into the table: rules read it too, and DuckDB 2.0 doubles rows of a union that is inserted into
    # what it reads.
    connection.execute(f"CREATE OR REPLACE TEMP TABLE found AS {' UNION ALL '.join(queries)}", parameters)
    connection.execute(f"INSERT INTO {MEMBERS} FROM found")
    connection.execute("DROP TABLE found")


def forget(connection: Connection, segment: str | None = None) -> None:
    """Remove the members of one segment, or of all, from the table of members."""
    if segment is None:
        connection.execute(f"TRUNCATE {MEMBERS}")
    else:
        connection.execute(f"DELETE FROM {MEMBERS} WHERE segment = ?", [segment])


def differences(connection: Connection, stored: pa.Table, segments: Iterable[str] | None = None) -> pa.Table:
    """Compare the table of members with the memberships stored.

    Args:
        connection: Where the members are.
        stored: The memberships that there were, in the form of MEMBERSHIPS.
        segments: Which segments to compare. None: all in the table.

    Returns:
        Segment, person, and whether the person entered (true) or left (false).
    """
    where = "" if segments is None else f"WHERE segment IN ({', '.join(map(literal, segments))})"
    with registered(connection, stored=stored):
        return connection.sql(_DIFFERENCES.format(where=where)).to_arrow_table()


def crossed(
    connection: Connection,
    flips: Collection[tuple[str, timedelta]],
    since: datetime,
    instant: datetime,
) -> None:
    """Add to the affected those about whom a rule may change its mind by time alone.

    Args:
        connection: The projection.
        flips: Event names that have a table, each with a duration: at an event's time plus this something may flip.
        since: The instant of the last evaluation.
        instant: The instant of this one; both ends count, so it does not matter on which side a rule's window is open.
    """
    queries = (
        f"""SELECT person FROM "{event_table(event)}"
            WHERE occurred_at BETWEEN '{naive(since) - duration}' AND '{naive(instant) - duration}'"""
        for event, duration in sorted(flips)
    )
    if flips:
        connection.execute(f"INSERT INTO affected {' UNION ALL '.join(queries)}")
