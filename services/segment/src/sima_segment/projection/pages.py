"""Pages of the two feeds as Arrow tables, with keys and ids as UUIDs and times without zone (they are UTC)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

KEY = pa.binary(16)
TIME = pa.timestamp("us")

#: What the projection reads of the identity feed; `profile` is empty when the identifier has none, or is a company's.
CHANGES = pa.schema(
    [
        ("key", KEY),
        ("profile", pa.string()),
        ("shared", pa.bool_()),
        ("blocked", pa.bool_()),
        ("account", pa.bool_()),
    ]
)
#: What it reads of the three relations of the fact feed, and of what was withdrawn from it.
EVENTS = pa.schema(
    [
        ("id", KEY),
        ("keys", pa.list_(KEY)),
        ("name", pa.string()),
        ("occurred_at", pa.timestamp("us", "UTC")),
        ("properties", pa.binary()),
    ]
)
OBSERVATIONS = pa.schema(
    [
        ("id", KEY),
        ("keys", pa.list_(KEY)),
        ("trait", pa.string()),
        ("value", pa.string()),
        ("type", pa.string()),
        ("source", pa.string()),
        ("method", pa.string()),
        ("observed_at", pa.timestamp("us", "UTC")),
        ("confidence", pa.float64()),
    ]
)
CONSENTS = pa.schema(
    [
        ("id", KEY),
        ("keys", pa.list_(KEY)),
        ("purpose", pa.string()),
        ("granted", pa.bool_()),
        ("stated_at", pa.timestamp("us", "UTC")),
    ]
)
RETRACTIONS = pa.schema([("id", KEY), ("relation", pa.string())])

#: So many bytes of pages are gathered, besides the last one. Arrow cannot join texts of more than two gigabytes.
BYTES_AT_ONCE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes of the grouping, in order, where to go on, and up to when that is all that was made."""

    changes: pa.Table
    cursor: str
    complete_until: datetime | None = None

    def rows(self) -> int:
        """How many rows the page has."""
        return int(self.changes.num_rows)

    def size(self) -> int:
        """How many bytes the page holds."""
        return int(self.changes.get_total_buffer_size())


@dataclass(frozen=True, slots=True)
class FactPage:
    """Facts in order, where to go on, and up to when that is all that was accepted.

    Retractions concern rows of earlier pages; a row may come again after.
    """

    events: pa.Table
    observations: pa.Table
    consents: pa.Table
    retractions: pa.Table
    cursor: str
    complete_until: datetime | None = None

    def relations(self) -> Mapping[str, pa.Table]:
        """The tables under the names by which statements know them."""
        return {
            "page_events": self.events,
            "page_observations": self.observations,
            "page_consents": self.consents,
            "page_retractions": self.retractions,
        }

    def rows(self) -> int:
        """How many rows of all kinds the page has."""
        return sum(table.num_rows for table in self.relations().values())

    def size(self) -> int:
        """How many bytes the page holds."""
        return sum(table.get_total_buffer_size() for table in self.relations().values())


def joined(pages: Iterable[FactPage]) -> Iterator[FactPage]:
    """Join neighbouring pages into larger ones, which cost less; one with retractions begins a new one.

    Within a page retractions come first, so they must not meet the rows of the pages before them.
    """
    gathered: list[FactPage] = []
    for page in pages:
        if page.retractions.num_rows and gathered:
            yield _join(gathered)
            gathered = []
        gathered.append(page)
    if gathered:
        yield _join(gathered)


def _join(pages: list[FactPage]) -> FactPage:
    if len(pages) == 1:
        return pages[0]
    relations = ("events", "observations", "consents", "retractions")
    tables = {relation: pa.concat_tables([getattr(page, relation) for page in pages]) for relation in relations}
    return FactPage(**tables, cursor=pages[-1].cursor)


def for_duckdb(table: pa.Table) -> pa.Table:
    """Give ids and keys the type UUID, times no zone, JSON the type text, and number the rows in `ordinal`."""
    columns = {field.name: _converted(table.column(field.name)) for field in table.schema}
    return pa.table({"ordinal": pa.array(range(table.num_rows), pa.int64()), **columns})


def _converted(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if array.type == KEY:
        return _uuids(array)
    if pa.types.is_list(array.type) and array.type.value_type == KEY:
        return pa.ListArray.from_arrays(array.offsets, _uuids(array.values))
    if pa.types.is_timestamp(array.type):
        return array.cast(TIME)
    if pa.types.is_binary(array.type):
        return array.cast(pa.string())
    return array


def _uuids(array: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.uuid(), array)
