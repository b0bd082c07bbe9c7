"""Real files through their connectors: nothing is lost or counted twice, and rules agree with plain counting."""

import csv
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

Purchase = tuple[datetime, float]


@pytest.fixture(scope="module")
def purchases(stack: Stack, shared_data: Path) -> dict[str, list[Purchase]]:
    """The CD shop's purchases by customer, as the file says; they are imported too."""
    file = shared_data / "pos" / "cdnow_sample.csv"
    counts = stack.json("cdnow", "import", "cdnow", str(file))[0]
    assert (counts["accepted"], counts["duplicates"], counts["refused"]) == (6_919, 0, 0)
    found: dict[str, list[Purchase]] = defaultdict(list)
    with file.open() as lines:
        for row in csv.DictReader(lines):
            at = datetime.strptime(row["date"], "%Y%m%d").replace(tzinfo=UTC)
            found[row["master_customer_id"]].append((at, float(row["amount_usd"])))
    return found


def test_every_customer_and_every_purchase_of_the_cd_shop_is_there(
    stack: Stack, purchases: dict[str, list[Purchase]]
) -> None:
    """2,357 people and 6,919 purchases, two purchases on one day included."""
    assert len(purchases) == 2_357
    assert stack.size("cdnow", 'events("order_completed").exists()') == 2_357
    assert stack.facts("cdnow") == {"cdnow": {"events": 6_919}}


def test_importing_the_cd_shop_twice_changes_nothing(
    stack: Stack, purchases: dict[str, list[Purchase]], shared_data: Path
) -> None:
    """The second time everything is known."""
    counts = stack.json("cdnow", "import", "cdnow", str(shared_data / "pos" / "cdnow_sample.csv"))[0]
    assert (counts["accepted"], counts["duplicates"]) == (0, sum(map(len, purchases.values())))
    assert stack.facts("cdnow") == {"cdnow": {"events": 6_919}}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ('events("order_completed").count() >= 3', lambda bought: len(bought) >= 3),
        ('events("order_completed").count() == 1', lambda bought: len(bought) == 1),
        ('events("order_completed").sum("total") > 100.0', lambda bought: sum(paid for _, paid in bought) > 100.0),
        (
            'events("order_completed").filter(e, e.total >= 50.0).count() >= 2',
            lambda bought: sum(paid >= 50.0 for _, paid in bought) >= 2,
        ),
    ],
)
def test_rules_over_counts_and_sums_agree_with_the_file(
    stack: Stack,
    purchases: dict[str, list[Purchase]],
    rule: str,
    holds: Callable[[list[Purchase]], bool],
) -> None:
    """Whoever counts with a rule gets what counting the file gives."""
    assert stack.size("cdnow", rule) == sum(map(holds, purchases.values()))


@pytest.mark.parametrize("day", [datetime(1998, 6, 10, tzinfo=UTC), datetime(1997, 9, 30, tzinfo=UTC)])
def test_rules_over_windows_agree_with_the_file(
    stack: Stack, purchases: dict[str, list[Purchase]], day: datetime
) -> None:
    """Windows that begin about noon of a day hold the purchases of all later days."""
    noon = day + timedelta(hours=12)
    window = f'within("{round((datetime.now(UTC) - noon) / timedelta(hours=1))}h")'

    def within(bought: list[Purchase]) -> list[float]:
        return [paid for at, paid in bought if at > noon]

    recent = [within(bought) for bought in purchases.values()]
    events = f'events("order_completed").{window}'
    assert stack.size("cdnow", f"{events}.exists()") == sum(map(bool, recent))
    assert stack.size("cdnow", f"{events}.count() >= 2") == sum(len(paid) >= 2 for paid in recent)
    assert stack.size("cdnow", f'{events}.sum("total") > 40.0') == sum(sum(paid) > 40.0 for paid in recent)
    assert stack.size("cdnow", f"!{events}.exists()") == sum(not paid for paid in recent)


def test_contacts_of_hubspot_become_people_and_merged_ones_one(stack: Stack, shared_data: Path) -> None:
    """A contact that names others as merged into it is one person with them; importing again changes nothing."""
    file = shared_data / "crm" / "hubspot_contact.csv"
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    first = stack.json("hubspot", "import", "hubspot", str(file))[0]
    facts = stack.facts("hubspot")
    again = stack.json("hubspot", "import", "hubspot", str(file))[0]
    assert first["accepted"] == len(rows) == 22
    assert (again["accepted"], again["duplicates"]) == (0, 22)
    assert stack.facts("hubspot") == facts
    merged = [row["property_hs_merged_object_ids"].split(";") for row in rows if row["property_hs_merged_object_ids"]]
    profiles = {stack.json("hubspot", "profile", "get", f"user_id:hubspot:{row['id']}")["profile_id"] for row in rows}
    assert len(profiles) == len(rows) - sum(map(len, merged)) == 19
    survivor = stack.json("hubspot", "profile", "get", "user_id:hubspot:78971951")
    assert {f"user_id:hubspot:{number}" for number in merged[0]} <= set(survivor["identifiers"])
    assert survivor["traits"]["company"]["values"][0]["value"] == "SampleCompany"
