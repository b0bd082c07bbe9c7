"""SIGTERM ends a command like Ctrl-C does: everything it started is ended first."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager


class StoppedError(KeyboardInterrupt):
    """Somebody asked the command to end."""


@contextmanager
def until_stopped() -> Iterator[Callable[[], Awaitable[None]]]:
    """Cancel the running task on SIGTERM and SIGINT, and raise StoppedError once the block has cleaned up.

    Gives what waits for such a signal once all is done and people are asked to send one: it only ends the waiting.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    asked, stopped = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if task and not stopped.is_set() and not asked.is_set():  # a second one would only disturb the cleaning up
            task.cancel()
        stopped.set()

    async def stay() -> None:
        asked.set()
        await stopped.wait()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield stay
    except asyncio.CancelledError:
        if stopped.is_set() and task:
            task.uncancel()
            raise StoppedError from None
        raise
