"""Instants are microseconds since 1970 in this service and `timestamptz` in the database."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGIN_OF_DATABASE_TIME = 946_684_800_000_000  # the year 2000


def to_database(microseconds: int) -> datetime:
    """Return an instant as a parameter of a query."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_copy(microseconds: int) -> int:
    """Return an instant as binary COPY writes a `timestamptz`: as `int8`, in microseconds since 2000."""
    return microseconds - _BEGIN_OF_DATABASE_TIME


def microseconds_of(column: str) -> str:
    """Return the SQL that reads a column as microseconds since 1970."""
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"
