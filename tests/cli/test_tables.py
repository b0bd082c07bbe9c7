"""Tables cut nothing off, however narrow a terminal is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from sima_cli.output import table
from sima_cli.tables import widths

IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
WORDS = st.text("abc:@.-1東", min_size=1, max_size=40) | IDS
CELLS = st.lists(WORDS, max_size=8).map(" ".join)
COLUMNS = ("id", "kind", "identifiers", "#seen with", "by", "taken back")


def printed(part: RenderableType, width: int) -> str:
    """What a terminal of so many columns shows."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(part)
    return capture.get()


@given(st.lists(st.tuples(*[CELLS] * len(COLUMNS)), min_size=1, max_size=4), st.integers(95, 200))
def test_every_word_stands_on_one_line(rows: list[tuple[str, ...]], width: int) -> None:
    """As long as the terminal has room for the longest of them; no line is longer than the terminal."""
    said = printed(table("Decisions", COLUMNS, rows), width)
    for row in rows:
        for word in " ".join(row).split():
            assert any(word in line.split() for line in said.splitlines())
    assert max(len(line.rstrip()) for line in said.splitlines()) <= width


@given(st.lists(st.tuples(*[IDS] * 4), min_size=1, max_size=4), st.integers(80, 130))
def test_an_id_is_never_broken(rows: list[tuple[str, ...]], width: int) -> None:
    """Four of them do not stand side by side in a usual terminal: then one stands below the other."""
    said = printed(table("", ("id", "from profile", "to profile", "does not bind"), rows), width)
    assert [word for line in said.splitlines() for word in line.split() if len(word) == 32] == [
        own for row in rows for own in row
    ]


@pytest.mark.parametrize("width", [20, 33, 79])
def test_what_is_longer_than_a_line_goes_on_below(width: int) -> None:
    """Nothing of it goes missing."""
    long = "email:" + "x" * 100
    said = printed(table("", ("who", "why"), [(long, "because")]), width)
    assert long in "".join(said.split())


def test_a_table_has_a_line_for_each_row_where_there_is_room() -> None:
    """Numbers stand on the right; a title stands above."""
    said = printed(table("Shared", ("identifier", "#seen with"), [("phone:+1", "7"), ("phone:+12", "1,000")]), 80)
    assert [line.rstrip() for line in said.splitlines()] == [
        "Shared",
        "",
        " identifier   seen with",
        " ──────────────────────",
        " phone:+1             7",
        " phone:+12        1,000",
        "",
    ]


@given(st.data())
def test_room_is_shared_out_and_none_of_it_is_wasted(data: st.DataObject) -> None:
    """Every column has at least what it needs, and at most what it has use for."""
    least = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=8))
    most = [data.draw(st.integers(few, 200)) for few in least]
    room = sum(least) + data.draw(st.integers(0, 500))
    found = widths(least, most, room)
    assert all(few <= width <= many for few, width, many in zip(least, found, most, strict=True))
    assert sum(found) == min(room, sum(most))
