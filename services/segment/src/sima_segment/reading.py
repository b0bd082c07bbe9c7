"""Reads the two feeds for one projection: ahead of the steps while it keeps up, in large batches while it is behind."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import TypeVar

from sima_runtime.errors import DeadlineExceededError

from sima_segment.inputs import Facts, Grouping, Page
from sima_segment.projection import ChangePage, FactPage, Position
from sima_segment.projection.pages import BYTES_AT_ONCE
from sima_segment.tails import Tail

P = TypeVar("P", bound=Page)
#: Pages of both feeds.
Batch = tuple[list[ChangePage], list[FactPage]]

#: Rows that a projection takes in at once while it is behind, unless they are large.
_ROWS_AT_ONCE = 50_000


class Reading:
    """Both feeds of one workspace."""

    def __init__(self, workspace: str, facts: Facts, grouping: Grouping) -> None:
        #: Set whenever there is something to take.
        self.news = asyncio.Event()
        self._facts = partial(facts.pages, workspace)
        self._grouping = partial(grouping.pages, workspace)
        self._new_facts = Tail(partial(self._facts, until_now=False), self.news)
        self._new_changes = Tail(partial(self._grouping, until_now=False), self.news)

    @property
    def complete_until(self) -> datetime | None:
        """Up to when what was taken, and what `take` would return now, is all that there is. None: not known."""
        facts, changes = self._new_facts.complete_until, self._new_changes.complete_until
        return None if facts is None or changes is None else min(facts, changes)

    def follow(self, position: Position) -> None:
        """Begin to read ahead of a position."""
        self._new_facts.start(position.facts)
        self._new_changes.start(position.changes)

    def take(self) -> Batch:
        """Return what arrived; raises what ended the reading."""
        self.news.clear()
        facts = self._new_facts.take()
        return self._new_changes.take(), facts

    async def stop(self) -> None:
        """Stop reading ahead, and forget what was not taken."""
        await asyncio.gather(self._new_facts.stop(), self._new_changes.stop())

    async def behind(self, position: Position, seconds: float | None) -> AsyncIterator[Batch]:
        """Yield everything that was accepted before this call and lies behind a position.

        The grouping comes last, so that it knows the identifiers of all the facts. To an empty projection it comes
        first, too: rows that get their person at once need not be moved later.

        Args:
            position: Where to go on.
            seconds: How long each feed may take. None: as long as it needs.

        Raises:
            DeadlineExceededError: It took longer; what was yielded counts.
            CursorExpiredError: A feed must be read from the start.
        """
        grouped = position.changes
        if not grouped:
            async for changes in _batches(self._grouping(grouped, until_now=True, seconds=seconds)):
                grouped = changes[-1].cursor
                yield changes, []
        async for facts in _batches(self._facts(position.facts, until_now=True, seconds=seconds)):
            yield [], facts
        async for changes in _batches(self._grouping(grouped, until_now=True, seconds=seconds)):
            yield changes, []


async def _batches(pages: AsyncGenerator[P, None]) -> AsyncIterator[list[P]]:
    batch: list[P] = []
    rows = size = 0
    try:
        async with aclosing(pages):
            async for page in pages:
                batch.append(page)
                rows, size = rows + page.rows(), size + page.size()
                if rows >= _ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
                    yield batch
                    batch, rows, size = [], 0, 0
    except DeadlineExceededError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
