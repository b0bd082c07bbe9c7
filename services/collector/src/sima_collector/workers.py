"""The pool of worker processes: hands payloads out, and replaces a worker that died or took too long.

A payload that is not parsed in time is refused and its worker killed. A payload at which the worker died gets one more
try, alone and in another worker, for it may have been killed from outside; then it is refused, too. What else the
worker had been given goes back to the head of the queue.
"""

import asyncio
import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import structlog
from sima_runtime.errors import FixConfigurationError, OverloadedError
from sima_runtime.supervision import supervise
from sima_sdk.connectors import Request

from sima_collector.errors import Verdict
from sima_collector.frames import Frame
from sima_collector.messages import (
    Assignment,
    Catalogue,
    Parsed,
    Rejected,
    read_outcome,
    request_frame,
)
from sima_collector.metrics import worker_ends
from sima_collector.process import Worker, WorkerDiedError, WorkerTimeoutError

#: Most payloads, and most bytes of them, that are handed to a worker at once.
_BATCH, _BATCH_BYTES = 16, 256 << 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
# How often an idle worker is looked after.
_GLANCE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How large the pool is and what it bears.

    Attributes:
        workers: How many processes there are.
        seconds: Longest time that a payload may be parsed for.
        waiting: Most payloads that wait for a worker.
    """

    workers: int = 2
    seconds: float = 5.0
    waiting: int = 1_000


@dataclass(eq=False, slots=True)
class _Job:
    source: str
    frame: Frame
    future: asyncio.Future[Parsed | Rejected]
    deaths: int = 0

    def finish(self, outcome: Parsed | Rejected) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    @property
    def size(self) -> int:
        return len(self.frame.blobs[0])


class WorkerPool:
    """Parses payloads in processes that can be killed. Use `start`, `parse` and in the end `stop`."""

    def __init__(self, assignment: Assignment, limits: PoolLimits) -> None:
        self.limits = limits
        self.catalogue = Catalogue({})
        self._assignment = assignment
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._alive: set[Worker] = set()
        self._started: list[Worker] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """How many payloads wait for a worker."""
        return len(self._jobs)

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that are ready to parse."""
        return [worker.pid for worker in self._alive]

    async def start(self) -> None:
        """Start the workers and learn from them what the plugins bring.

        Raises:
            FixConfigurationError: The plugins cannot be loaded.
        """
        starting = (Worker.start(self._assignment) for _ in range(self.limits.workers))
        found = await asyncio.gather(*starting, return_exceptions=True)  # of those that fail, none leaves others behind
        self._started = [each for each in found if isinstance(each, Worker)]
        if errors := [each for each in found if isinstance(each, BaseException)]:
            await self.stop()
            raise _explained(errors[0])
        self.catalogue = self._started[0].catalogue
        self._tasks = [asyncio.create_task(supervise(self._keep_working)) for _ in found]

    async def stop(self) -> None:
        """Kill all workers; who still waits is told that the pool is overloaded."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.kill() for worker in self._started))
        for job in self._jobs:
            if not job.future.done():
                job.future.set_exception(OverloadedError("workers"))

    async def parse(self, source: str, request: Request) -> Parsed | Rejected:
        """Have the connector of a source read a request.

        Raises:
            OverloadedError: Too many payloads are waiting.
        """
        if len(self._jobs) >= self.limits.waiting:
            raise OverloadedError("workers")
        job = _Job(source, request_frame(source, request), asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        try:
            return await job.future
        except asyncio.CancelledError:  # its body must not stay in memory longer than its caller
            with suppress(ValueError):
                self._jobs.remove(job)
            raise

    async def _keep_working(self) -> None:
        """Serve with one worker after the other, for ever."""
        while True:
            worker = self._started.pop() if self._started else await self._replacement()
            self._alive.add(worker)
            try:
                await self._serve(worker)
            finally:
                self._alive.discard(worker)
                await worker.kill()

    async def _replacement(self) -> Worker:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await Worker.start(self._assignment)
            except (FixConfigurationError, WorkerDiedError, WorkerTimeoutError, OSError):
                _log.exception("worker_not_started", again_in_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _serve(self, worker: Worker) -> None:
        """Hand out payloads until the worker has to be replaced."""
        sound = True
        while sound:
            batch = await self._take(worker)
            worker.send(*(job.frame for job in batch))
            try:
                while batch and (sound := await self._finish(worker, batch[0])):
                    batch.popleft()
            finally:
                self._give_back(batch)
            sound = sound and not worker.gone

    async def _finish(self, worker: Worker, job: _Job) -> bool:
        """Wait for what comes of a payload; says whether the worker can go on."""
        started = monotonic()
        begun = False
        try:
            begun = await worker.begun(self.limits.seconds)
            job.finish(read_outcome(await worker.receive(self.limits.seconds)))
        except WorkerTimeoutError:
            if begun:  # else it waits for another worker, as long as its caller waits for it
                job.finish(Rejected(Verdict.FAILED, f"reading it took longer than {self.limits.seconds:g} s"))
            self._report("time_limit", job, started)
        except WorkerDiedError:
            job.deaths += begun
            if job.deaths > 1:
                job.finish(Rejected(Verdict.FAILED, "reading it ended the worker process"))
            self._report("death", job, started)
        else:
            return True
        return False

    def _report(self, cause: str, job: _Job, started: float) -> None:
        worker_ends.add(1, {"cause": cause})
        _log.warning("worker_replaced", cause=cause, source=job.source, seconds=round(monotonic() - started, 3))

    async def _take(self, worker: Worker) -> deque[_Job]:
        """Wait for payloads and take this worker's share, in the order of arrival; none if the worker is gone."""
        batch: deque[_Job] = deque()
        while not (batch or worker.gone):
            if not self._jobs:
                self._arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), _GLANCE_SECONDS)
            share = math.ceil(len(self._jobs) / self.limits.workers)
            self._fill(batch, min(share, _BATCH))
        return batch

    def _fill(self, batch: deque[_Job], most: int) -> None:
        size = 0
        while self._jobs and len(batch) < most:
            job = self._jobs[0]
            size += job.size
            if batch and (size > _BATCH_BYTES or job.deaths):
                return
            self._jobs.popleft()
            if not job.future.done():  # else its caller is gone
                batch.append(job)
            if job.deaths:
                return

    def _give_back(self, batch: deque[_Job]) -> None:
        self._jobs.extendleft(job for job in reversed(batch) if not job.future.done())
        if batch:
            self._arrived.set()


def _explained(error: BaseException) -> BaseException:
    """Return what to raise for a worker that did not start."""
    if isinstance(error, WorkerDiedError | WorkerTimeoutError | OSError):
        return FixConfigurationError(f"a worker could not be started ({type(error).__name__})")
    return error
