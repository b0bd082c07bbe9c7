"""The data directory: what lies where, and which `sima up` is running in it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

from sima_cli.errors import CommandError
from sima_cli.guard import is_alive

_PRIVATE = 0o700


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
    """

    pid: int
    born: float
    identity: str
    profile: str
    segment: str
    collector: str
    workspace: str
    import_tokens: Mapping[str, str]


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
    def workspace_key(self) -> Path:
        """The master key of all workspaces."""
        return self.root / "workspace.key"

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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Prepare the folder, and keep others from running anything in it during the block.

        Raises:
            CommandError: Something runs, starts or stops here.
        """
        self._make()
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back when this process ends, however it does
            except BlockingIOError:
                raise CommandError(self._taken()) from None
            self.prepare()  # here, not before: two first starts at once would each make a key
            yield

    def _make(self) -> None:
        self.root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)

    def _taken(self) -> str:
        other = "or give another folder with --data-dir."
        if running := self.running():
            return (
                f"Sima is running in {self.root} already (process {running.pid}). Stop it with Ctrl-C where it was "
                f"started, {other}"
            )
        return f"Sima is just being started or stopped in {self.root}. Try again, {other}"


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
