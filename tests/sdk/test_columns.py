"""Columns that options name, and the types of their values."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sima_sdk.columns import Column
from sima_sdk.errors import PayloadError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("Umsatz", Column("Umsatz", "text")),
        (" Umsatz:number ", Column("Umsatz", "number")),
        ("Kunde: seit :time", Column("Kunde: seit", "time")),
        (":number", Column("", "number")),
        ("", Column("", "text")),
    ],
)
def test_an_option_names_a_column_and_perhaps_its_type(text: str, column: Column) -> None:
    """The type stands behind the last colon; without one, the column holds text."""
    assert Column.named(text) == column


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "00123", "00123"),
        ("text", "6280001234567890123", "6280001234567890123"),
        ("number", "1234,50", 1234.5),
        ("boolean", "Yes", True),
        ("boolean", "0", False),
        ("time", "2026-07-05", datetime(2026, 7, 4, 22, tzinfo=UTC)),
    ],
)
def test_a_value_is_of_its_columns_type(kind: str, text: str, value: object) -> None:
    """What no option calls a number is none, whatever it looks like."""
    assert Column("c", kind).read(text, BERLIN, ",") == value


@pytest.mark.parametrize(
    ("kind", "text", "expectation"),
    [
        ("number", "1.234", "expected a decimal number written as 1234,5"),
        ("boolean", "perhaps", "expected true or false"),
        ("time", "soon", "expected a time written in ISO 8601"),
    ],
)
def test_a_value_of_another_type_is_refused(kind: str, text: str, expectation: str) -> None:
    """The error names the column and what was expected there."""
    with pytest.raises(PayloadError, match=f"^c: {expectation}$"):
        Column("c", kind).read(text, BERLIN, ",")
