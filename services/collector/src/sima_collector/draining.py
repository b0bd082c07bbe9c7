"""Empties the buffer: in order, workspace by workspace, in the background, once the profile service answers again.

A crash between an answer and its removal from the buffer sends the same facts again, and the profile service knows them
by their message identity, so each is stored once.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from sima_runtime.errors import SimaError
from sima_runtime.supervision import growing_pause, supervise

from sima_collector.facts import Chunk, Report
from sima_collector.ingest import Ingest, may_be_a_facts_fault
from sima_collector.isolation import send_apart
from sima_collector.metrics import count_refusals, drain_failures
from sima_collector.store import Spool, Spooled

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
# After so many failures of the same facts, send them in smaller calls and look for one that is to blame.
_PATIENCE = 2

_log = structlog.get_logger(__name__)


class Drainer:
    """Sends buffered facts on. Use `start`, `wake` after each buffering, and in the end `stop`."""

    def __init__(self, ingest: Ingest, spool: Spool) -> None:
        self._ingest, self._spool = ingest, spool
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken: set[str] = set()
        self._blocked: set[str] = set()

    async def start(self) -> None:
        """Go on with what an earlier process left behind."""
        for workspace in await self._spool.workspaces():
            self.wake(workspace)

    def wake(self, workspace: str) -> None:
        """Look after a workspace that has facts in the buffer."""
        self._woken.add(workspace)
        if workspace not in self._tasks:
            self._tasks[workspace] = asyncio.create_task(supervise(partial(self._drain, workspace)))

    def blocked(self, workspace: str) -> bool:
        """Whether the profile service could not be reached for a workspace the last time, and was not asked again."""
        return workspace in self._blocked

    async def idle(self) -> None:
        """Wait until the buffer is empty, except for workspaces whose facts cannot be sent on at the moment."""
        while busy := [task for workspace, task in self._tasks.items() if workspace not in self._blocked]:
            await asyncio.wait(busy, timeout=_FIRST_PAUSE)

    async def stop(self) -> None:
        """Stop; what is left stays in the buffer."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, workspace: str) -> None:
        failures, before = 0, self._ingest.succeeded(workspace)
        while workspace in self._woken:
            since, before = before, self._ingest.succeeded(workspace)
            try:
                if rows := await self._next(workspace):
                    await self._settle(workspace, rows, since if failures >= _PATIENCE else None)
            except SimaError as error:
                await self._pause(workspace, error, failures)
                failures += 1
            else:
                failures = 0
        self._blocked.discard(workspace)
        del self._tasks[workspace]

    async def _next(self, workspace: str) -> list[Spooled]:
        """Return the oldest facts; if none are left the workspace sleeps, unless it was woken in the meantime."""
        self._woken.discard(workspace)
        try:
            rows = await self._spool.head(workspace)
        except Exception:
            self._woken.add(workspace)  # who could not look does not know that nothing is left
            raise
        if rows:
            self._woken.add(workspace)
        return rows

    async def _settle(self, workspace: str, rows: Sequence[Spooled], since: int | None) -> None:
        """Send facts on.

        Args:
            workspace: Whose.
            rows: The facts.
            since: How many calls had gone well when they were tried the last time: if they fail again, they are sent in
                ever smaller calls. None: not yet.
        """
        reports = await self._send(workspace, [row.chunk for row in rows], since)
        self._blocked.discard(workspace)
        refused = [one for report in reports for one in report.refused]
        await self._spool.settle(rows, refused)
        count_refusals(refused)

    async def _send(self, workspace: str, chunks: Sequence[Chunk], since: int | None) -> list[Report]:
        try:
            return await self._ingest.send(workspace, chunks)
        except SimaError as error:
            if may_be_a_facts_fault(error):
                self._blocked.discard(workspace)
            else:
                self._blocked.add(workspace)
            if since is None:
                raise
            return [await send_apart(self._ingest, workspace, chunks, since)]

    async def _pause(self, workspace: str, error: SimaError, failures: int) -> None:
        seconds = growing_pause(_FIRST_PAUSE, _LONGEST_PAUSE, failures)
        drain_failures.add(1, {"workspace": workspace})
        _log.warning("drain_failed", workspace=workspace, error=str(error), again_in_seconds=round(seconds, 2))
        await asyncio.sleep(seconds)
