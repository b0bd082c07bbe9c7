"""Tries rules beside the loop of a workspace, over the last state that its projection made durable."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sima_runtime.errors import DependencyUnavailableError

from sima_segment.plan import Plan
from sima_segment.projection import Projection, ProjectionError, exchange
from sima_segment.threads import OneThread

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule would give: how many people, some of them, and how long it took to find out."""

    size: int
    sample: list[bytes]
    took: timedelta


class Previews:
    """One preview after the other, in a thread of their own.

    A preview for which nobody waits any more is interrupted, and the next one begins only behind its end: both use the
    same tables.
    """

    def __init__(self, projection: Projection, thread: OneThread) -> None:
        """Set up.

        Args:
            projection: The facts.
            thread: Where previews are made, and nothing else.
        """
        self._projection = projection
        self._thread = thread
        self._turn = asyncio.Lock()
        self._running: asyncio.Future[Preview] | None = None
        self._stopped = False

    async def find(self, plan: Plan, segment: str, instant: datetime, sample: int) -> Preview:
        """Say who would be in a segment of a plan.

        Raises:
            DependencyUnavailableError: The projection is being closed.
        """
        async with self._turn:
            if self._stopped:
                raise DependencyUnavailableError("segment")
            self._running = asyncio.ensure_future(self._thread(self._find, plan, segment, instant, sample))
            try:
                return await asyncio.shield(self._running)
            except asyncio.CancelledError:
                await self._interrupt()
                raise

    async def stop(self) -> None:
        """Begin no more previews, and interrupt the one that runs."""
        self._stopped = True
        await self._interrupt()

    def join(self) -> None:
        """Wait until nothing uses the projection any more; `stop` comes first."""
        self._thread.end(wait=True)

    async def _interrupt(self) -> None:
        """End what runs. It is told again and again: between two statements it does not hear."""
        while self._running is not None and not self._running.done():
            self._projection.interrupt()
            await asyncio.wait([self._running], timeout=_PAUSE_SECONDS)

    def _find(self, plan: Plan, segment: str, instant: datetime, sample: int) -> Preview:
        started = time.perf_counter()
        try:
            size, found = self._projection.preview(plan, segment, instant, sample)
        except ProjectionError:
            if self._stopped:
                raise DependencyUnavailableError("segment") from None
            raise
        return Preview(size, exchange.people(found), timedelta(seconds=time.perf_counter() - started))
