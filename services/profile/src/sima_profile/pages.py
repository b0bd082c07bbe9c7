"""Pages of the feed as Arrow IPC streams, because their readers are analytical engines. Pure."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_KEY_BYTES = 16
_KEY = pa.binary(_KEY_BYTES)
_KEYS = pa.list_(_KEY)
_TIME = pa.timestamp("us", tz="UTC")

EVENTS = pa.schema(
    {
        "id": _KEY,
        "keys": _KEYS,
        "name": pa.string(),
        "source": pa.string(),
        "occurred_at": _TIME,
        "received_at": _TIME,
        "properties": pa.binary(),
    }
)
OBSERVATIONS = pa.schema(
    {
        "id": _KEY,
        "keys": _KEYS,
        "trait": pa.string(),
        "value": pa.string(),
        "type": pa.string(),
        "source": pa.string(),
        "method": pa.string(),
        "observed_at": _TIME,
        "received_at": _TIME,
        "confidence": pa.float64(),
    }
)
CONSENTS = pa.schema(
    {
        "id": _KEY,
        "keys": _KEYS,
        "purpose": pa.string(),
        "granted": pa.bool_(),
        "source": pa.string(),
        "stated_at": _TIME,
        "received_at": _TIME,
    }
)
RETRACTIONS = pa.schema({"id": _KEY, "relation": pa.string(), "occurred_at": _TIME})


def warm_up() -> None:
    """Make the first array, for which the library looks for others that may take a second to load."""
    pa.array([0])


def to_arrow(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows as one Arrow IPC stream; nothing for no rows.

    Args:
        schema: One of the schemas of this module.
        rows: Values in the order of its columns; times in microseconds since 1970.
    """
    if not rows:
        return b""
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return bytes(sink.getvalue())
