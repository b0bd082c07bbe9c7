"""Reading files of records."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_sdk.connectors import Page, Source
from sima_sdk.errors import FixConfigurationError, PayloadError
from sima_sdk.facts import Fact, Identifier
from sima_sdk.files import (
    LONGEST_LINE,
    PAGE_SIZE,
    Record,
    check_csv,
    decimal_mark_of,
    grouped,
    in_pages,
    one_by_one,
    read_csv,
    zone_of,
)

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file."""

    def write(content: bytes) -> Path:
        path = tmp_path / "file.csv"
        path.write_bytes(content)
        return path

    return write


def source(**options: str) -> Source:
    """Return a source with options."""
    return Source("till", options=options)


def records(path: Path, **options: str) -> list[Record]:
    """Read a file."""
    return list(read_csv(path, source(**options)))


def message_ids(path: Path) -> list[str]:
    """Read a file for its message ids."""
    return [record.message_id for record in records(path)]


def test_records_are_read_with_their_columns(write: Write) -> None:
    """Quotes, line ends in quotes, blanks around values, blank lines and a byte-order mark are understood."""
    found = records(write(b'\xef\xbb\xbf name , city\r\n Ada ,"Lon\ndon"\r\n\r\n"Bob ""B""",Ottawa'))
    assert [record.values for record in found] == [
        {"name": "Ada", "city": "Lon\ndon"},
        {"name": 'Bob "B"', "city": "Ottawa"},
    ]
    assert [record.number for record in found] == [1, 2]
    assert b"".join(record.raw for record in found) == b' Ada ,"Lon\ndon"\r\n"Bob ""B""",Ottawa'


def test_the_way_of_writing_is_an_option(write: Write) -> None:
    """Other delimiters and alphabets are a matter of the source's options."""
    path = write("اسم;مدينة\nعلي;الرياض\n".encode("windows-1256"))
    assert records(path, delimiter=";", encoding="windows-1256")[0].values == {"اسم": "علي", "مدينة": "الرياض"}
    assert records(write(b"a\tb\n1\t2\n"), delimiter="tab")[0].values == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("broken", "expectation"),
    [
        (b"1\n", "expected 2 fields"),
        (b"1,2,3\n", "expected 2 fields"),
        (b'"1"x,2\n', "closed quotes"),
        (b"\xff,2\n", "expected text in the configured encoding"),
        (b"1,\x00\n", "expected text without NUL characters"),
        (b"1," + b"x" * 200_000 + b"\n", "at most 128 KiB"),
    ],
)
def test_a_broken_record_does_not_break_the_file(write: Write, broken: bytes, expectation: str) -> None:
    """It is marked with what was expected and kept as it stands; those before and behind it are good."""
    found = records(write(b"a,b\n0,0\n" + broken + b"9,9\n"))
    assert [bool(record.fault) for record in found] == [False, True, False]
    assert expectation in found[1].fault
    assert found[1].raw == broken


@pytest.mark.parametrize("ends", [b"", b"\n", b"\r\n"])
def test_a_line_that_is_too_long_is_one_broken_record(write: Write, ends: bytes) -> None:
    """Its end, which alone would be a good record, is none; those before and behind it are good."""
    behind = b"9,9\n" if ends else b""
    found = records(write(b"a,b\n0,0\n" + b"1," * (LONGEST_LINE // 2) + b"7,7" + ends + behind))
    assert [(record.values, record.fault) for record in found if not record.fault] == [
        ({"a": text, "b": text}, "") for text in ("0", "9") if text == "0" or ends
    ]
    assert ["fewer than 1,048,576 characters" in record.fault for record in found if record.fault] == [True]
    assert found[1].raw == b"1," * (LONGEST_LINE // 2)


def test_columns_that_cannot_all_be_read_are_refused(write: Write) -> None:
    """Where the first line is too long, no record is read by the columns that happen to stand in its beginning."""
    header = ",".join(f"column{number}" for number in range(LONGEST_LINE // 10))
    with pytest.raises(PayloadError, match="a first line that names the columns"):
        records(write(header.encode() + b"\n1,2\n"))


@pytest.mark.parametrize("behind", [b"5,6\n" * 3, b"5,6\n" * 100_000, b'5,6\n"7","8"\n5,6\n'])
def test_an_open_quote_breaks_one_record_only(write: Write, behind: bytes) -> None:
    """What stands behind it is read, whether the quote is closed at the end, by another one, or never."""
    found = records(write(b'a,b\n1,2\n"3,4\n' + behind))
    assert b"".join(record.raw for record in found) == b'1,2\n"3,4\n' + behind
    assert [record.number for record in found if record.fault] == [2]
    assert len(found) == 2 + behind.count(b"\n")


@pytest.mark.parametrize(
    ("content", "columns", "complaint"),
    [
        (b"", [], "expected a first line that names the columns"),
        (b'"a', [], "expected a first line that names the columns"),
        (b"a,b,a\n", [], "expected every column once; number 1 is there again"),
        (b"a,b\n", ["date"], "expected a column date"),
        (b"\xff\xfea\x00", [], "option encoding names another"),
    ],
)
def test_a_file_of_another_kind_is_refused(write: Write, content: bytes, columns: list[str], complaint: str) -> None:
    """The header decides whether it is a file that we read."""
    with pytest.raises(PayloadError, match=complaint):
        list(read_csv(write(content), source(), columns or ["a"]))


def test_text_that_breaks_off_is_refused(write: Write) -> None:
    """In encodings of several bytes, half a character at the end makes it no text."""
    with pytest.raises(PayloadError, match="expected text in the configured encoding"):
        records(write("a,b\n1,2\n".encode("utf-16")[:-1]), encoding="utf-16")


@pytest.mark.parametrize(
    "option", [{"encoding": "utf-5"}, {"encoding": "rot13"}, {"delimiter": ""}, {"delimiter": ";;"}]
)
def test_options_that_make_no_sense_are_refused(write: Write, option: dict[str, str]) -> None:
    """A wrong option is an error of whoever configured the source, by its name, before the first file comes."""
    complaint = f"source till, option {next(iter(option))}: expected"
    with pytest.raises(FixConfigurationError, match=complaint):
        check_csv(source(**option))
    with pytest.raises(FixConfigurationError, match=complaint):
        records(write(b"a,b\n1,2\n"), **option)


@pytest.mark.parametrize("option", [{}, {"encoding": "windows-1256"}, {"delimiter": "tab"}, {"delimiter": ";"}])
def test_options_that_make_sense_pass(option: dict[str, str]) -> None:
    """So do the defaults."""
    check_csv(source(**option))


def test_identical_records_are_different_messages(write: Write) -> None:
    """Two equal purchases are two, and the same file read again says the same."""
    path = write(b"a,b\n1,2\n1,2\n3,4\n1,2\n1,2,\n1,2,\n")
    ids = message_ids(path)
    assert len(set(ids)) == len(ids) == 6
    assert ids == message_ids(path)


def test_a_message_id_does_not_depend_on_the_order_of_columns(write: Write) -> None:
    """The same record of an export with other column order is the same message."""
    assert message_ids(write(b"a,b\n1,2\n")) == message_ids(write(b"b,a\n2,1\n"))


def test_message_ids_never_change(write: Write) -> None:
    """An id computed today is the id stored yesterday."""
    ids = message_ids(write(b"customer,amount\n17,12.50\n17,12.50\n"))
    assert ids == ["f00fab590cf0a9cd63e8d018dc55d600-1", "f00fab590cf0a9cd63e8d018dc55d600-2"]


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from sima_sdk import Source, files

files.MOST_IN_MEMORY = 1_000
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (12 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
records = files.read_csv(Path(sys.argv[1]), Source("till"))
print(sum(1 for group in files.grouped(records, "receipt") if not group[0].fault))
"""


def test_a_file_may_be_larger_than_the_memory(write: Write) -> None:
    """What must be remembered of its records moves to the disk; here a memory of which they would fill a multiple."""
    path = write(b"receipt,amount\n" + b"".join(b"%d,10\n" % number for number in range(100_000)))
    read = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, path], capture_output=True, text=True, check=False)
    assert (read.stdout, read.stderr) == ("100000\n", "")


@pytest.mark.parametrize("most", [0, 1, 2])
def test_what_moves_to_the_disk_is_remembered_as_well(write: Write, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Neither message ids nor groups depend on where their records are remembered."""
    path = write(b"a,b\nA,1\nA,1\nB,2\nC,3\nA,1\nC,3\n,\n,\n")
    ids = message_ids(path)
    faults = [group[0].fault for group in grouped(read_csv(path, source()), "a")]
    monkeypatch.setattr("sima_sdk.files.MOST_IN_MEMORY", most)
    assert message_ids(path) == ids
    assert [group[0].fault for group in grouped(read_csv(path, source()), "a")] == faults
    assert [one.partition("-")[2] for one in ids] == ["1", "2", "1", "1", "3", "2", "1", "2"]
    assert [bool(fault) for fault in faults] == [False, False, False, True, True, False, False]


def test_records_of_one_receipt_are_a_group(write: Write) -> None:
    """Lines that agree stand together; those without a number stand alone; a part that comes later is marked."""
    path = write(b"receipt,sku\nA,1\nA,2\n,3\n,4\nB,5\nA,6\nA,7\n")
    groups = list(grouped(read_csv(path, source()), "receipt"))
    assert [[record.number for record in group] for group in groups] == [[1, 2], [3], [4], [5], [6, 7]]
    assert [bool(group[0].fault) for group in groups] == [False, False, False, False, True]


BROKEN_A = {
    "a delimiter too many": b"A,2,x\n",
    "a delimiter too few": b"A\n",
    "an open quote": b'"A"x,2\n',
    "another encoding": b"A,\xff\n",
    "a name in another encoding": b"A\xff,2\n",
}


@pytest.mark.parametrize("broken", BROKEN_A.values(), ids=BROKEN_A)
@pytest.mark.parametrize(
    "lines", [b"A,1\n%bA,3\n", b"A,1\n%b", b"%bA,3\n"], ids=["within", "at the end", "at the start"]
)
def test_a_receipt_with_a_broken_line_is_refused_whole(write: Write, broken: bytes, lines: bytes) -> None:
    """However a line is broken and wherever it stands, its receipt never counts with a part of its lines."""
    path = write(b"a,sku\nZ,0\n,0\n" + lines % broken + b",9\nB,9\n")
    (page,) = in_pages(grouped(read_csv(path, source()), "a"), fact_of, "")
    assert [fact.identifiers[0].value for fact in page.facts] == ["Z", "?", "?", "B"]
    assert b"".join(refusal.raw for refusal in page.refusals) == lines % broken
    assert all(refusal.reason for refusal in page.refusals)


def test_the_lines_of_a_refused_receipt_stay_together(write: Write) -> None:
    """Whoever mends the receipt finds it in one piece, with the reason of its broken line."""
    path = write(b"a,sku\nA,1\nA,2,x\nA,3\nB,1\n")
    (page,) = in_pages(grouped(read_csv(path, source()), "a"), fact_of, "")
    assert [(refusal.reason, refusal.raw) for refusal in page.refusals] == [
        ("records 1 to 3: expected 2 fields", b"A,1\nA,2,x\nA,3\n")
    ]
    assert [fact.identifiers[0].value for fact in page.facts] == ["B"]


def test_a_line_of_no_certain_receipt_makes_both_its_neighbours_doubtful(write: Write) -> None:
    """What stands in a wrong column, or nowhere, may be a part of the receipt before it or of the one behind it."""
    path = write(b"sku,a\n0,Z\n1,A\nx,2,B\n3,B\n4,B\n5,C\n")
    (page,) = in_pages(grouped(read_csv(path, source()), "a"), fact_of, "")
    assert [fact.identifiers[0].value for fact in page.facts] == ["Z", "C"]
    assert [refusal.reason for refusal in page.refusals] == [
        "records 2 to 3: expected 2 fields",
        "records 4 to 5: a: expected no broken record before it, which may be a part of it",
    ]


def fact_of(group: Sequence[Record]) -> Fact:
    """Return a fact, or refuse."""
    if group[0].values["a"] == "bad":
        raise PayloadError("a: expected something good")
    return Fact(group[0].message_id, (Identifier("user_id", group[0].values["a"] or "?"),))


def pages(path: Path, checkpoint: str = "") -> list[Page]:
    """Read a file in pages."""
    return list(in_pages(one_by_one(read_csv(path, source())), fact_of, checkpoint))


def test_refusals_stand_beside_facts(write: Write) -> None:
    """A record that says nothing we know is refused with its number, and kept as it stands."""
    (page,) = pages(write(b"a,b\n1,2\nbad,3\n4\n"))
    assert [refusal.reason for refusal in page.refusals] == [
        "record 2: a: expected something good",
        "record 3: expected 2 fields",
    ]
    assert [refusal.raw for refusal in page.refusals] == [b"bad,3\n", b"4\n"]
    assert page.checkpoint == "3"


@pytest.mark.parametrize("count", [0, 1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 3 * PAGE_SIZE])
def test_pages_are_full_but_the_last(write: Write, count: int) -> None:
    """Nothing is lost at the edges of pages, and no page is empty."""
    found = pages(write(b"a,b\n" + b"1,2\n" * count))
    assert sum(len(page.facts) for page in found) == count
    assert all(len(page.facts) == PAGE_SIZE for page in found[:-1])
    assert all(page.facts for page in found)


@given(st.integers(0, 2_600))
def test_reading_goes_on_behind_any_record(done: int) -> None:
    """Wherever a pull stopped, the rest is exactly what is behind it."""
    every = [Record(number, {"a": str(number)}, b"", str(number)) for number in range(1, 2_501)]
    rest = in_pages(one_by_one(every), fact_of, str(done) if done else "")
    assert [fact.message_id for page in rest for fact in page.facts] == [str(n) for n in range(done + 1, 2_501)]


def test_the_way_to_a_far_checkpoint_is_not_silent() -> None:
    """However large a file is, who waits for its next page hears that it is being looked for."""
    every = (Record(number, {"a": str(number)}, b"", str(number)) for number in range(1, 120_002))
    assert list(in_pages(one_by_one(every), fact_of, "120000")) == [
        *[Page((), checkpoint="120000")] * 2,
        Page((fact_of([Record(120_001, {"a": "120001"}, b"", "120001")]),), checkpoint="120001"),
    ]


def test_the_time_zone_is_an_option() -> None:
    """The file's clock ran in UTC unless the source says otherwise."""
    assert zone_of(source()) == ZoneInfo("UTC")
    assert zone_of(source(time_zone="Asia/Riyadh")) == ZoneInfo("Asia/Riyadh")
    for name in ("Asia/Atlantis", "../../etc/passwd", "", "/"):
        with pytest.raises(FixConfigurationError, match="option time_zone: expected"):
            zone_of(source(time_zone=name))


def test_the_decimal_mark_is_an_option() -> None:
    """Numbers are written with a point unless the source says that it is a comma; nothing else is a mark."""
    assert (decimal_mark_of(source()), decimal_mark_of(source(decimal_mark=","))) == (".", ",")
    for mark in ("", "1", "..", " "):
        with pytest.raises(FixConfigurationError, match="option decimal_mark: expected a point or a comma"):
            decimal_mark_of(source(decimal_mark=mark))


def test_a_group_that_never_ends_is_refused_in_parts(tmp_path: Path) -> None:
    """It is no message, and it fills neither the memory nor the room for refusals; what follows it is read."""
    path = tmp_path / "file.csv"
    path.write_text("receipt,item\n" + "1,x\n" * 25_000 + "2,x\n")
    groups = [(len(group), group[0].fault) for group in grouped(read_csv(path, source()), "receipt")]
    too_many = "receipt: expected fewer than 10000 records that agree in it"
    assert groups == [
        (10_000, too_many),
        (10_000, too_many),
        (5_000, "receipt: expected the records that agree in it to stand together"),
        (1, ""),
    ]
