"""Keeps the memberships of one workspace true while facts arrive, people are joined and time passes.

Everything that touches the state of a workspace is done by one task, one piece after the other: steps that take in what
arrived, and what calls ask for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from sima_runtime.database import Database
from sima_runtime.errors import (
    CursorExpiredError,
    DeadlineExceededError,
    DependencyUnavailableError,
    InvalidFieldsError,
    RetryLaterError,
    SimaError,
)
from sima_runtime.supervision import growing_pause

from sima_segment import metrics
from sima_segment.inputs import Facts, Grouping
from sima_segment.projection import ProjectionError, discard, is_broken
from sima_segment.reading import Reading
from sima_segment.rulebook import RuleBook
from sima_segment.settings import SegmentSettings
from sima_segment.state import State, opened
from sima_segment.store import OutpacedError

T = TypeVar("T")

#: A broken projection fails so often, without so long a time of good work between, before it is built again.
_MOST_FAILURES = 3
_GOOD_WORK_SECONDS = 600.0

# Seconds, behind another process that was faster.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the loops of all workspaces share.

    Attributes:
        database: The schema `segment`.
        facts: The feed of facts.
        grouping: The feed of the grouping.
        rules: Reads rules.
        settings: All settings.
        clock: Tells the instant of evaluation, with time zone.
    """

    database: Database
    facts: Facts
    grouping: Grouping
    rules: RuleBook
    settings: SegmentSettings
    clock: Callable[[], datetime]


class Live:
    """The loop of one workspace. `run` is a background task; the other methods are for calls."""

    def __init__(self, workspace: str, around: Surroundings) -> None:
        self.workspace = workspace
        #: Up to when the facts that the stored memberships show are known to be all. None: not known yet.
        self.as_of: datetime | None = None
        #: Segments whose members stay as they were, because their rules are not understood any more.
        self.frozen: frozenset[str] = frozenset()
        self._around = around
        self._settings = around.settings
        self._path = around.settings.data_dir / f"{workspace}.duckdb"
        self._reading = Reading(workspace, around.facts, around.grouping)
        self._requests: list[Request] = []
        self._asked = asyncio.Event()
        self._ready_since: float | None = None
        self._complete_until: datetime | None = None
        self._began_at = around.clock()
        metrics.workspaces.watch(self)
        self._failures = self._outpaced = 0

    def behind(self) -> timedelta:
        """How long ago everything was last worked off; before the first time, when this process began with it."""
        return self._around.clock() - (self.as_of or self._began_at)

    async def ask(self, work: Callable[[State], Awaitable[T]]) -> T:
        """Have something done between two steps, when everything accepted before this call is worked off.

        Raises:
            RetryLaterError: Another service, or this loop, cannot go on at the moment.
            SimaError: What `work` raises.
        """
        request = Request(work)
        self._requests.append(request)
        self._asked.set()
        self._reading.news.set()
        loop = asyncio.get_running_loop()
        patience = loop.call_later(self._settings.start_seconds, self._lose_patience, request)
        try:
            answer: T = await request.answer
            return answer
        finally:
            patience.cancel()
            if request in self._requests:  # whoever asked waits no more
                self._requests.remove(request)

    async def run(self) -> None:
        """Follow the workspace until cancelled."""
        try:
            while True:
                await self._begin()
        finally:
            while self._requests:
                self._requests.pop().refuse()

    async def _begin(self) -> None:
        """Follow until something happens after which one can begin again at once."""
        try:
            await self._follow()
        except (CursorExpiredError, InvalidFieldsError):  # also one that the feeds do not understand any more
            _log.warning("projection_outdated", workspace=self.workspace)
            discard(self._path)
        except OutpacedError:
            _log.warning("another_process_was_faster", workspace=self.workspace)
            # Longer each time, or the two would overtake each other for ever.
            pause = growing_pause(_FIRST_PAUSE, _LONGEST_PAUSE, self._outpaced)
            self._outpaced += 1
            await asyncio.sleep(self._settings.step_seconds + pause)
        except ProjectionError as error:
            if is_broken(error):
                self._count_failure()
            raise
        finally:
            self._ready_since = None

    def _count_failure(self) -> None:
        """Note that the projection is broken; throw it away if that is no single case."""
        since = self._ready_since
        worked_well = since is not None and time.monotonic() - since > _GOOD_WORK_SECONDS
        self._failures = 1 if worked_well else self._failures + 1
        if self._failures >= _MOST_FAILURES:
            _log.exception("projection_discarded", workspace=self.workspace)
            discard(self._path)
            self._failures = 0

    def _lose_patience(self, request: "Request") -> None:
        """Refuse what was asked for while the loop is still starting, which may take long."""
        if self._ready_since is None:
            request.refuse()

    async def _follow(self) -> None:
        around = self._around
        configuration = self._settings.configuration()
        async with opened(self.workspace, self._path, configuration, around.database, around.clock) as state:
            await state.load(around.rules)
            await self._catch_up(state, None)
            await self._settle(state)
            self._reading.follow(state.position)
            self._ready_since = time.monotonic()
            try:
                while True:
                    await self._turn(state)
                    self._outpaced = 0
            finally:
                await self._reading.stop()

    async def _turn(self, state: State) -> None:
        """Wait for something to do, and do it."""
        next_step = asyncio.get_running_loop().time() + self._settings.step_seconds
        await self._wait()
        self._asked.clear()
        requests, self._requests = [each for each in self._requests if not each.answer.done()], []
        try:
            if not requests:
                await self._take_in_news(state)
            elif not await self._caught_up(state, requests):
                requests = []
            await self._settle(state)
            for request in requests:
                await request.do(state)
                self._show_frozen(state)
            if not requests:
                await self._rest(next_step)
        except OutpacedError:  # the requests are put to the state that is read anew
            self._requests, requests = [*requests, *self._requests], []
            raise
        finally:
            for request in requests:
                request.refuse()

    async def _wait(self) -> None:
        if not self._requests:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.tick_seconds):
                    await self._reading.news.wait()

    async def _rest(self, until: float) -> None:
        """Let what arrives gather until an instant of the loop's clock, unless something is asked for."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._asked.wait()

    async def _take_in_news(self, state: State) -> None:
        complete_until = self._reading.complete_until
        await state.take_in(self._reading.take())
        if complete_until is not None:
            self._note_complete(complete_until)

    async def _caught_up(self, state: State, requests: list["Request"]) -> bool:
        """Take in all that was accepted before the requests; tells them if that is not possible."""
        taken = None
        try:
            taken = await self._catch_up(state, self._settings.catch_up_seconds)
        except RetryLaterError as error:
            for request in requests:
                request.fail(error)
            return False
        finally:
            if taken != 0:  # or unknown: what was read ahead may be the same
                await self._reading.stop()
                self._reading.follow(state.position)
        return True

    async def _catch_up(self, state: State, seconds: float | None) -> int:
        """Take in all that was accepted so far, within so many seconds if there is a limit.

        Returns:
            How many rows that was.
        """
        taken, began_at = 0, self._around.clock()
        try:
            async for batch in self._reading.behind(state.position, seconds):
                await state.take_in(batch)
                taken += sum(page.rows() for pages in batch for page in pages)
                if seconds is None:
                    _log.info("catching_up", workspace=self.workspace, rows=taken)
        except DeadlineExceededError:
            _log.warning("catching_up_takes_long", workspace=self.workspace, seconds=seconds)
        else:
            self._note_complete(began_at)
        return taken

    def _note_complete(self, until: datetime) -> None:
        """Note up to when all was read; who said so before, by another clock, may have known of a later instant."""
        self._complete_until = max(until, self._complete_until or until)

    async def _settle(self, state: State) -> None:
        await state.settle()
        self._show_frozen(state)
        if (instant := state.position.instant) is not None and self._complete_until is not None:
            self.as_of = min(instant, self._complete_until)

    def _show_frozen(self, state: State) -> None:
        self.frozen = frozenset(state.plan.frozen)


class Request:
    """Something that a call wants done, and its answer."""

    def __init__(self, work: Callable[[State], Awaitable[Any]]) -> None:
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._work = work

    async def do(self, state: State) -> None:
        """Do it, if somebody waits for it still.

        What went wrong goes to the caller; a surprise ends the loop too, for the state may be broken.
        """
        if self.answer.done():
            return
        try:
            result = await self._work(state)
        except SimaError as error:
            self.fail(error)
        else:
            if not self.answer.done():
                self.answer.set_result(result)

    def refuse(self) -> None:
        """Answer that it cannot be done at the moment, unless there is an answer."""
        self.fail(DependencyUnavailableError("segment"))

    def fail(self, error: Exception) -> None:
        """Answer with an exception, unless there is an answer or nobody waits for it any more."""
        if not self.answer.done():
            self.answer.set_exception(error)
