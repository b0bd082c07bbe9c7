"""Durations and instants as rules write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

LONGEST_DURATION: Final = timedelta(days=36_525)

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(?:[0-9]{1,1000}[smhdw])+", re.ASCII)
_PART = re.compile(r"([0-9]+)([smhdw])", re.ASCII)


def duration(text: str) -> timedelta:
    """Return the duration that a text such as `90d` or `1d12h` stands for.

    Raises:
        ValueError: It is no duration, or not between one second and a hundred years.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError("a duration is written with s, m, h, d or w")
    try:
        length = sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in _PART.findall(text)), timedelta())
    except OverflowError as error:
        raise ValueError("a duration is at most a hundred years") from error
    if not timedelta() < length <= LONGEST_DURATION:
        raise ValueError("a duration is at least a second and at most a hundred years")
    return length


def instant(text: str) -> datetime:
    """Return the instant that a text in ISO 8601 stands for; a date alone is its midnight in UTC.

    Raises:
        ValueError: It is no instant, or states no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("an instant is written like 2026-01-31T00:00:00Z") from error
    if moment.tzinfo is None and len(text) > len("2026-01-31"):
        raise ValueError("an instant states its time zone, like Z or +03:00")
    return _in_utc(moment)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("an instant lies between the years 1 and 9999") from error
