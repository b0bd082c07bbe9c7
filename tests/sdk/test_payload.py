"""Reading payloads without trusting them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_sdk.errors import PayloadError
from sima_sdk.payload import (
    MAX_DEPTH,
    Fields,
    check_json,
    is_storable,
    parse_json,
    parse_local_time,
    parse_number,
    parse_object,
    parse_time,
    parse_unix_time,
    present,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # A text as databases take it.
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4
        )
    ),
    max_leaves=20,
)


def nested(levels: int) -> str:
    """Return lists in lists."""
    return "[" * levels + "]" * levels


def taken(body: bytes) -> Any:
    """Return a value as connectors take it."""
    value, plain = parse_json(body)
    check_json(value, plain=plain)
    return value


@given(JSON)
def test_good_json_is_taken_as_it_is(value: Any) -> None:
    """Whatever can be stored arrives unchanged, written with or without escapes."""
    assert taken(json.dumps(value).encode()) == value
    assert taken(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{",
        b"NaN",
        b"-Infinity",
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b"9" * 30,
        b"-" + b"9" * 400,
        b"9" * 5_000,
        b"9" * 400 + b".0",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\uD800": 1}',
        b'["\\u0000"]',
        b'{"\\u0000": 1}',
        b'"\xed\xa0\x80"',
        nested(MAX_DEPTH + 1).encode(),
        nested(500).encode(),
        nested(1_000_000).encode(),
        b'{"a":' * 100_000,
    ],
)
def test_json_that_cannot_be_stored_is_refused(body: bytes) -> None:
    """Infinite and endless numbers, half characters, NUL and depth are refused with a reason."""
    with pytest.raises(PayloadError, match="body: expected"):
        taken(body)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 1_000_000])
def test_what_is_nested_too_deeply_is_called_so(levels: int) -> None:
    """However deep it is, the error names the limit."""
    with pytest.raises(PayloadError, match=f"at most {MAX_DEPTH} levels"):
        taken(nested(levels).encode())


@pytest.mark.parametrize(
    "body", [nested(MAX_DEPTH).encode(), b'"\\ud83d\\ude0d"', b"9223372036854775807", b"-9223372036854775808", b"1e308"]
)
def test_json_at_the_edge_is_taken(body: bytes) -> None:
    """The deepest nesting, an escaped emoji, the largest numbers are good."""
    assert taken(body) == json.loads(body)


@given(st.text())
def test_storable_texts_are_those_without_nul_and_half_characters(text: str) -> None:
    """What is called storable can be encoded, and holds no NUL."""
    try:
        encodable = bool(text.encode() or True)
    except UnicodeEncodeError:
        encodable = False
    assert is_storable(text) == (encodable and "\x00" not in text)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"7"])
def test_an_object_is_an_object(body: bytes) -> None:
    """A body of another shape is refused."""
    with pytest.raises(PayloadError, match="body: expected a JSON object"):
        parse_object(body)


def fields(**values: Any) -> Fields:
    """Return the fields of an object."""
    return Fields(values)


def test_fields_are_read_as_what_they_are() -> None:
    """Each method reads its own type, and money and ids also where they are written as text or number."""
    order = fields(
        id=7, token="t", total="409.94", count=3, paid=True, at="2026-01-31T12:00:00+03:00", since=1_767_600_000
    )
    assert (order.reference("id"), order.reference("token"), order.text("token")) == ("7", "t", "t")
    assert (order.number("total"), order.number("count")) == (409.94, 3.0)
    assert order.flag("paid") is True
    assert order.time("at") == datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert order.unix_time("since") == datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert fields(at=1_767_600_000_500).unix_time("at", per_second=1000) == datetime(2026, 1, 5, 8, 0, 0, 500_000, UTC)
    assert [fields(v=value).scalar("v") for value in ("x", 2, 2.5, False)] == ["x", 2.0, 2.5, False]
    assert fields(customer={"id": 1}).object("customer").reference("id") == "1"
    assert [line.reference("id") for line in fields(lines=[{"id": 1}, {"id": 2}]).objects("lines")] == ["1", "2"]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_absent_field_is_none(value: str | None) -> None:
    """Absent, null and blank are the same: nothing was said."""
    for holder in (fields(a=value), fields()):
        for read in (holder.text, holder.reference, holder.number, holder.time, holder.unix_time, holder.scalar):
            assert read("a") is None


def test_absent_containers_are_empty() -> None:
    """An object or list that is not there has nothing in it."""
    assert fields().object("customer").text("id") is None
    assert fields(lines=None).objects("lines") == ()
    assert fields().flag("paid") is None
    assert "customer" not in fields(customer=None)
    assert "customer" in fields(customer={})


READERS: dict[str, tuple[Callable[[Fields], Callable[[str], object]], list[object]]] = {
    "text": (lambda f: f.text, [1, True, [], {}]),
    "reference": (lambda f: f.reference, [1.5, True, [], {}]),
    "number": (lambda f: f.number, ["x", "1e5", "nan", "1_000", "1,000", True, [], "9" * 400]),
    "flag": (lambda f: f.flag, ["true", 1, 25, []]),
    "time": (lambda f: f.time, ["2026-01-31", "2026-01-31T12:00:00", "x", 1, "0001-01-01T00:00:00+14:00"]),
    "unix_time": (lambda f: f.unix_time, ["x", 1e300, -1e18, True]),
    "scalar": (lambda f: f.scalar, [[], {}]),
    "object": (lambda f: f.object, ["x", [], 1]),
    "objects": (lambda f: f.objects, ["x", {}, [1], [None]]),
}


@pytest.mark.parametrize(("reader", "wrong"), READERS.values(), ids=READERS)
def test_a_field_of_another_type_is_refused_by_its_path(
    reader: Callable[[Fields], Callable[[str], object]], wrong: list[object]
) -> None:
    """The error names the way to the field and what it should be, and not what stands there."""
    for value in wrong:
        holder = fields(order={"lines": [{"field": value}]}).object("order").objects("lines")[0]
        with pytest.raises(PayloadError, match=r"^order\.lines\[0\]\.field(\[0\])?: expected") as error:
            reader(holder)("field")
        assert repr(value) not in str(error.value)


LARGEST = 2**53  # up to here, every whole number is a float


def test_whole_numbers_keep_every_digit() -> None:
    """What a float can hold is read as it is, also where it is written as a text."""
    for number in (LARGEST, -LARGEST, 12_345_678_901_234):
        assert fields(a=number).scalar("a") == fields(a=number).number("a") == number
        assert parse_number(str(number), "a") == parse_number(f"{number}.25", "a") // 1 == number


@pytest.mark.parametrize("number", [LARGEST + 1, -LARGEST - 1, 9_912_345_678_901_235, 2**63 - 1])
def test_a_whole_number_that_would_lose_digits_is_refused(number: int) -> None:
    """The number of a card is not changed in silence: the error says that it is to be sent as a text."""
    readers: list[Callable[[], object]] = [
        lambda: fields(a=number).scalar("a"),
        lambda: fields(a=number).number("a"),
        lambda: parse_number(str(number), "a"),
        lambda: parse_number(f"{number},0", "a", ","),
    ]
    for read in readers:
        with pytest.raises(
            PayloadError, match=r"^a: expected a number of at most 2\^53; longer ones belong into texts$"
        ):
            read()


def test_a_required_field_must_be_there() -> None:
    """What cannot be missing is missed by its name."""
    order = fields(id=None)
    with pytest.raises(PayloadError, match=r"^id: expected a value$"):
        order.require(order.reference, "id")
    assert fields(id=3).require(fields(id=3).reference, "id") == "3"


@pytest.mark.parametrize(
    ("text", "mark", "number"),
    [
        ("12.50", ".", 12.5),
        ("-3", ".", -3),
        ("+3", ".", 3),
        ("12,50", ",", 12.5),
        ("12", ",", 12),
        ("١٢٫٥٠", ",", 12.5),
        ("١٢٫٥٠", ".", 12.5),
        (" ۱۲ ", ".", 12),
    ],
)
def test_numbers_are_read_in_any_digits(text: str, mark: str, number: float) -> None:
    """A price in Persian digits is the same price."""
    assert parse_number(text, "price", mark) == number


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        *(("1.234", ","), ("1.234,50", ","), ("1,234.50", ","), ("1٬234", ","), ("12٫5٫0", ",")),
        *(("1,234", "."), ("1,234.50", "."), ("1.234,50", "."), ("1 234", "."), ("12..5", ".")),
    ],
)
def test_a_number_with_another_mark_is_refused(text: str, mark: str) -> None:
    """Thousands are never taken for decimals: the error shows how a number is to be written."""
    with pytest.raises(PayloadError, match=rf"^price: expected a decimal number written as 1234\{mark}5$"):
        parse_number(text, "price", mark)


@given(st.datetimes(timezones=st.timezones()))
def test_times_come_back_in_utc(at: datetime) -> None:
    """An instant is the same instant, wherever its clock hung, or is refused at the edge of the calendar."""
    try:
        assert parse_time(at.isoformat(), "at") == at.astimezone(UTC)
    except PayloadError:
        assert not datetime(1, 1, 3) < at.replace(tzinfo=None) < datetime(9999, 12, 29)


@given(st.floats())
def test_counts_of_seconds_never_break(seconds: float) -> None:
    """Any number is an instant or refused."""
    try:
        assert parse_unix_time(seconds, "at").tzinfo is UTC
    except PayloadError:
        assert not 0 <= seconds < 1e11


def test_a_local_clock_is_read_in_its_zone() -> None:
    """What the till's clock showed becomes an instant; a zone in the text itself counts more."""
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_local_time("05.07.2026 10:30", "date", berlin, "%d.%m.%Y %H:%M") == datetime(
        2026, 7, 5, 8, 30, tzinfo=UTC
    )
    assert parse_local_time("۲۰۲۶-۰۷-۰۵", "date", berlin) == datetime(2026, 7, 4, 22, tzinfo=UTC)
    assert parse_local_time("2026-07-05T10:30+00:00", "date", berlin) == datetime(2026, 7, 5, 10, 30, tzinfo=UTC)
    for text in ("", "5 July", "0001-01-01"):
        with pytest.raises(PayloadError, match=r"^date: expected a time written in ISO 8601$"):
            parse_local_time(text, "date", ZoneInfo("Asia/Tehran"))
    with pytest.raises(PayloadError, match=r"^date: expected a time written as %d\.%m\.%Y$"):
        parse_local_time("2026-07-05", "date", berlin, "%d.%m.%Y")


def test_only_what_is_there_is_said() -> None:
    """Absent values leave no trace; false and zero are values."""
    assert present(a=1, b=None, c=0, d=False, e="") == {"a": 1, "c": 0, "d": False, "e": ""}


def test_utc_is_what_all_times_are_in() -> None:
    """Every time that is read has the offset zero."""
    assert parse_time("2026-01-01T00:00:00+03:30", "at").utcoffset() == timedelta(0)
