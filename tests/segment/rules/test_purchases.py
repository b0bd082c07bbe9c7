"""Rules over real purchases (a CD shop, 1997 and 1998) agree with sums made straight from the file."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sima_segment.rules import Catalogue, ColumnType, compile_rule, parse
from sima_segment.rules.schema import event_table, property_column

FILE = Path(__file__).parents[4] / "shared" / "data" / "pos" / "cdnow_sample.csv"
PROPERTIES = ("cd_count", "amount_usd")
CATALOGUE = Catalogue({"bought": {name: frozenset({ColumnType.NUMBER}) for name in PROPERTIES}}, {})
INSTANTS = [datetime(1997, 4, 1, tzinfo=UTC), datetime(1997, 10, 1, 12, tzinfo=UTC), datetime(1998, 7, 1, tzinfo=UTC)]

Purchase = tuple[datetime, float, float]


@pytest.fixture(scope="module")
def purchases() -> dict[str, list[Purchase]]:
    """Each customer's purchases: when, how many discs, how many dollars."""
    if not FILE.exists():
        pytest.skip(f"{FILE.name} lies in a folder beside the checkout, which is not there")
    found: dict[str, list[Purchase]] = defaultdict(list)
    with FILE.open(newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.strptime(f"{row['date']}Z", "%Y%m%d%z")
            found[row["master_customer_id"]].append((at, float(row["cd_count"]), float(row["amount_usd"])))
    return found


@pytest.fixture(scope="module")
def shop(purchases: dict[str, list[Purchase]]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The purchases as a projection."""
    columns = ", ".join(f'"{property_column(name, ColumnType.NUMBER)}" DOUBLE' for name in PROPERTIES)
    table = event_table("bought")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE people (person VARCHAR)")
        connection.execute(f'CREATE TABLE "{table}" (person VARCHAR, occurred_at TIMESTAMP, {columns})')
        connection.executemany("INSERT INTO people VALUES (?)", [[person] for person in purchases])
        rows = [[person, at.replace(tzinfo=None), *rest] for person, all_ in purchases.items() for at, *rest in all_]
        connection.executemany(f'INSERT INTO "{table}" VALUES (?, ?, ?, ?)', rows)
        yield connection


def dollars(purchases: list[Purchase]) -> float:
    """Return what was spent, in whole cents."""
    return round(sum(round(amount * 100) for _, _, amount in purchases)) / 100


RULES: dict[str, tuple[int, Callable[[list[Purchase]], bool]]] = {
    # rule: days looked back (0: all), what must hold for the purchases in that time
    'events("bought").exists()': (0, bool),
    '!events("bought").within("90d").exists()': (90, lambda found: not found),
    'events("bought").count() >= 3': (0, lambda found: len(found) >= 3),
    'events("bought").within("30d").count() == 1': (30, lambda found: len(found) == 1),
    'events("bought").within("180d").count() < 2': (180, lambda found: len(found) < 2),
    'events("bought").sum("amount_usd") > 100': (0, lambda found: dollars(found) > 100),
    'events("bought").sum("amount_usd") == 29.33': (0, lambda found: dollars(found) == 29.33),
    'events("bought").within("26w").sum("amount_usd") >= 59.06': (182, lambda found: dollars(found) >= 59.06),
    'events("bought").within("365d").sum("cd_count") >= 10': (365, lambda found: sum(n for _, n, _ in found) >= 10),
    'events("bought").max("amount_usd") > 200': (0, lambda found: any(usd > 200 for *_, usd in found)),
    'events("bought").min("cd_count") >= 3': (0, lambda found: bool(found) and all(n >= 3 for _, n, _ in found)),
    'events("bought").avg("amount_usd") < 12': (0, lambda found: bool(found) and dollars(found) / len(found) < 12),
    'events("bought").within("60d").filter(e, e.amount_usd > 50 && e.cd_count <= 4).count() >= 2': (
        60,
        lambda found: sum(usd > 50 and n <= 4 for _, n, usd in found) >= 2,
    ),
}


@pytest.mark.parametrize("at", INSTANTS, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_rules_agree_with_the_file(
    shop: duckdb.DuckDBPyConnection, purchases: dict[str, list[Purchase]], rule: str, at: datetime
) -> None:
    """Counts, sums and windows find exactly the customers whom the file itself shows."""
    days, holds = RULES[rule]
    since = at - timedelta(days=days) if days else datetime.min.replace(tzinfo=UTC)
    expected = {person for person, all_ in purchases.items() if holds([each for each in all_ if since < each[0] <= at])}
    compiled = compile_rule(parse(rule), CATALOGUE)
    rows: list[Any] = shop.execute(compiled.sql, compiled.parameters(at)).fetchall()
    assert len(rows) == len({row[0] for row in rows})
    assert {row[0] for row in rows} == expected


def test_the_file_is_the_known_one(purchases: dict[str, list[Purchase]]) -> None:
    """2,357 customers, 6,919 purchases."""
    assert len(purchases) == 2357
    assert sum(map(len, purchases.values())) == 6919
