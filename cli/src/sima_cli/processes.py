"""Child processes: each with a log of its own, all ended together, and none that ends by itself unnoticed."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from sima_cli.errors import CrashedError, MisconfiguredError
from sima_cli.guard import GRACE_SECONDS, Guard, born, is_alive

HOST = "127.0.0.1"
_LAST_LINES = 20
_LOOK_SECONDS = 1.0


class Nursery:
    """Starts processes and keeps an eye on them; made by `nursery`."""

    def __init__(self, guard: Guard, watchers: asyncio.TaskGroup, logs: Path) -> None:
        self.guard = guard
        self._watchers = watchers
        self._watching: list[asyncio.Task[None]] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._logs = logs

    async def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start Python with some arguments, and with `environment` beside our own."""
        log = self._logs / f"{name}.log"
        if log.exists():  # what ended the process before may stand there
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
            )
        self.guard.watch(process.pid)
        self._processes.append(process)
        self._watching.append(self._watchers.create_task(_crash(name, process, log)))

    def keep_an_eye_on(self, name: str, pid: int, log: Path) -> None:
        """Watch a process that is not our child."""
        self._watching.append(self._watchers.create_task(_gone(name, pid, log)))

    def stop_watching(self) -> None:
        """From now on processes may end."""
        for task in self._watching:
            task.cancel()

    async def ended(self) -> None:
        """Wait until all processes have ended."""
        await asyncio.gather(*(process.wait() for process in self._processes))


@asynccontextmanager
async def nursery(logs: Path, grace_seconds: float = GRACE_SECONDS, lock: int | None = None) -> AsyncIterator[Nursery]:
    """Give a nursery whose processes are all ended, the last started first, when the block ends.

    A process that ends by itself ends the block.

    Args:
        logs: Folder for what the processes write.
        grace_seconds: How long a process may take to end.
        lock: Descriptor of a lock that is held until all have ended, even if this process is killed before.

    Raises:
        CrashedError: Such a process; the text has the last lines of its log.
        MisconfiguredError: Its settings were wrong; the text says what.
    """
    guard = Guard(grace_seconds, lock)
    try:
        async with asyncio.TaskGroup() as watchers:
            ours = Nursery(guard, watchers, logs)
            yield ours
            ours.stop_watching()
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        await asyncio.to_thread(guard.close)
        await ours.ended()


def last_lines(log: Path) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


@contextmanager
def reserved_addresses(count: int) -> Iterator[list[str]]:
    """Give addresses on this machine that nobody else gets before the block ends."""
    with ExitStack() as held:
        ports = [held.enter_context(_bound()).getsockname()[1] for _ in range(count)]
        yield [f"{HOST}:{port}" for port in ports]


def is_free(address: str) -> bool:
    """Whether a server could listen at an address `host:port` of this machine."""
    host, _, port = address.rpartition(":")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that lingers is nobody's claim
            probe.bind((host, int(port)))
    except (OSError, ValueError, OverflowError):
        return False
    return True


async def _crash(name: str, process: asyncio.subprocess.Process, log: Path) -> None:
    code = await process.wait()
    lines = last_lines(log)
    if problem := _misconfiguration(lines):
        raise MisconfiguredError(f"{name} cannot start: {problem}")
    raise CrashedError(f"{name} ended by itself with code {code}. The end of {log}:\n{lines}")


def _misconfiguration(lines: str) -> str:
    """Return what a service that ended over its settings said of them last; empty if it ended over something else."""
    with suppress(ValueError, TypeError, AttributeError):  # the last line is no entry of a service's log
        last = json.loads(lines.rpartition("\n")[2])
        if last.get("event") == "misconfigured":
            return str(last.get("problem", ""))
    return ""


async def _gone(name: str, pid: int, log: Path) -> None:
    created = born(pid)
    while is_alive(pid, created):  # noqa: ASYNC110 - nobody tells when somebody else's child ends
        await asyncio.sleep(_LOOK_SECONDS)
    raise CrashedError(f"{name} ended by itself. The end of {log}:\n{last_lines(log)}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _bound() -> socket.socket:
    # Bound but never listening: no connection ends here, and a server that sets the option too may bind beside it.
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((HOST, 0))
    return held
