"""What the SQL reads: no more than the rule asks for, and nothing outside the schema it is run in."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sima_segment.rules import Catalogue, ColumnType, compile_rule, parse

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CATALOGUE = Catalogue(
    {"x": {"p": frozenset({ColumnType.NUMBER})}, "y": {}},
    {"a": frozenset({ColumnType.NUMBER}), "b": frozenset({ColumnType.TEXT})},
)


def sql(rule: str) -> str:
    """Return the SQL of a rule."""
    return compile_rule(parse(rule), CATALOGUE).sql


@pytest.mark.parametrize(
    "rule",
    [
        "traits.a > 3",
        '!traits.b.endsWith("x")',
        "traits.a in [1, 2] || traits.a == 5",
        'events("x").count() >= 3',
        'events("x").exists() && !events("y").exists()',
        'events("x").sum("p") > 10 || traits.a > 3',
        'events("x").sum("p") > traits.a',
        'segment("s") && consent("c")',
        '(segment("s") ? traits.a : 0) > 3 && !consent("c")',
    ],
)
def test_everybody_is_read_only_for_rules_about_people_without_facts(rule: str) -> None:
    """A rule that cannot hold for somebody of whom nothing is known does not go through all people."""
    assert '"people"' not in sql(rule)


@pytest.mark.parametrize("rule", ['!events("x").exists()', 'events("x").count() < 3', "!has(traits.a)", "true"])
def test_rules_about_absence_start_from_everybody(rule: str) -> None:
    """A rule that holds for people of whom nothing is known finds them."""
    assert '"people"' in sql(rule)


@pytest.mark.parametrize(
    ("rule", "scans"),
    [
        ('events("x").count() >= 3 && events("x").sum("p") > 10 && events("x").exists()', 1),
        ('events("x").within("1d").exists() || events("x").within("2d").filter(e, e.p > 1).exists()', 1),
        ('!events("x").within("1d").exists() && !events("x").filter(e, e.p > 1).exists()', 1),
        ('events("x").within("9d").count() > 3 || events("x").within("30d").sum("p") > 9', 1),
        ('(events("x").within("9d").exists() ? 2 : events("x").within("30d").exists() ? 1 : 0) > 1', 1),
        ('events("x").within("1d").exists() && events("x").within("90d").count() > 9', 2),
    ],
)
def test_events_are_read_once_where_that_is_cheaper(rule: str, scans: int) -> None:
    """Questions about the same events are answered together."""
    assert sql(rule).count('"event__x"') == scans


def test_one_sql_runs_over_any_tables_of_the_same_names(project: Callable[..., Any]) -> None:
    """The same text answers for everybody, and in another schema for the people whose rows were put there."""
    people = {
        name: {
            "events": [("x", NOW, {"p": amount})],
            "traits": {"a": amount},
            "segments": ["s"],
            "consents": {"c": True},
        }
        for name, amount in (("ada", 5), ("bob", 6), ("cleo", 1))
    }
    projection = project(people)
    connection = projection.connection
    tables = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    connection.execute("CREATE SCHEMA affected")
    for table in tables:
        connection.execute(f'CREATE TABLE affected."{table}" AS FROM main."{table}" WHERE person = \'bob\'')
    for rule in (
        'events("x").count() >= 1 && traits.a > 3',
        'events("x").sum("p") > 3 && segment("s") && consent("c")',
        '!events("x").filter(e, e.p < 3).exists()',
        'traits.a + events("x").count() > 3',
    ):
        connection.execute("SET search_path = 'main'")
        assert projection.members(rule, NOW) == {"ada", "bob"}
        connection.execute("SET search_path = 'affected'")
        assert projection.members(rule, NOW) == {"bob"}
