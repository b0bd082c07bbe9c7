"""Runs compiled rules over whatever tables a connection has, and finds what differs from the memberships stored."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

import pyarrow as pa

from sima_segment.plan import Plan
from sima_segment.projection.rows import Connection, as_written, keep, registered
from sima_segment.projection.tables import naive
from sima_segment.rules import Catalogue, CompiledRule, Rule, compile_rule, compile_together
from sima_segment.rules.dialect import literal
from sima_segment.rules.schema import MEMBERS, event_table

_DIFFERENCES = f"""
SELECT segment, person, true AS entered FROM (FROM {MEMBERS} {{where}}) ANTI JOIN stored USING (segment, person)
UNION ALL
SELECT segment, person, false FROM stored ANTI JOIN {MEMBERS} USING (segment, person)
"""


def find(connection: Connection, rule: Rule, catalogue: Catalogue, instant: datetime) -> int:
    """Leave the people for whom a rule holds in table `found`, and return how many they are."""
    compiled = compile_rule(rule, catalogue)
    return keep(connection, "found", compiled.sql, compiled.parameters(instant))


def evaluate(connection: Connection, segment: str, rule: Rule, catalogue: Catalogue, instant: datetime) -> None:
    """Add the members of a segment to the table of members.

    Never straight into the table: rules read it too, and DuckDB 2.0 doubles rows of a union that is inserted into what
    it reads.
    """
    find(connection, rule, catalogue, instant)
    connection.execute(f"INSERT INTO {MEMBERS} SELECT ?, person FROM found", [segment])
    connection.execute("DROP TABLE found")


class Together:
    """Evaluates all rules for the people in table `affected`.

    The statement is prepared: for so many rules, reading it takes a good part of its time. DuckDB plans it anew by
    itself when tables have changed.
    """

    def __init__(self) -> None:
        self._prepared: tuple[Plan, Catalogue, CompiledRule] | None = None

    def evaluate(self, connection: Connection, plan: Plan, catalogue: Catalogue, instant: datetime) -> None:
        """Make them the members in the table of members."""
        forget(connection)
        if plan.rules:
            with as_written(connection):
                compiled = self._prepare(connection, plan, catalogue)
                bound = (f"{name} := TIMESTAMP '{value}'" for name, value in compiled.parameters(instant).items())
                connection.execute(f"EXECUTE together({', '.join(bound)})")

    def _prepare(self, connection: Connection, plan: Plan, catalogue: Catalogue) -> CompiledRule:
        if self._prepared is None or self._prepared[0] is not plan or self._prepared[1] is not catalogue:
            compiled = compile_together(plan.rules, plan.levels, catalogue, "affected")
            connection.execute(f"PREPARE together AS INSERT INTO {MEMBERS} {compiled.sql}")
            self._prepared = plan, catalogue, compiled
        return self._prepared[2]


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


def find_affected(
    connection: Connection, flips: Collection[tuple[str, timedelta]], since: datetime, instant: datetime
) -> pa.Array:
    """Leave those about whom a rule may have changed its mind in table `affected`, and return them.

    That is who was touched, and who may enter or leave by time alone.

    Args:
        connection: The projection.
        flips: Event names that have a table, each with a duration: at an event's time plus this something may flip.
        since: The instant of the last evaluation.
        instant: The instant of this one; both ends count, so it does not matter on which side a rule's window is open.
    """
    crossed = (
        f"""UNION ALL SELECT person FROM "{event_table(event)}"
            WHERE occurred_at BETWEEN '{naive(since) - duration}' AND '{naive(instant) - duration}'"""
        for event, duration in sorted(flips)
    )
    keep(
        connection, "affected", f"SELECT DISTINCT person FROM (FROM touched {' '.join(crossed)}) WHERE person NOT NULL"
    )
    return connection.sql("FROM affected").to_arrow_table().column("person").combine_chunks()
