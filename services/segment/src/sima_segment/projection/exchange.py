"""Memberships on their way between PostgreSQL and DuckDB: people as bytes there, as Arrow UUIDs here."""

from collections.abc import Sequence

import pyarrow as pa

from sima_segment.projection.pages import KEY

#: Who is in which segment.
MEMBERSHIPS = pa.schema([("segment", pa.string()), ("person", pa.uuid())])
#: No people.
NOBODY = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([], KEY))


def people(column: pa.Array) -> list[bytes]:
    """Return the ids of people."""
    return list(column.storage.to_pylist())


def memberships(rows: Sequence[tuple[str, bytes]]) -> pa.Table:
    """Return (segment, person) as a table."""
    segments, found = zip(*rows, strict=True) if rows else ((), ())
    return _table(pa.array(segments, pa.string()), found)


def members(segment: str, found: Sequence[bytes]) -> pa.Table:
    """Return the members of one segment as a table."""
    return _table(pa.repeat(segment, len(found)), found)


def differences(table: pa.Table) -> list[tuple[str, bytes, bool]]:
    """Return (segment, person, whether they entered) of a table of differences."""
    segment, person, entered = (column.combine_chunks() for column in table.columns)
    return list(zip(segment.to_pylist(), people(person), entered.to_pylist(), strict=True))


def _table(segments: pa.Array, found: Sequence[bytes]) -> pa.Table:
    return pa.table([segments, pa.ExtensionArray.from_storage(pa.uuid(), pa.array(found, KEY))], MEMBERSHIPS)
