"""Pages of the feed as Arrow."""

import pyarrow as pa
from sima_profile import pages


def test_a_page_says_what_the_rows_say() -> None:
    """Keys, texts, times and properties arrive as they were stored."""
    keys = [b"k" * 16, b"l" * 16]
    row = (b"i" * 16, keys, "page_viewed", "web", 1_000_001, 2_000_002, b'{"a":1}')
    table = pa.ipc.open_stream(pages.to_arrow(pages.EVENTS, [row, row])).read_all()
    assert table.schema == pages.EVENTS
    assert table.num_rows == 2
    record = table.to_pylist()[0]
    assert (record["id"], record["keys"], record["properties"]) == (b"i" * 16, keys, b'{"a":1}')
    assert table["occurred_at"].cast(pa.int64())[0].as_py() == 1_000_001


def test_no_rows_are_no_bytes() -> None:
    """Absent means none."""
    assert pages.to_arrow(pages.CONSENTS, []) == b""
