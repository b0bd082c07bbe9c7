"""Which partitions the facts need: one per month from a floor on, and one archive for all that is older. Pure.

Facts are partitioned by ranges of their ids, which begin with the time of the fact; so their ids stay unique without
naming the time, and a month can still be dropped or moved as a whole.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID

from sima_profile.message_identity import HASH_BYTES, time_prefix

#: Name of the partition of all that is older than the floor.
ARCHIVE = "facts_archive"


class Partition(NamedTuple):
    """A partition of the facts; bounds are ids, the lower one within, the upper one not.

    Attributes:
        name: Name of the table.
        lower: None: there is nothing before it.
        upper: First id that belongs elsewhere.
    """

    name: str
    lower: UUID | None
    upper: UUID


def missing_partitions(existing: set[str], today: date, months_back: int, months_ahead: int) -> list[Partition]:
    """Return the partitions to be made, the oldest first.

    Args:
        existing: Names of the partitions that there are.
        today: The date.
        months_back: How many months before this one the floor is if there are no partitions yet. Later it stays.
        months_ahead: How many months after this one are needed.
    """
    months = [name for name in existing if name != ARCHIVE]
    floor = _month_of(min(months)) if months else _plus(today, -months_back)
    archive = Partition(ARCHIVE, None, _bound(floor))
    wanted = [archive, *_monthly(floor, _plus(today, months_ahead))]
    return [partition for partition in wanted if partition.name not in existing]


def _monthly(first: date, last: date) -> Iterator[Partition]:
    month = first
    while month <= last:
        following = _plus(month, 1)
        yield Partition(f"facts_{month:%Y_%m}", _bound(month), _bound(following))
        month = following


def _month_of(name: str) -> date:
    return datetime.strptime(f"{name} +0000", "facts_%Y_%m %z").date()


def _plus(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _bound(month: date) -> UUID:
    at = int(datetime(month.year, month.month, 1, tzinfo=UTC).timestamp()) * 1_000_000
    return UUID(bytes=time_prefix(at).ljust(HASH_BYTES, b"\0"))
