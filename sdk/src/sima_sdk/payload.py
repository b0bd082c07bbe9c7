"""Reads what channels send without trusting it: JSON of any shape becomes checked fields or a PayloadError.

The errors name the field and what was expected there, and never repeat a value.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, NoReturn, TypeVar

from sima_sdk.errors import PayloadError
from sima_sdk.text import fold

#: Levels of nesting that a payload may have; real ones have about ten.
MAX_DEPTH = 64

_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d+)?")
_ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")  # of NUL, or of half a surrogate pair
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LARGEST_INTEGER = 2**63
_LARGEST_EXACT = 2**53  # up to here, every whole number is a float
_SURE_DIGITS = 18  # a whole number with so many characters fits 64 bits

T = TypeVar("T")


def parse_json(body: bytes) -> tuple[Any, bool]:
    """Return the JSON value of a body, and whether it is plain.

    `check_json` decides whether the value can be stored. Nearly every body is plain: it certainly holds no text and no
    number that cannot be, and only its nesting remains to be checked.

    Raises:
        PayloadError: It is not JSON in UTF-8, or far too deeply nested.
    """
    try:
        text = body.decode()
        try:
            return _QUICK.decode(text), not _ESCAPES.search(body)
        except _LargeNumberError:
            return _SLOW.decode(text), False
    except RecursionError:
        raise PayloadError(_too_deep("body")) from None
    except ValueError:  # wrong bytes, wrong syntax, a number of thousands of digits
        raise PayloadError("body: expected JSON in UTF-8") from None


def check_json(value: object, where: str = "body", *, plain: bool = False) -> None:
    """Check that a parsed value can be written as JSON again and stored, however hostile its author was.

    Args:
        value: What was parsed.
        where: Names the value in the error.
        plain: What `parse_json` said of the body that it is from.

    Raises:
        PayloadError: It is nested too deeply, or holds a number that is infinite or beyond 64 bits, or a text with a
            NUL character or half a surrogate pair.
    """
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        if not plain:
            _check_values(level, where)
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise PayloadError(_too_deep(where))


def _too_deep(where: str) -> str:
    return f"{where}: expected at most {MAX_DEPTH} levels of nesting"


def parse_object(body: bytes) -> "Fields":
    """Return the fields of a body that is one JSON object, all of it checked.

    Raises:
        PayloadError: It is not JSON in UTF-8, not an object, or holds what cannot be stored.
    """
    value, plain = parse_json(body)
    if not isinstance(value, dict):
        raise PayloadError("body: expected a JSON object")
    check_json(value, plain=plain)
    return Fields(value)


def is_storable(text: str) -> bool:
    """Whether a text has no NUL character and no half of a surrogate pair, which no database takes."""
    return not _UNSTORABLE.search(text)


class Fields:
    """The fields of a JSON object, each read as the type that the reader needs.

    Every method answers None (or nothing) where the field is absent, null or blank, and raises PayloadError where it
    holds something else than was asked for.
    """

    __slots__ = ("_path", "_values")

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values, self._path = values, path

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def where(self, name: str) -> str:
        """Return the field's path from the body on, as errors show it."""
        return f"{self._path}.{name}" if self._path else name

    def require(self, read: Callable[[str], T | None], name: str) -> T:
        """Read a field that must be there: `order.require(order.time, "created_at")`."""
        value = read(name)
        if value is None:
            raise PayloadError(f"{self.where(name)}: expected a value")
        return value

    def text(self, name: str) -> str | None:
        """Read a text."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise PayloadError(f"{self.where(name)}: expected a text")
        return value if value and not value.isspace() else None

    def reference(self, name: str) -> str | None:
        """Read an id, which channels write as text or as a whole number."""
        value = self._values.get(name)
        return str(value) if type(value) is int else self.text(name)

    def number(self, name: str) -> float | None:
        """Read a number, or a text that is a decimal number, as channels write money."""
        value = self._values.get(name)
        if type(value) is int:
            return exact(value, self.where(name))
        if type(value) is float:
            return value
        text = self.text(name)
        return None if text is None else parse_number(text, self.where(name))

    def flag(self, name: str) -> bool | None:
        """Read true or false."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise PayloadError(f"{self.where(name)}: expected true or false")
        return value

    def scalar(self, name: str) -> str | float | bool | None:
        """Read a text, a number, or true or false."""
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return self.text(name)
        if type(value) is int:
            return exact(value, self.where(name))
        if not isinstance(value, bool | float):
            raise PayloadError(f"{self.where(name)}: expected a text, a number, true or false")
        return value

    def time(self, name: str) -> datetime | None:
        """Read a time in ISO 8601 with its zone."""
        text = self.text(name)
        return None if text is None else parse_time(text, self.where(name))

    def unix_time(self, name: str, *, per_second: int = 1) -> datetime | None:
        """Read a time given as a count since 1970; `per_second` is 1000 for milliseconds."""
        value = self.number(name)
        return None if value is None else parse_unix_time(value / per_second, self.where(name))

    def object(self, name: str) -> "Fields":
        """Read an object; an absent one has no fields."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise PayloadError(f"{self.where(name)}: expected an object")
        return Fields(value or {}, self.where(name))

    def objects(self, name: str) -> "tuple[Fields, ...]":
        """Read a list of objects; an absent one is empty."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, list):
            raise PayloadError(f"{self.where(name)}: expected a list")
        return fields_of(value or (), self.where(name))

    def names(self) -> list[str]:
        """Return the names of the fields that are there, for objects whose fields the channel names."""
        if not all(name.strip() for name in self._values):
            raise PayloadError(f"{self._path or 'body'}: expected names that are not blank")
        return [name for name in self._values if name in self]

    def json(self) -> Mapping[str, Any]:
        """Return the object itself, for the parts that are passed on as they are."""
        return self._values


def fields_of(values: Iterable[Any], path: str) -> tuple[Fields, ...]:
    """Return the fields of each of some objects.

    Raises:
        PayloadError: One of them is no object.
    """
    found = []
    for at, value in enumerate(values):
        if not isinstance(value, dict):
            raise PayloadError(f"{path}[{at}]: expected an object")
        found.append(Fields(value, f"{path}[{at}]"))
    return tuple(found)


def parse_time(text: str, where: str) -> datetime:
    """Return the instant, in UTC, that a text in ISO 8601 with a time zone names.

    Raises:
        PayloadError: It is no such text.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except OverflowError:
        raise PayloadError(f"{where}: expected a time in the years 1 to 9999 of UTC") from None
    except ValueError:
        pass
    raise PayloadError(f"{where}: expected a time in ISO 8601 with its zone")


def parse_local_time(text: str, where: str, zone: tzinfo, pattern: str | None = None) -> datetime:
    """Return the instant, in UTC, that a clock in `zone` showed; digits may be of any script.

    Args:
        text: What it showed, perhaps with its own zone, which then counts.
        where: Names the text in the error.
        zone: Where the clock hung.
        pattern: How it is written, as `datetime.strptime` understands it, zones as `%z`: of `%Z` it forgets what it
            read. None: in ISO 8601.

    Raises:
        PayloadError: It is not written so.
    """
    plain = fold(text).strip()
    try:
        at = datetime.strptime(plain, pattern) if pattern else datetime.fromisoformat(plain)
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PayloadError(
            f"{where}: expected a time written {f'as {pattern}' if pattern else 'in ISO 8601'}"
        ) from None


def parse_unix_time(seconds: float, where: str) -> datetime:
    """Return the instant so many seconds after 1970 began, in UTC.

    Raises:
        PayloadError: It lies in no year that has four digits.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise PayloadError(f"{where}: expected a time since 1970") from None


def exact(number: int, where: str) -> float:
    """Return a whole number as a float that has all of its digits.

    Raises:
        PayloadError: There is none for certain, for it is beyond 2^53.
    """
    if abs(number) > _LARGEST_EXACT:
        raise PayloadError(f"{where}: expected a number of at most 2^53; longer ones belong into texts")
    return float(number)


def parse_number(text: str, where: str, decimal_mark: str = ".") -> float:
    """Return the number that a decimal text means, in any digits.

    Marks that group thousands are refused, for one file's thousands are another's decimals.

    Raises:
        PayloadError: It is no decimal number, has another mark than `decimal_mark` before its decimals, or is beyond
            2^53, where floats lose whole digits.
    """
    # The marks change places, so that a point where a comma is expected does not become a decimal point.
    marks = str.maketrans(f"{decimal_mark}.", f".{decimal_mark}")
    plain = fold(text).strip().replace("٫", decimal_mark).translate(marks)
    if not (plain.isascii() and _DECIMAL.fullmatch(plain)) or math.isinf(number := float(plain)):
        raise PayloadError(f"{where}: expected a decimal number written as 1234{decimal_mark}5")
    exact(int(plain.partition(".")[0]), where)
    return number


def present(**values: object) -> dict[str, object]:
    """Return the values that are there, by name: what an event says, without what it does not say."""
    return {name: value for name, value in values.items() if value is not None}


class _LargeNumberError(Exception):
    """A number that does not fit 64 bits."""


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("JSON has no NaN and no Infinity")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise _LargeNumberError
    return number


def _short(text: str) -> int:
    if len(text) > _SURE_DIGITS:
        raise _LargeNumberError
    return int(text)


# Made once: json.loads would make a decoder for every body.
_QUICK = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_short)
_SLOW = json.JSONDecoder(parse_constant=_refuse_constant)


def _check_values(containers: list[Any], where: str) -> None:
    for container in containers:
        for value in (*container, *container.values()) if type(container) is dict else container:
            kind = type(value)
            if kind is str and not is_storable(value):
                raise PayloadError(f"{where}: expected texts without NUL characters and halves of surrogate pairs")
            if kind is float and not math.isfinite(value):
                raise PayloadError(f"{where}: expected finite numbers only")
            if kind is int and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
                raise PayloadError(f"{where}: expected whole numbers of at most 64 bits")
