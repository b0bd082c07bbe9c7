"""Does what is left for later beside all calls, one workspace after the other, so that none holds up the others."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from sima_runtime.database import Database, Driver
from sima_runtime.supervision import report_crash

from sima_identity.grouping import OvertakenError, begun_anew
from sima_identity.store import graph
from sima_identity.store.turns import Turn, try_turn

# New evidence about a neighbourhood waits while it is grouped, and with it all that is new in the workspace. So between
# two groupings calls have this many times as long as the one before took. And counting is only a part of all work.
_REST = 3
# Where somebody else has the turn.
_MOMENT_SECONDS = 0.2
# A workspace whose work failed rests a second, and each time it fails again twice as long, so many times.
_DOUBLED = 6
# Meanwhile there may be something new to do for others.
_LONGEST_NAP_SECONDS = 0.5


class _NotItsTurnError(Exception):
    """Somebody else has the turn, and may have it for long."""


class _Standing(NamedTuple):
    """Until when a workspace rests, how often its work failed in a row, and whether another was faster at last."""

    rests_until: float = 0.0
    failures: int = 0
    overtaken: bool = False


_NEW = _Standing()

# Chooses a workspace with something to do, and what else says what that is.
Choose = Callable[[Driver, Turn], Awaitable[tuple[Any, ...] | None]]

# Does so, and may return what is to be called once the transaction is through.
Work = Callable[..., Awaitable[Callable[[], None] | None]]


class Rounds:
    """Goes round the workspaces, from the one behind the last. Every process goes round by itself."""

    def __init__(
        self, database: Database, choose: Choose, work: Work, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            choose: Chooses a workspace, which nobody else works at meanwhile, and says what to do: `(workspace, ...)`.
            work: Does so, in the same transaction: `work(connection, workspace, ...)`; what it returns, if anything, is
                called once that is through.
            clock: Tells the time in seconds.
        """
        self._database, self._choose, self._work, self._clock = database, choose, work, clock
        self._last = ""
        self._standings: dict[str, _Standing] = {}

    async def go_on(self) -> bool:
        """Do something for the next workspace, or wait a little if all rest; False if there is nothing to do now."""
        return await self._do_next() or await self._nap()

    async def _do_next(self) -> bool:
        """Do something; whatever becomes of it concerns that workspace alone, unless none could be chosen."""
        workspace, began, after = "", 0.0, None
        try:
            async with self._database.transaction() as connection:
                await graph.take_time(connection)
                task = await self._choose(connection, Turn(self._last, self._resting()))
                if task is None:
                    return False
                workspace, began = task[0], self._clock()
                self._last = workspace
                await self._take_turn(connection, workspace)
                after = await self._work(connection, *task)
        except _NotItsTurnError:
            self._rest(workspace, _MOMENT_SECONDS, overtaken=True)
        except OvertakenError:
            begun_anew.add(1)
            self._rest(workspace, self._since(began), overtaken=True)
        except Exception:
            if not workspace:
                raise
            self._fail(workspace, self._since(began))
        else:
            self._rest(workspace, self._since(began))
            if after is not None:
                after()
        return True

    async def _take_turn(self, connection: Driver, workspace: str) -> None:
        """Be the only one, where another was faster before; whoever has the turn now is not waited for."""
        if self._standing(workspace).overtaken and not await try_turn(connection, workspace):
            raise _NotItsTurnError

    def _standing(self, workspace: str) -> _Standing:
        return self._standings.get(workspace, _NEW)

    def _since(self, began: float) -> float:
        """How long to rest behind what began then."""
        return _REST * (self._clock() - began)

    def _rest(self, workspace: str, seconds: float, *, failures: int = 0, overtaken: bool = False) -> None:
        self._standings[workspace] = _Standing(self._clock() + seconds, failures, overtaken)

    def _fail(self, workspace: str, least: float) -> None:
        """Have a workspace rest whose work failed just now, and say so."""
        _, failures, overtaken = self._standing(workspace)
        seconds = max(least, 2.0 ** min(failures, _DOUBLED))
        self._rest(workspace, seconds, failures=failures + 1, overtaken=overtaken)
        report_crash(self._work, seconds, workspace=workspace)

    def _resting(self) -> list[str]:
        """Return who rests, and forget whoever has had nothing to do for as long as the longest rest."""
        now = self._clock()
        forgotten = now - 2.0**_DOUBLED
        self._standings = {own: each for own, each in self._standings.items() if each.rests_until > forgotten}
        return [own for own, each in self._standings.items() if each.rests_until > now]

    async def _nap(self) -> bool:
        """Sleep until one has rested whose work did not fail, for there may be more to do; False if none rests so."""
        now = self._clock()
        rests = [each.rests_until - now for each in self._standings.values() if not each.failures]
        if not (left := [rest for rest in rests if rest > 0]):
            return False
        await asyncio.sleep(min(*left, _LONGEST_NAP_SECONDS))
        return True
