"""Background tasks of a service: a crash is logged, counted and followed by a new start, never silent."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from sima_runtime.telemetry import task_crashes

Background = Callable[[], Awaitable[None]]

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0

_log = structlog.get_logger()


async def supervise(work: Background) -> None:
    """Run `work` until it returns or is cancelled, starting it again whenever it crashes.

    The pause before a new start doubles from crash to crash, and begins anew after a run longer than the longest pause.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        started = time.monotonic()
        try:
            return await work()
        except Exception:  # noqa: BLE001  # whatever it was, the task must not end
            if time.monotonic() - started > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            report_crash(work, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def growing_pause(first: float, longest: float, times: int) -> float:
    """Return how long to wait when something has failed so many times: doubling, up to the longest, and spread.

    Args:
        first: Seconds, the half of which is the shortest pause.
        longest: Seconds.
        times: Failures before the one that has just been.
    """
    return min(first * 2.0 ** min(times, 8), longest) * random.uniform(0.5, 1)  # noqa: S311 - spreads load


def report_crash(work: Callable[..., object], again_in_seconds: float, **about: str) -> None:
    """Log and count the exception that is being handled.

    Args:
        work: What raised it.
        again_in_seconds: When that is done again.
        about: What else to log, of which nothing is personal.
    """
    called = work.func if isinstance(work, partial) else work
    name = getattr(called, "__qualname__", type(called).__qualname__)
    task_crashes.add(1, {"task": name})
    _log.error("task_crashed", task=name, again_in_seconds=again_in_seconds, exc_info=True, **about)
