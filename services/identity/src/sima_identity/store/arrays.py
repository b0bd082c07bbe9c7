"""Arrays and instants written as text: PostgreSQL reads a long array so for a fraction of what adapting items costs."""

from collections.abc import Iterable

NOBODY = bytes(16)  #: stands for null in arrays of keys; ...
OR_NULL = f"'{NOBODY.hex()}'::uuid"  #: ... `nullif` with it gives null again


def numbers(values: Iterable[int]) -> str:
    """Return an array of numbers, to be cast to `bigint[]` or `integer[]`."""
    return f"{{{','.join(map(str, values))}}}"


def flags(values: Iterable[bool]) -> str:
    """Return an array of booleans, to be cast to `boolean[]`."""
    return f"{{{','.join(['t' if value else 'f' for value in values])}}}"


def choices(values: Iterable[str | None]) -> tuple[list[str | None], str]:
    """Return the different texts among many equal ones, and where in that array, from 1 on, each value stands."""
    places: dict[str | None, int] = {}
    chosen = [places.setdefault(value, len(places) + 1) for value in values]
    return list(places), numbers(chosen)


def instant(expression: str) -> str:
    """Return SQL that turns microseconds since 1970 into an instant, exactly."""
    return f"(timestamptz 'epoch' + {expression} * interval '1 microsecond')"


def microseconds(expression: str) -> str:
    """Return SQL that turns an instant into microseconds since 1970, exactly."""
    return f"(extract(epoch FROM {expression}) * 1000000)::bigint"
