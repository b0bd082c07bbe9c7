"""The data directory: what lies where, and which `sima up` is running in it."""

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TextIO

from sima_cli.errors import CommandError
from sima_cli.guard import is_alive

_PRIVATE = 0o700
_PATIENCE_SECONDS = 60.0  # a guard gives each of five processes ten seconds
_LOOK_SECONDS = 0.1
_ELSEWHERE = "or give another folder with --data-dir."

#: Called with what is being done, for the people who wait.
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """A running `sima up`, as its data directory tells others.

    Attributes:
        pid: The supervisor.
        born: When it was created, in seconds since 1970.
        identity: Address of the gRPC service, `host:port`.
        profile: Address of the gRPC service.
        segment: Address of the gRPC service.
        collector: Address of the collector, `http://host:port`.
        workspace: Which one commands use unless told otherwise.
        import_tokens: With which files may be sent, by source.
        connectors: Through which connector each source speaks.
    """

    pid: int
    born: float
    identity: str
    profile: str
    segment: str
    collector: str
    workspace: str
    import_tokens: Mapping[str, str]
    connectors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths within a data directory."""

    root: Path

    @property
    def run_file(self) -> Path:
        """Where the addresses of what runs are written."""
        return self.root / "run.json"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.root / "logs"

    @property
    def sources(self) -> Path:
        """The sources that the collector serves unless told otherwise."""
        return self.root / "sources.yaml"

    @property
    def config(self) -> Path:
        """What the workspace says about itself unless told otherwise; nobody makes it but the people who use it."""
        return self.root / "sima.yaml"

    @property
    def workspace_key(self) -> Path:
        """The master key of all workspaces."""
        return self.root / "workspace.key"

    @property
    def guard_lock(self) -> Path:
        """Held by the guard of a run for as long as it may have something to end."""
        return self.root / "guard.lock"

    def prepare(self) -> None:
        """Make the folder and its master key, readable for their owner alone, unless they exist.

        A folder that exists already stays as open as somebody made it; what Sima puts into it is private all the same.
        """
        self._make()
        make_private(self.logs)
        if not self.workspace_key.exists():
            write_private(self.workspace_key, token_hex(32))

    def announce(self, running: Running) -> None:
        """Tell others what runs here."""
        write_private(self.run_file, json.dumps(asdict(running), indent=2))

    def withdraw(self) -> None:
        """Tell others that nothing runs here any more."""
        self.run_file.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """Return what runs here, or None; a broken file, or one of a process that is gone, does not count."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            running = Running(**json.loads(self.run_file.read_text()))
            return running if is_alive(running.pid, running.born) else None
        return None

    @asynccontextmanager
    async def alone(self, tell: Tell, patience_seconds: float = _PATIENCE_SECONDS) -> AsyncIterator[int]:
        """Prepare the folder, and keep others from running anything in it during the block.

        What a run that was killed has left is waited for, so that nobody joins what its guard is about to end.

        Args:
            tell: Hears that it waits.
            patience_seconds: How long at most.

        Yields:
            A lock, as a file descriptor, for the guard of what runs in the block to hold on to.

        Raises:
            CommandError: Something runs, starts or stops here, or what was left does not end.
        """
        self._make()
        with (self.root / "lock").open("w") as lock, self.guard_lock.open("w") as guards:
            if not _locked(lock):
                raise CommandError(self._taken())
            await self._outlast(guards, tell, patience_seconds)
            self.prepare()  # here, not before: two first starts at once would each make a key
            yield guards.fileno()

    async def _outlast(self, guards: TextIO, tell: Tell, patience_seconds: float) -> None:
        if _locked(guards):
            return
        tell("Waiting for the processes of a run that was killed to end")
        try:
            async with asyncio.timeout(patience_seconds):
                while not _locked(guards):  # noqa: ASYNC110 - nobody tells when a lock is given back
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise CommandError(
                f"In {self.root} the processes of a run that was killed have not ended yet. Try again, {_ELSEWHERE}"
            ) from None

    def _make(self) -> None:
        self.root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)

    def _taken(self) -> str:
        if running := self.running():
            return (
                f"Sima is running in {self.root} already (process {running.pid}). Stop it with Ctrl-C where it was "
                f"started, {_ELSEWHERE}"
            )
        return f"Sima is just being started or stopped in {self.root}. Try again, {_ELSEWHERE}"


def _locked(file: TextIO) -> bool:
    """Lock a file unless somebody else has; given back once all who hold it have ended, however they do."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter; one that others could enter is closed."""
    folder.mkdir(mode=_PRIVATE, exist_ok=True)
    folder.chmod(_PRIVATE)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all at once, and on the disk when this ends: it may hold a key."""
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(text)
    _keep(draft)
    os.replace(draft, path)
    _keep(path.parent)


def _keep(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
