"""Load that does not wait: calls begin at their scheduled instants, whether or not the ones before were answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def open_loop(items: Iterable[T], per_second: float, call: Callable[[T], Awaitable[None]]) -> list[float]:
    """Make a call for each item, so many a second, and return the milliseconds of each.

    They count from the scheduled instant, so a call that could not begin in time is not thereby a quick one.
    """
    taken: list[float] = []

    async def measured(item: T, due: float) -> None:
        await call(item)
        taken.append((time.perf_counter() - due) * 1000)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        for number, item in enumerate(items):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(measured(item, due))
    return taken
