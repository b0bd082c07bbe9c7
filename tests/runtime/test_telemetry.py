"""The lag of a feed tells how far its slowest reader is behind."""

import asyncio
from contextlib import aclosing

from sima_runtime.database import execute
from sima_runtime.telemetry import FeedLag

from .conftest import Numbers, eventually


def lag(numbers: Numbers) -> float | None:
    """Seconds that the slowest reader of the feed is behind."""
    return numbers.feed.lag.seconds()


async def test_lag_grows_while_a_reader_does_not_read(numbers: Numbers, workspace: str) -> None:
    """Nobody reads: no lag; somebody has stopped reading: it grows; they have caught up: it is small again."""
    assert lag(numbers) is None
    async with aclosing(numbers.feed.pages("", numbers.read(workspace), workspace=workspace)) as pages:
        await anext(pages)
        async with numbers.database.transaction() as connection:
            await numbers.write(connection, workspace, 1)
        await asyncio.sleep(1.0)
        behind = lag(numbers)
        assert behind is not None
        assert behind >= 1.0
        reading = asyncio.create_task(read_on(pages))

        async def has_caught_up() -> bool:
            now = lag(numbers)
            return now is not None and now < 0.5

        await eventually(has_caught_up)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert lag(numbers) is None


async def read_on(pages: object) -> None:
    """Read until cancelled."""
    async for _ in pages:  # type: ignore[attr-defined]
        pass


async def test_lag_counts_rows_that_wait_for_an_old_transaction(numbers: Numbers, workspace: str) -> None:
    """Rows that a forgotten transaction holds back are lag too, though the reader reads all the time."""
    async with numbers.database.transaction() as old:
        await execute(old, "SELECT pg_current_xact_id()")
        pages = numbers.feed.pages("", numbers.read(workspace), workspace=workspace)
        reading = asyncio.create_task(read_on(pages))

        async def lags() -> bool:
            return (lag(numbers) or 0) >= 0.9

        await eventually(lags)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await pages.aclose()


def test_slowest_reader_counts() -> None:
    """Of several readers the one that is furthest behind is told."""
    feed = FeedLag("example")
    with feed.reader() as slow, feed.reader() as fast:
        slow.delivered_until -= 100
        fast.delivered_until -= 1
        first = feed.seconds()
        assert first is not None
        assert first >= 100
