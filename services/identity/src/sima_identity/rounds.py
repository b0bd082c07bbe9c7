"""Does what is left for later beside all calls, one workspace after the other, so that none holds up the others."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from sima_runtime.database import Database, Driver

from sima_identity.grouping import OvertakenError, begun_anew
from sima_identity.store import graph
from sima_identity.store.turns import Turn, take_turn

# A workspace whose work failed rests a second, and each time it fails again twice as long, up to this; longer than the
# longest pause behind a crash, so that it does not hold up the others by its crashes either.
_LONGEST_REST_SECONDS = 64.0


class _Failures(NamedTuple):
    """How often the work of a workspace failed in a row, and until when it rests."""

    in_a_row: int
    rests_until: float

    def one_more(self) -> "_Failures":
        """Return what they are when it has failed once more, just now."""
        return _Failures(self.in_a_row + 1, time.monotonic() + min(2.0**self.in_a_row, _LONGEST_REST_SECONDS))


_NONE = _Failures(0, 0.0)

# Chooses a workspace with something to do, and what else says what that is.
Choose = Callable[[Driver, Turn], Awaitable[tuple[Any, ...] | None]]

# Does so, and may return what is to be called once the transaction is through.
Work = Callable[..., Awaitable[Callable[[], None] | None]]


class Rounds:
    """Goes round the workspaces, from the one behind the last. Every process goes round by itself."""

    def __init__(self, database: Database, choose: Choose, work: Work) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            choose: Chooses a workspace, which nobody else works at meanwhile, and says what to do: `(workspace, ...)`.
            work: Does so, in the same transaction: `work(connection, workspace, ...)`; what it returns, if anything, is
                called once that is through.
        """
        self._database, self._choose, self._work = database, choose, work
        self._last = ""
        self._overtaken: set[str] = set()
        self._failures: dict[str, _Failures] = {}

    async def go_on(self) -> bool:
        """Do something for the next workspace; False if there is nothing to do now."""
        workspace = ""
        try:
            async with self._database.transaction() as connection:
                await graph.take_time(connection)
                task = await self._choose(connection, Turn(self._last, self._resting()))
                if task is None:
                    return False
                workspace = self._last = task[0]
                if workspace in self._overtaken:
                    await take_turn(connection, workspace)
                after = await self._work(connection, *task)
        except OvertakenError:
            begun_anew.add(1)
            self._overtaken.add(workspace)
        except Exception:
            if workspace:
                self._failures[workspace] = self._failures.get(workspace, _NONE).one_more()
            raise
        else:
            self._overtaken.discard(workspace)
            self._failures.pop(workspace, None)
            if after is not None:
                after()
        return True

    def _resting(self) -> list[str]:
        now = time.monotonic()
        return [workspace for workspace, failures in self._failures.items() if failures.rests_until > now]
