"""Reads a feed ahead into a bounded buffer, so that what arrives during one piece of work is ready for the next."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Generic, TypeVar

from sima_runtime.errors import RetryLaterError

from sima_segment.inputs import Page
from sima_segment.projection.pages import BYTES_AT_ONCE

P = TypeVar("P", bound=Page)

#: Opens a feed behind a cursor.
OpenFeed = Callable[[str], AsyncGenerator[P, None]]

#: Pages held before the feed has to wait, unless they are large.
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
        #: Everything of before this instant was read, though it need not be taken yet. None: not known.
        self.complete_until: datetime | None = None
        self._open = open_feed
        self._news = news
        self._pages: list[P] = []
        self._size = 0
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def start(self, cursor: str) -> None:
        """Begin to read behind a cursor."""
        self._room.set()
        self._reading = asyncio.create_task(self._read(cursor))
        self._reading.add_done_callback(lambda _: self._news.set())

    def take(self) -> list[P]:
        """Return the pages that are there; once there is none, raise what ended the reading."""
        pages, self._pages, self._size = self._pages, [], 0
        self._room.set()
        if not pages and self._reading is not None and self._reading.done():
            self._reading.result()
        return pages

    async def stop(self) -> None:
        """Stop reading, and forget what was not taken."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # what ended it is met again by whoever goes on
        self.complete_until = None
        self.take()

    async def _read(self, cursor: str) -> None:
        while True:
            # The other service is away for a moment, or ended the stream because it stops.
            with suppress(RetryLaterError):
                async with aclosing(self._open(cursor)) as pages:
                    async for page in pages:
                        await self._room.wait()
                        self._put(page)
                        cursor = page.cursor
            await asyncio.sleep(_PAUSE_SECONDS)

    def _put(self, page: P) -> None:
        self.complete_until = page.complete_until or self.complete_until
        self._pages.append(page)
        self._size += page.size()
        if len(self._pages) >= _MOST_PAGES or self._size >= BYTES_AT_ONCE:
            self._room.clear()
        self._news.set()
