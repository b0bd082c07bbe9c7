"""What connectors of files share: reading CSV, ids for records that have none, paging, and going on after a stop.

Options of a source: `delimiter` (one character, or `tab`; default a comma), `encoding` (default UTF-8, with or without
byte-order mark), `time_zone` (default UTC), in which the file's clock ran, and `decimal_mark` (a point or a comma;
default a point), which stands before the decimals of its numbers.

A file may be larger than the memory: what must be remembered of many records lies in a temporary file.
"""

import csv
import json
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import tzinfo
from hashlib import blake2b
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sima_sdk.connectors import Page, Refusal, Source
from sima_sdk.errors import FixConfigurationError, PayloadError
from sima_sdk.facts import Fact
from sima_sdk.payload import is_storable

#: The options above, for a connector's own `options`.
CSV_OPTIONS = ("delimiter", "encoding", "time_zone", "decimal_mark")
#: Most facts and refusals in one page of a pull.
PAGE_SIZE = 1_000
#: Most records of a file that are remembered in memory, about 100 bytes each; the others are on disk.
MOST_IN_MEMORY = 500_000
#: Characters of a line, from which on it is refused: a file without line ends must not fill the memory.
LONGEST_LINE = 1 << 20

_MOST_PASSED_OVER = 50_000  # groups, between two signs of life
_MOST_IN_GROUP = 10_000  # records; a receipt has some dozens
_TOO_LONG = f"expected a line of fewer than {LONGEST_LINE:,} characters; only its beginning was read"
_ENCODED = "in the configured encoding"
_OTHER_ENCODING = f"file: expected text {_ENCODED}; the source's option encoding names another"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        number: Its place among the records, from 1.
        values: By column, trimmed; if the record is broken, only those that certainly stand in their column.
        raw: As it stands in the file.
        message_id: The same whenever the file is read, and different for identical records.
        fault: What was expected of the record, if it is broken.
    """

    number: int
    values: Mapping[str, str]
    raw: bytes
    message_id: str
    fault: str = ""


def check_csv(source: Source) -> None:
    """Complain about options by which no CSV file can be read; connectors call it in their `check`.

    Raises:
        FixConfigurationError: The source's `delimiter` or `encoding` does not exist.
    """
    _encoding(source)
    _delimiter(source)


def read_csv(file: Path, source: Source, columns: Collection[str] = ()) -> Iterator[Record]:
    """Yield the records of a CSV file, the broken ones too.

    Args:
        file: Its first line names the columns.
        source: Whose options say how the file is written.
        columns: Those that must be there.

    Raises:
        PayloadError: The file has no header line, names a column twice, or lacks some of `columns`.
        FixConfigurationError: The source's `delimiter` or `encoding` does not exist.
    """
    encoding = _encoding(source)
    with file.open(encoding=encoding, errors="surrogateescape", newline="") as handle, closing(_Ordinals()) as ordinals:
        lines = _Lines(handle, encoding)
        rows = csv.reader(lines, delimiter=_delimiter(source), strict=True)
        header = _header(rows, lines, columns)
        for number, (row, raw, fault) in enumerate(_rows(rows, lines, len(header)), start=1):
            values = _certain(header, row) if fault else _values(header, row)
            message_id = _message_id({"": raw.hex()} if fault else values, ordinals)
            yield Record(number, values, raw, message_id, fault)


def zone_of(source: Source) -> tzinfo:
    """Return the time zone in which the clock of the source's files ran.

    Raises:
        FixConfigurationError: The source's `time_zone` does not exist.
    """
    try:
        return ZoneInfo(source.options.get("time_zone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FixConfigurationError(
            f"source {source.name}, option time_zone: expected a name such as Asia/Riyadh"
        ) from None


def decimal_mark_of(source: Source) -> str:
    """Return what stands before decimals in the source's files.

    Raises:
        FixConfigurationError: The source's `decimal_mark` is neither a point nor a comma.
    """
    mark = source.options.get("decimal_mark", ".")
    if mark not in (".", ","):
        raise FixConfigurationError(f"source {source.name}, option decimal_mark: expected a point or a comma")
    return mark


def one_by_one(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Return groups of one record each, where every record is a message of its own."""
    return ([record] for record in records)


def grouped(records: Iterable[Record], column: str) -> Iterator[list[Record]]:
    """Yield the records that say the same in a column as one group; a record that says nothing there stands alone.

    Records of one group must stand together in the file; what comes later is marked as broken. A broken record of which
    it is not certain what it says there may be a part of the group before it or of the one behind it: it joins the
    former, and the latter is marked as broken as well. So is a group that is too large to be one message, in parts.
    """
    torn = False
    with closing(_Ordinals()) as ordinals:
        for name, group in _parts(records, column):
            fault = group[0].fault
            again = isinstance(name, str) and ordinals.following(_digest(name)) > 1
            if len(group) == _MOST_IN_GROUP:
                fault = f"{column}: expected fewer than {_MOST_IN_GROUP} records that agree in it"
            elif again:
                fault = f"{column}: expected the records that agree in it to stand together"
            elif torn and isinstance(name, str):
                fault = f"{column}: expected no broken record before it, which may be a part of it"
            group[0] = replace(group[0], fault=fault)
            torn = bool(group[-1].fault) and column not in group[-1].values
            yield group


def in_pages(
    groups: Iterable[Sequence[Record]], convert: Callable[[Sequence[Record]], Fact], checkpoint: str
) -> Iterator[Page]:
    """Yield the facts of groups of records, in pages, beginning behind the checkpoint; empty ones on the way there.

    A group that has a broken record, or for which `convert` raises PayloadError, is refused as it stands in the file.
    """
    done = int(checkpoint) if checkpoint.isdecimal() else 0
    facts: list[Fact] = []
    refusals: list[Refusal] = []
    last = done
    for count, group in enumerate(groups, start=1):
        if group[-1].number <= done:
            if count % _MOST_PASSED_OVER == 0:
                yield Page((), checkpoint=checkpoint)
            continue
        last = group[-1].number
        outcome = _converted(group, convert)
        facts.append(outcome) if isinstance(outcome, Fact) else refusals.append(outcome)
        if len(facts) + len(refusals) == PAGE_SIZE:
            yield Page(tuple(facts), tuple(refusals), str(last))
            facts, refusals = [], []
    if facts or refusals:
        yield Page(tuple(facts), tuple(refusals), str(last))


class _Ordinals:
    """Counts how often each digest was met in a file: in memory, and of large files on disk.

    64 bits of a digest stand for it. Even among a hundred million records it is unlikely that two share them; the later
    one then counts as met before.
    """

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        # A database without a name is a temporary file, and none at all while it fits into the cache (here of 32 MiB).
        self._others = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._others.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -32768;"
            "CREATE TABLE met (digest INTEGER PRIMARY KEY, times INTEGER NOT NULL); BEGIN"
        )

    def following(self, digest: bytes) -> int:
        """Return how often a digest was met, this time included."""
        key = int.from_bytes(digest[:8], "big", signed=True)
        if key in self._first or len(self._first) < MOST_IN_MEMORY:
            self._first[key] = self._first.get(key, 0) + 1
            return self._first[key]
        if self._others.execute("INSERT OR IGNORE INTO met VALUES (?, 1)", (key,)).rowcount:
            return 1
        again = "UPDATE met SET times = times + 1 WHERE digest = ? RETURNING times"
        return int(self._others.execute(again, (key,)).fetchone()[0])

    def close(self) -> None:
        """Give memory and disk back."""
        self._others.close()


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _message_id(values: Mapping[str, str], ordinals: _Ordinals) -> str:
    """Return an id for a record without one: the hash of what it says, and its place among identical records.

    A purchase that stands twice in a file is two purchases; the same file read twice says the same twice.
    """
    digest = _digest(json.dumps(values, sort_keys=True, ensure_ascii=False))
    return f"{digest.hex()}-{ordinals.following(digest)}"


class _Lines:
    """The lines of a file, and the bytes of those read since they were last asked for; of a long line its beginning."""

    def __init__(self, handle: TextIO, encoding: str) -> None:
        self._handle, self._encoding = handle, encoding
        self._taken: list[str] = []
        self._given_back: deque[str] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else self._read()
        if not line:
            raise StopIteration
        self._taken.append(line)
        return line

    def _read(self) -> str:
        try:
            line = rest = self._handle.readline(LONGEST_LINE)
            while len(rest) == LONGEST_LINE and not rest.endswith(("\r", "\n")):
                rest = self._handle.readline(LONGEST_LINE)
        except UnicodeError:
            raise PayloadError(_OTHER_ENCODING) from None
        return line

    def too_long(self) -> bool:
        """Whether one of those read since `take` may not be whole."""
        return any(len(line) == LONGEST_LINE for line in self._taken)

    def give_back(self) -> None:
        """Let the lines read since `take`, but for the first one, be read again."""
        self._given_back.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]

    def take(self) -> bytes:
        """Return the bytes read since the last call, as they stand in the file."""
        text, self._taken = "".join(self._taken), []
        # A byte-order mark belongs to the file, not to each of its records.
        return text.encode(self._encoding.removesuffix("-sig"), "surrogateescape")


def _encoding(source: Source) -> str:
    encoding = source.options.get("encoding", "utf-8-sig")
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise FixConfigurationError(f"source {source.name}, option encoding: expected a known encoding") from None
    return encoding


def _delimiter(source: Source) -> str:
    delimiter = source.options.get("delimiter", ",")
    delimiter = "\t" if delimiter == "tab" else delimiter
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise FixConfigurationError(f"source {source.name}, option delimiter: expected one character, or tab")
    return delimiter


def _header(rows: Iterator[list[str]], lines: _Lines, columns: Collection[str]) -> list[str]:
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error:
        header = []
    cut = lines.too_long()
    lines.take()
    if not header or cut:
        raise PayloadError("file: expected a first line that names the columns")
    for name, count in Counter(filter(None, header)).items():
        if count > 1:
            raise PayloadError(f"file: expected every column once; number {header.index(name) + 1} is there again")
    if missing := [name for name in columns if name not in header]:
        if not all(map(is_storable, header)):
            raise PayloadError(_OTHER_ENCODING)
        raise PayloadError(f"file: expected {'a column' if len(missing) == 1 else 'columns'} {', '.join(missing)}")
    return header


def _rows(rows: Iterator[list[str]], lines: _Lines, width: int) -> Iterator[tuple[list[str], bytes, str]]:
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            lines.give_back()  # a quote that nobody closes must not take the lines behind it along
            yield [], lines.take(), "expected a record of CSV with closed quotes and fields of at most 128 KiB"
            continue
        cut = lines.too_long()
        raw = lines.take()
        if row:  # a blank line is no record
            yield row, raw, _TOO_LONG if cut else _fault(row, width)


def _fault(row: list[str], width: int) -> str:
    if len(row) != width:
        return f"expected {width} fields"
    if all(map(is_storable, row)):
        return ""
    return "expected text " + ("without NUL characters" if any("\0" in value for value in row) else _ENCODED)


def _values(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    return {name: value.strip() for name, value in zip(header, row, strict=False) if name}


def _certain(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Return what a broken record certainly says; nothing of a short one, which may be the end of another."""
    if len(row) > len(header):  # a delimiter too many has moved what stands behind it
        header = header[:1]
    elif len(row) < len(header):
        header = ()
    return {name: value for name, value in _values(header, row).items() if is_storable(value)}


def _parts(records: Iterable[Record], column: str) -> Iterator[tuple[str | int, list[Record]]]:
    """Yield records that stand together under a name, in parts if there are too many to be one message."""
    for name, members in groupby(_named(records, column), itemgetter(0)):
        found = (record for _, record in members)
        while part := list(islice(found, _MOST_IN_GROUP)):
            yield name, part


def _named(records: Iterable[Record], column: str) -> Iterator[tuple[str | int, Record]]:
    """Yield records, each with the name of its group: what it says in the column, or its number if it stands alone."""
    name: str | int = 0
    for record in records:
        said = record.values.get(column)
        if column in record.values or not record.fault or isinstance(name, int):
            name = said or record.number
        yield name, record


def _converted(group: Sequence[Record], convert: Callable[[Sequence[Record]], Fact]) -> Fact | Refusal:
    fault = next((record.fault for record in group if record.fault), "")
    try:
        if not fault:
            return convert(group)
    except PayloadError as error:
        fault = str(error)
    first, last = group[0].number, group[-1].number
    where = f"record {first}" if first == last else f"records {first} to {last}"
    return Refusal(f"{where}: {fault}", b"".join(record.raw for record in group))
