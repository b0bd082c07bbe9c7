"""Long work on the event loop, in pieces."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

_PIECE_SECONDS = 0.02


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items; whenever that has taken a while, let other calls have their turn first."""
    end = time.monotonic() + _PIECE_SECONDS
    for item in items:
        yield item
        if time.monotonic() > end:
            await asyncio.sleep(0)
            end = time.monotonic() + _PIECE_SECONDS
