"""Reads a feed ahead into a bounded buffer, so that what arrives during one piece of work is ready for the next."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from sima_runtime.errors import RetryLaterError

from sima_segment.inputs import Page

P = TypeVar("P", bound=Page)

#: Opens a feed behind a cursor.
OpenFeed = Callable[[str], AsyncIterator[P]]

#: Pages held before the feed has to wait.
_MOST_PAGES = 64
_PAUSE_SECONDS = 0.5


class Tail(Generic[P]):
    """The newest pages of one feed."""

    def __init__(self, open_feed: OpenFeed[P], news: asyncio.Event) -> None:
        """Set up; `start` begins to read.

        Args:
            open_feed: Opens the feed behind a cursor; it goes on with what is new.
            news: Set whenever there is a page, or reading has ended with an error.
        """
        self._open = open_feed
        self._news = news
        self._pages: asyncio.Queue[P] = asyncio.Queue(_MOST_PAGES)
        self._reading: asyncio.Task[None] | None = None

    def start(self, cursor: str) -> None:
        """Begin to read behind a cursor."""
        self._reading = asyncio.create_task(self._read(cursor))
        self._reading.add_done_callback(lambda _: self._news.set())

    def take(self) -> list[P]:
        """Return the pages that are there; once there is none, raise what ended the reading."""
        pages = [self._pages.get_nowait() for _ in range(self._pages.qsize())]
        if not pages and self._reading is not None and self._reading.done():
            self._reading.result()
        return pages

    async def stop(self) -> None:
        """Stop reading, and forget what was not taken."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        self.take()

    async def _read(self, cursor: str) -> None:
        while True:
            # The other service is away for a moment, or ended the stream because it stops.
            with suppress(RetryLaterError):
                async for page in self._open(cursor):
                    await self._pages.put(page)
                    self._news.set()
                    cursor = page.cursor
            await asyncio.sleep(_PAUSE_SECONDS)
