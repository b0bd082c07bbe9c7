"""Imports files through pull connectors, page by page, each in a worker process of its own.

A page's checkpoint is stored once its facts are durable. The same file sent to the same source again goes on behind
the last one; a file that was finished begins anew, and all its facts are duplicates then.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sima_runtime.errors import OverloadedError

from sima_collector.errors import PayloadRejectedError, Verdict
from sima_collector.facts import ConfiguredSource, Refused, Report
from sima_collector.frames import Frame
from sima_collector.keeper import Keeper
from sima_collector.messages import Assignment, Parsed, Rejected, read_outcome
from sima_collector.process import Worker, WorkerDiedError, WorkerTimeoutError
from sima_collector.store import Checkpoint, Checkpoints

# How long a page waits for room before the import stops and leaves it to its caller to go on.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 60.0, 0.5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: what became of its facts up to now, those of earlier attempts included."""

    totals: Mapping[str, int]
    resumed: bool
    done: bool = False


class Importer:
    """Runs imports."""

    def __init__(self, assignment: Assignment, keeper: Keeper, checkpoints: Checkpoints, most: int) -> None:
        """Prepare for at most `most` imports at once; the assignment's time limit holds for each page."""
        self._assignment, self._keeper, self._checkpoints = assignment, keeper, checkpoints
        self._free = most
        self._stopping = False

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Reserve a place for one import, from its upload on.

        Raises:
            OverloadedError: Too many imports run already.
        """
        if not self._free or self._stopping:
            raise OverloadedError("imports")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def stop(self) -> None:
        """Let running imports end behind the page that they are at."""
        self._stopping = True

    async def run(self, configured: ConfiguredSource, file: Path, digest: bytes) -> AsyncGenerator[Progress]:
        """Import a file, yielding after each page and at the end.

        Args:
            configured: The source whose connector reads it.
            file: The file; its name counts, too.
            digest: Hash of its content.

        Raises:
            PayloadRejectedError: The connector cannot read the file, or not beyond the last page.
            OverloadedError: There is no room for the facts, or the collector stops.
        """
        key = _key(configured, file.name, digest)
        begun = await self._checkpoints.get(key)
        totals = Counter(json.loads(begun.totals)) if begun else Counter(Report().counts())
        worker = await self._worker()
        try:
            position = begun.position if begun else ""
            worker.send(Frame({"source": configured.name, "file": str(file), "checkpoint": position}))
            while not (page := await self._page(worker, configured, file)).last:
                worker.send(Frame())  # the next page is read while this one is stored
                totals.update((await self._kept(page)).counts())
                if page.checkpoint:
                    await self._checkpoints.put(key, Checkpoint(page.checkpoint, json.dumps(totals)))
                yield Progress(dict(totals), begun is not None)
        finally:
            await worker.kill()
        await self._checkpoints.finish(key)
        yield Progress(dict(totals), begun is not None, done=True)

    async def _worker(self) -> Worker:
        try:
            return await Worker.start(self._assignment)
        except (WorkerDiedError, WorkerTimeoutError, OSError):
            raise OverloadedError("workers") from None

    async def _page(self, worker: Worker, configured: ConfiguredSource, file: Path) -> Parsed:
        try:
            outcome = read_outcome(await worker.receive(self._assignment.seconds))
        except WorkerTimeoutError:
            outcome = Rejected(Verdict.FAILED, f"reading a page took longer than {self._assignment.seconds:g} s")
        except WorkerDiedError:
            outcome = Rejected(Verdict.FAILED, "reading a page ended the worker process")
        if isinstance(outcome, Parsed):
            return outcome
        # The file stays with its sender; the refusal tells the administrator that there was one.
        text = f"file {file.name}".encode()
        note = Refused(configured.workspace, configured.name, outcome.reason, text, read=True)
        await self._keeper.refuse([note])
        raise PayloadRejectedError(outcome.verdict, outcome.reason)

    async def _kept(self, page: Parsed) -> Report:
        """Make a page durable, waiting for room if need be."""
        if self._stopping:
            raise OverloadedError("imports")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._keeper.keep(page)
            except OverloadedError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)


def _key(configured: ConfiguredSource, name: str, digest: bytes) -> bytes:
    """Name an import: other options, or another region, may read the same file otherwise, so they begin anew."""
    source = configured.source
    told = [sorted(source.options.items()), source.default_region]
    identity = [configured.workspace, configured.name, configured.connector, *told, name, digest.hex()]
    return hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).digest()
