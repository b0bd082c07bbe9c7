"""One worker process as the collector sees it: start, talk, kill."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import structlog
from sima_runtime.errors import FixConfigurationError

from sima_collector.frames import Frame, encode, receive_frame, receive_sign
from sima_collector.messages import Assignment, Catalogue, assignment_frame, read_catalogue

T = TypeVar("T")

_START_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class WorkerDiedError(Exception):
    """The process ended before it answered."""


class WorkerTimeoutError(Exception):
    """The process did not answer in time."""


class Worker:
    """A running worker process. Whoever made it kills it in the end."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process, self._reader, self._writer = process, reader, writer
        self.catalogue = Catalogue({})

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @classmethod
    async def start(cls, assignment: Assignment) -> "Worker":
        """Start a process and wait until its plugins are loaded.

        Raises:
            FixConfigurationError: The plugins cannot be loaded.
            WorkerDiedError: The process ended at once.
            WorkerTimeoutError: Loading the plugins never ends.
            OSError: The machine has no room for another process.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _spawn(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        try:
            worker = cls(process, *await asyncio.open_unix_connection(sock=ours))
        except BaseException:  # cancelled: nobody else knows of the process yet
            ours.close()
            process.kill()
            process.wait()
            raise
        try:
            await worker._introduce(assignment)
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def _introduce(self, assignment: Assignment) -> None:
        self.send(assignment_frame(assignment))
        answer = await self.receive(_START_SECONDS)
        if "failed" in answer.head:
            raise FixConfigurationError(answer.head["failed"])
        self.catalogue = read_catalogue(answer)

    def send(self, *frames: Frame) -> None:
        """Hand frames over; they are written in the background."""
        self._writer.write(b"".join(encode(frame) for frame in frames))

    @property
    def gone(self) -> bool:
        """Whether the process is known to have ended."""
        return self._reader.at_eof()

    async def begun(self, seconds: float) -> bool:
        """Return True once the process has begun with the next payload; raises as `receive` does."""
        return await self._within(seconds, receive_sign(self._reader))

    async def receive(self, seconds: float) -> Frame:
        """Return the next frame.

        Raises:
            WorkerDiedError: The process ended.
            WorkerTimeoutError: It took longer than `seconds`.
        """
        return await self._within(seconds, receive_frame(self._reader))

    async def _within(self, seconds: float, reading: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await reading
        except TimeoutError:
            raise WorkerTimeoutError from None
        except (EOFError, OSError, ValueError):
            raise WorkerDiedError from None

    async def kill(self) -> None:
        """End the process and whatever it started, at once."""
        self._writer.transport.abort()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl+C reaches only the collector, and a kill reaches also what a plugin started.
    return subprocess.Popen(  # noqa: S603 - our own program, no text from outside
        [sys.executable, "-m", "sima_collector.worker", str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("SIMA_")},
        start_new_session=True,
    )
