"""SIGTERM ends a command like Ctrl-C does: everything it started is ended first."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StoppedError(KeyboardInterrupt):
    """Somebody asked the command to end."""


@contextmanager
def until_stopped() -> Iterator[None]:
    """Cancel the running task on SIGTERM and SIGINT, and raise StoppedError once the block has cleaned up."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if task and not stopped:  # a second signal would only disturb the cleaning up
            stopped = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if stopped and task:
            task.uncancel()
            raise StoppedError from None
        raise
