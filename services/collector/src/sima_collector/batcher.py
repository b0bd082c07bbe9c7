"""Group commit: facts of many requests share calls of the profile service, and each waits until its own are durable.

Durable means stored by the profile service or, while that cannot be reached, in the collector's own buffer.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sima_runtime.errors import OverloadedError, SimaError

from sima_collector.draining import Drainer
from sima_collector.facts import MOST_BYTES, MOST_FACTS, Chunk, Report
from sima_collector.ingest import Ingest
from sima_collector.metrics import count_facts
from sima_collector.store import Spool

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How calls are filled.

    Attributes:
        calls: Most calls of one workspace that are under way at once.
        linger_seconds: How long facts wait for company while another call is under way.
        waiting_bytes: How many bytes of one workspace may wait for a call; beyond them no further payload is taken.
    """

    calls: int = 4
    linger_seconds: float = 0.005
    waiting_bytes: int = 64 << 20


@dataclass(eq=False, slots=True)
class _Item:
    chunk: Chunk
    future: asyncio.Future[Report]

    def answer(self, outcome: Report | Exception) -> None:
        if self.future.done():  # nobody waits any more
            return
        if isinstance(outcome, Report):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)


class Batcher:
    """Takes chunks of facts and returns when they are durable."""

    def __init__(self, ingest: Ingest, spool: Spool, drainer: Drainer, limits: BatchLimits) -> None:
        self._ingest, self._spool, self._drainer, self.limits = ingest, spool, drainer, limits
        self._lanes: dict[str, _Lane] = {}

    async def deliver(self, chunks: Sequence[Chunk]) -> Report:
        """Make facts durable and say what became of them.

        Raises:
            OverloadedError: Too many facts wait already; or the profile service cannot be reached and the buffer is
                full: some facts may be durable then.
        """
        loop = asyncio.get_running_loop()
        items = [_Item(chunk, loop.create_future()) for chunk in chunks]
        for workspace in {chunk.workspace for chunk in chunks}:
            self._lane(workspace).require_room()
        for item in items:
            self._lane(item.chunk.workspace).add(item)
        report = Report()
        for outcome in await asyncio.gather(*(item.future for item in items), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            report.add(outcome)
        return report

    async def flush(self) -> None:
        """Wait until nothing is on the way any more."""
        while running := [task for lane in self._lanes.values() for task in lane.running]:
            await asyncio.wait(running)

    def _lane(self, workspace: str) -> "_Lane":
        if workspace not in self._lanes:
            self._lanes[workspace] = _Lane(workspace, self)
        return self._lanes[workspace]

    async def send(self, workspace: str, items: Sequence[_Item]) -> None:
        """Send one call's worth of facts, or buffer them; every item is answered afterwards, whatever happens."""
        try:
            if self._drainer.blocked(workspace) or not await self._sent(workspace, items):
                await self._buffer(workspace, items)
        finally:
            for item in items:
                item.answer(OverloadedError("delivery"))

    async def _sent(self, workspace: str, items: Sequence[_Item]) -> bool:
        try:
            reports = await self._ingest.send(workspace, [item.chunk for item in items])
        except SimaError as error:
            _log.warning("ingest_failed", workspace=workspace, error=str(error))
            return False
        except Exception:  # noqa: BLE001 - whatever it was, nothing is known to be stored
            _log.exception("ingest_crashed", workspace=workspace)
            return False
        for item, report in zip(items, reports, strict=True):
            item.answer(report)
        return True

    async def _buffer(self, workspace: str, items: Sequence[_Item]) -> None:
        await asyncio.gather(*(self._put(item) for item in items))
        self._drainer.wake(workspace)

    async def _put(self, item: _Item) -> None:
        try:
            await self._spool.put([item.chunk])
        except Exception as error:  # noqa: BLE001 - its own caller gets it
            item.answer(error)
        else:
            count_facts(item.chunk, "buffered", item.chunk.facts)
            item.answer(Report(buffered=item.chunk.facts))


class _Lane:
    """The facts of one workspace that wait for a call, and its calls under way."""

    def __init__(self, workspace: str, batcher: Batcher) -> None:
        self.workspace, self._batcher = workspace, batcher
        self.running: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Item] = deque()
        self._facts = self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def require_room(self) -> None:
        """Complain if too much waits already; a payload that is let in may be of any size.

        Raises:
            OverloadedError: It does.
        """
        if self._bytes >= self._batcher.limits.waiting_bytes:
            self._forget_gone()
        if self._bytes >= self._batcher.limits.waiting_bytes:
            raise OverloadedError("memory for facts")

    def add(self, item: _Item) -> None:
        """Let a chunk wait for the next call."""
        self._waiting.append(item)
        self._count(item.chunk, 1)
        if self._facts >= MOST_FACTS:
            self._start_calls()
        elif self._timer is None:
            # Requests of the same moment share a call even when none is under way.
            linger = self._batcher.limits.linger_seconds if self.running else 0
            self._timer = asyncio.get_running_loop().call_later(linger, self._start_calls)

    def _start_calls(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(self.running) < self._batcher.limits.calls and (items := self._take()):
            task = asyncio.create_task(self._batcher.send(self.workspace, items))
            self.running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("delivery_crashed", workspace=self.workspace, exc_info=error)
        self._start_calls()

    def _take(self) -> list[_Item]:
        self._forget_gone()
        taken: list[_Item] = []
        facts = size = 0
        while self._waiting:
            chunk = self._waiting[0].chunk
            facts, size = facts + chunk.facts, size + len(chunk.data)
            if taken and (facts > MOST_FACTS or size > MOST_BYTES):
                break
            taken.append(self._waiting.popleft())
            self._count(chunk, -1)
        return taken

    def _forget_gone(self) -> None:
        """Drop what nobody waits for any more: its sender was told to come again."""
        for item in self._waiting:
            if item.future.done():
                self._count(item.chunk, -1)
        self._waiting = deque(item for item in self._waiting if not item.future.done())

    def _count(self, chunk: Chunk, sign: int) -> None:
        self._facts += sign * chunk.facts
        self._bytes += sign * len(chunk.data)
