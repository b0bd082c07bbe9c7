"""Names and types of the tables that compiled rules read: one definition for the compiler and the projection.

Every person is a row of `people`; the folded traits are one row per person; each event name has a table with the
person, the time and one nullable column per property and type seen. All names here are safe inside double quotes.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

PEOPLE: Final = "people"
TRAITS: Final = "traits"
CONSENTS: Final = "consents"
MEMBERS: Final = "segment_members"

PERSON: Final = "person"
OCCURRED_AT: Final = "occurred_at"
PURPOSE: Final = "purpose"
GRANTED: Final = "granted"
SEGMENT: Final = "segment"

LONGEST_READABLE_PART: Final = 40
_PLAIN = re.compile(r"[a-z](?:_?[a-z0-9])*")


class ColumnType(StrEnum):
    """What a column of a trait or property holds; the plural members hold several values of one person or event."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIME = "time"
    NUMBERS = "numbers"
    TEXTS = "texts"
    BOOLEANS = "booleans"
    TIMES = "times"

    @property
    def many(self) -> bool:
        """Whether the column holds a list."""
        return self.value.endswith("s")

    @property
    def plural(self) -> "ColumnType":
        """The type of a list of such values."""
        return self if self.many else ColumnType(f"{self.value}s")


DUCKDB_TYPES: Final[Mapping[ColumnType, str]] = MappingProxyType(
    {
        ColumnType.NUMBER: "DOUBLE",
        ColumnType.TEXT: "VARCHAR",
        ColumnType.BOOLEAN: "BOOLEAN",
        ColumnType.TIME: "TIMESTAMP",
        ColumnType.NUMBERS: "DOUBLE[]",
        ColumnType.TEXTS: "VARCHAR[]",
        ColumnType.BOOLEANS: "BOOLEAN[]",
        ColumnType.TIMES: "TIMESTAMP[]",
    }
)


def event_table(name: str) -> str:
    """Return the table that holds the events of this name."""
    return f"event__{_safe(name)}"


def property_column(name: str, kind: ColumnType) -> str:
    """Return the column that holds the values of one type of an event property."""
    return f"{_safe(name)}__{kind}"


def trait_column(name: str, kind: ColumnType) -> str:
    """Return the column that holds the values of one type of a trait."""
    return f"{_safe(name)}__{kind}"


def member_column(segment: str) -> str:
    """Return the column that says whether a person is in a segment, where that is one of many columns."""
    return f"_member_{_safe(segment)}"


def consent_column(purpose: str) -> str:
    """Return the column that says whether a person granted a purpose, where that is one of many columns."""
    return f"_consent_{_safe(purpose)}"


@lru_cache(maxsize=65_536)
def _safe(name: str) -> str:
    """Return a name that no other name shares, also where letter case is ignored, as DuckDB does.

    A plain name stands for itself. Any other gets a hash, behind a `$` that no plain name contains.
    """
    if len(name) <= LONGEST_READABLE_PART and _PLAIN.fullmatch(name):
        return name
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower())[:LONGEST_READABLE_PART].strip("_")
    digest = blake2b(name.encode(errors="surrogatepass"), digest_size=10).hexdigest()
    return f"{readable}${digest}"
