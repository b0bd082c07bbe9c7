"""The scores over real purchases: a CD shop's customers of 1997 and 1998."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from sima_plugin_rfm import register_segment_functions
from sima_sdk.plugins import plugin_manager, segment_functions
from sima_segment.rules import Catalogue, ColumnType, compile_rule, parse
from sima_segment.rules.schema import event_table, property_column

AT = datetime(1998, 1, 1, tzinfo=UTC)
AMOUNT = property_column("amount", ColumnType.NUMBER)
FUNCTIONS = {function.name: function for function in register_segment_functions()}
CATALOGUE = Catalogue({"bought": {"amount": frozenset({ColumnType.NUMBER})}}, {})


@pytest.fixture(scope="module")
def purchases(shared_data: Path) -> list[tuple[str, datetime, float]]:
    """Who bought when, for how much."""
    with (shared_data / "pos" / "cdnow_sample.csv").open(newline="") as file:
        return [
            (row["master_customer_id"], datetime.strptime(f"{row['date']}Z", "%Y%m%d%z"), float(row["amount_usd"]))
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def shop(purchases: list[tuple[str, datetime, float]]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The purchases as a projection."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE people (person VARCHAR)")
    connection.execute("CREATE TABLE traits (person VARCHAR)")
    connection.execute(
        f'CREATE TABLE "{event_table("bought")}" (person VARCHAR, occurred_at TIMESTAMP, "{AMOUNT}" DOUBLE)'
    )
    rows = [[person, at.replace(tzinfo=None), amount] for person, at, amount in purchases]
    connection.executemany(f'INSERT INTO "{event_table("bought")}" VALUES (?, ?, ?)', rows)
    connection.executemany("INSERT INTO people VALUES (?)", [[person] for person in {row[0] for row in rows}])
    yield connection
    connection.close()


def members(shop: duckdb.DuckDBPyConnection, rule: str) -> set[str]:
    """Return for whom a rule holds."""
    compiled = compile_rule(parse(rule, FUNCTIONS), CATALOGUE)
    return {row[0] for row in shop.execute(compiled.sql, compiled.parameters(AT)).fetchall()}


def expected_scores(purchases: list[tuple[str, datetime, float]]) -> dict[str, int]:
    """Work the scores out in a plain way: horizon 180 days, best are 5 purchases and 200 dollars."""
    bought: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for person, at, amount in purchases:
        bought[person] += [(at, amount)] if AT - timedelta(days=180) < at <= AT else []
    scores = {}
    for person, recent in bought.items():
        age = min((AT - at for at, _ in recent), default=None)
        total = round(sum(amount for _, amount in recent), 6)
        days = [180 // part for part in (12, 6, 4, 2, 1)]
        lately = 0 if age is None else next(5 - i for i, each in enumerate(days) if age < timedelta(days=each))
        often = next((score for score, least in ((5, 5), (4, 3), (3, 2), (2, 1)) if len(recent) >= least), 0)
        much = next((score for score, least in ((5, 200), (4, 100), (3, 50), (2, 20)) if total >= least), 0)
        scores[person] = lately + often + (much or int(total > 0))
    return scores


def test_the_scores_of_real_customers_are_those_of_a_plain_computation(
    shop: duckdb.DuckDBPyConnection, purchases: list[tuple[str, datetime, float]]
) -> None:
    """For each possible score, exactly the customers have it who should."""
    scores = expected_scores(purchases)
    assert len(set(scores.values())) > 8
    for score in range(17):
        found = members(shop, f'rfm.score("bought", "amount", "180d", 5, 200) == {score}')
        assert found == {person for person, each in scores.items() if each == score}


def test_the_score_is_the_sum_of_its_parts(shop: duckdb.DuckDBPyConnection) -> None:
    """Nobody's score differs from recency, frequency and spending added up."""
    parts = (
        'rfm.recency("bought") + rfm.frequency("bought") + rfm.monetary("bought", "amount") '
        '!= rfm.score("bought", "amount")'
    )
    assert members(shop, parts) == set()


def test_who_bought_nothing_in_the_horizon_scores_nothing(shop: duckdb.DuckDBPyConnection) -> None:
    """A score of zero and no purchase are the same people, and everybody else has at least three points."""
    nobody = members(shop, '!events("bought").within("90d").exists()')
    assert nobody
    assert members(shop, 'rfm.score("bought", "amount", "90d") == 0') == nobody
    assert members(shop, 'rfm.score("bought", "amount", "90d") in [1, 2]') == members(
        shop, 'events("bought").within("90d").exists() && events("bought").within("90d").sum("amount") <= 0'
    )


def test_the_plugin_is_found_by_its_entry_point() -> None:
    """Installed beside Sima, it brings its four functions."""
    found = segment_functions(plugin_manager(["rfm"]))
    assert sorted(found) == ["rfm.frequency", "rfm.monetary", "rfm.recency", "rfm.score"]
