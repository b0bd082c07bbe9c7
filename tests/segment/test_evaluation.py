"""Rules find everybody once, together or alone."""

import uuid
from datetime import UTC, datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_segment.plan import Plan
from sima_segment.projection.evaluation import Together, evaluate
from sima_segment.rules import Catalogue, parse
from sima_segment.rules.schema import MEMBERS, PEOPLE, event_table

NOTHING = Catalogue({}, {})
FRACTIONS = st.floats(1e-100, 1e100)
PERSONS = sorted(uuid.uuid4() for _ in range(3))


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """A database in which everybody is affected."""
    found = duckdb.connect()
    found.execute(f"CREATE TABLE {MEMBERS} (segment VARCHAR, person UUID); CREATE TABLE {PEOPLE} (person UUID)")
    found.executemany(f"INSERT INTO {PEOPLE} VALUES (?)", [[person] for person in PERSONS])
    found.execute(f"CREATE TABLE affected AS FROM {PEOPLE}")
    return found


def holds(rule: str) -> bool:
    """Whether a rule about nobody in particular holds for somebody."""
    found = duckdb.connect()
    found.execute(f"CREATE TABLE {MEMBERS} (segment VARCHAR, person UUID)")
    found.execute(f"CREATE TABLE {PEOPLE} AS SELECT uuid() AS person")
    evaluate(found, "one", parse(rule, {}), NOTHING, datetime.now(UTC))
    return bool(found.execute(f"FROM {MEMBERS}").fetchall())


def test_who_is_in_one_of_two_segments_is_found_once(connection: duckdb.DuckDBPyConnection) -> None:
    """A rule that reads the table of members does not see what it writes there."""
    connection.execute(f"INSERT INTO {MEMBERS} SELECT unnest(['vip', 'new']), person FROM {PEOPLE}")
    evaluate(connection, "one", parse('segment("vip") || segment("new")', {}), NOTHING, datetime.now(UTC))
    found = connection.execute(f"FROM {MEMBERS} WHERE segment = 'one' ORDER BY ALL").fetchall()
    assert found == [("one", person) for person in PERSONS]


@given(left=FRACTIONS, right=FRACTIONS, sign=st.sampled_from("+-*/"))
def test_numbers_of_a_rule_are_doubles(left: float, right: float, sign: str) -> None:
    """What is worked out of numbers that are written out is what everybody else's doubles give, and never fails."""
    result = {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[sign]
    rule = f"{left!r} {sign} {right!r} == {abs(result)!r}"
    assert holds(rule if result >= 0 else rule.replace("== ", "== -"))


@pytest.mark.parametrize("most", ["99999999999999.9", "1.2345678901234567"])
def test_no_number_is_too_exact(most: str) -> None:
    """A rule with many digits is worked out like any other: what fails would stop all segments of its workspace."""
    assert holds(f"{most} * {most} * {most} > {most}")


def test_names_that_differ_in_case_alone_are_different_segments(connection: duckdb.DuckDBPyConnection) -> None:
    """Also where segments are columns, which DuckDB does not tell apart so."""
    rules = {"vip": "true", "VIP": 'segment("vip") && false', "Vip's": '!segment("VIP")'}
    plan = Plan({name: parse(text, {}) for name, text in rules.items()})
    Together().evaluate(connection, plan, NOTHING, datetime.now(UTC))
    found = connection.execute(f"FROM {MEMBERS} ORDER BY ALL").fetchall()
    assert found == [(segment, person) for segment in ("Vip's", "vip") for person in PERSONS]


def test_rules_may_ask_for_very_many_events(connection: duckdb.DuckDBPyConnection) -> None:
    """More than can be joined in one row: who is found does not depend on how they are gathered."""
    names = [f"event {number}" for number in range(250)]
    for number, name in enumerate(names):
        connection.execute(f'CREATE TABLE "{event_table(name)}" (person UUID, occurred_at TIMESTAMP)')
        if number % 7 == 0:
            row = [PERSONS[number % 3], datetime(2026, 1, 1)]
            connection.execute(f'INSERT INTO "{event_table(name)}" VALUES (?, ?)', row)
    plan = Plan({f"s{number}": parse(f'events("{name}").exists()', {}) for number, name in enumerate(names)})
    Together().evaluate(connection, plan, Catalogue({name: {} for name in names}, {}), datetime.now(UTC))
    found = connection.execute(f"FROM {MEMBERS}").fetchall()
    assert sorted(found) == sorted((f"s{number}", PERSONS[number % 3]) for number in range(0, 250, 7))


class Explaining:
    """A connection that keeps the plan of every statement that writes members."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.plans: list[str] = []
        self._connection = connection

    def execute(self, query: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        """Run a statement."""
        if query.startswith("EXECUTE"):
            self.plans += [plan for _, plan in self._connection.execute(f"EXPLAIN {query}", parameters).fetchall()]
        return self._connection.execute(query, parameters)


def test_few_among_very_many_are_not_joined_the_other_way_round() -> None:
    """DuckDB 2.0.0 fails at times where it makes a right join of a left one, so it may not."""
    connection = duckdb.connect()
    connection.execute(f"""
        CREATE TABLE {event_table("seen")} AS
        SELECT md5(i::VARCHAR)::UUID AS person, now()::TIMESTAMP AS occurred_at FROM range(50_000) AS t(i);
        CREATE TABLE {PEOPLE} AS SELECT person FROM {event_table("seen")} LIMIT 100;
        CREATE TABLE {MEMBERS} (segment VARCHAR, person UUID);
        CREATE TABLE affected AS FROM {PEOPLE} LIMIT 3""")
    catalogue, rule = Catalogue({"seen": {}}, {}), parse('events("seen").exists()', {})
    explaining = Explaining(connection)
    Together().evaluate(explaining, Plan({"seen": rule}), catalogue, datetime.now(UTC))  # type: ignore[arg-type]
    [plan] = explaining.plans
    assert "LEFT" in plan
    assert "RIGHT" not in plan
    assert connection.execute(f"SELECT count(*) FROM {MEMBERS}").fetchall() == [(3,)]
