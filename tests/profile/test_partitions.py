"""Which partitions the facts need."""

from datetime import UTC, date, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from sima_profile.message_identity import fact_id
from sima_profile.partitions import ARCHIVE, Partition, missing_partitions

TODAY = date(2026, 11, 22)


def names(partitions: list[Partition]) -> list[str]:
    """Their names."""
    return [partition.name for partition in partitions]


def test_the_first_start_makes_the_archive_and_every_month_from_the_floor_on() -> None:
    """Two months back and one ahead are four months."""
    made = missing_partitions(set(), TODAY, 2, 1)
    assert names(made) == [ARCHIVE, "facts_2026_09", "facts_2026_10", "facts_2026_11", "facts_2026_12"]


def test_later_starts_keep_the_floor_and_fill_every_gap() -> None:
    """A service that slept for months makes all that it missed, and leaves the archive where it ends."""
    existing = {ARCHIVE, "facts_2026_08", "facts_2026_09"}
    assert names(missing_partitions(existing, TODAY, 2, 1)) == ["facts_2026_10", "facts_2026_11", "facts_2026_12"]


def test_a_year_ends_in_december() -> None:
    """Months run on into the next year."""
    assert names(missing_partitions({ARCHIVE, "facts_2026_12"}, date(2026, 12, 31), 24, 2)) == [
        "facts_2027_01",
        "facts_2027_02",
    ]


def test_there_is_no_hole_between_partitions() -> None:
    """Each begins where the one before ends, and the first has no beginning."""
    made = missing_partitions(set(), TODAY, 30, 3)
    assert made[0].lower is None
    assert [partition.upper for partition in made[:-1]] == [partition.lower for partition in made[1:]]


@given(st.datetimes(datetime(1950, 1, 1), datetime(2027, 1, 31), timezones=st.just(UTC)))
def test_every_fact_falls_into_the_partition_of_its_month(instant: datetime) -> None:
    """The time at the front of its id leads it there."""
    made = missing_partitions(set(), TODAY, 24, 2)
    fact = UUID(bytes=fact_id(b"\xff" * 16, int(instant.timestamp() * 1_000_000)))
    [home] = [part.name for part in made if (part.lower is None or part.lower <= fact) and fact < part.upper]
    assert home == (f"facts_{instant:%Y_%m}" if instant.year * 12 + instant.month >= 2024 * 12 + 11 else ARCHIVE)
