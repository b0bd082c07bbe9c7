"""PostgreSQL from the wheel: durable, shared by those who hold it, and gone when nobody does."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sima_cli.postgres import start_postgres


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A place that another user can reach, as PostgreSQL must if root starts it; each test starts it anew."""
    folder = Path(tempfile.mkdtemp(prefix="sima-postgres-"))
    yield folder / "data"
    shutil.rmtree(folder)


def postmaster(data_dir: Path) -> int:
    """Process id of the running server."""
    return int((data_dir / "postmaster.pid").read_text().splitlines()[0])


def test_settings_hold(data_dir: Path) -> None:
    """Commits are durable, there is room for all services, and no port is open."""
    handle = start_postgres(data_dir)
    names = ["fsync", "synchronous_commit", "full_page_writes", "max_connections", "listen_addresses"]
    with psycopg.connect(handle.url) as connection:
        values = {name: connection.execute(f"SHOW {name}").fetchall()[0][0] for name in names}
    handle.stop()
    assert list(values.values()) == ["on", "on", "on", "200", ""]


def test_stop_ends_the_server_and_keeps_the_data(data_dir: Path) -> None:
    """After a stop the server is gone, and the next start finds what was written."""
    handle = start_postgres(data_dir)
    with psycopg.connect(handle.url) as connection:
        connection.execute("CREATE TABLE stopped AS SELECT 7 AS number")
    handle.stop()
    assert not (data_dir / "postmaster.pid").exists()
    again = start_postgres(data_dir)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT number FROM stopped").fetchall() == [(7,)]
    again.stop()


def test_killed_server_recovers(data_dir: Path) -> None:
    """A server that was killed is started again by the same process, with all that was committed."""
    handle = start_postgres(data_dir)
    with psycopg.connect(handle.url) as connection:
        connection.execute("CREATE TABLE killed AS SELECT 7 AS number")
    os.kill(postmaster(data_dir), signal.SIGKILL)
    again = start_postgres(data_dir)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT number FROM killed").fetchall() == [(7,)]
    again.stop()


HOLD = """
import sys, time
from pathlib import Path
from sima_cli.postgres import start_postgres
start_postgres(Path(sys.argv[1]))
print("holds", flush=True)
time.sleep(600)
"""


def test_server_is_shared_until_the_last_lets_go(data_dir: Path) -> None:
    """Several processes share a server; one that was killed does not keep it running."""
    with subprocess.Popen([sys.executable, "-W", "error", "-c", HOLD, str(data_dir)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"holds\n"
        process = postmaster(data_dir)
        handle = start_postgres(data_dir)
        assert postmaster(data_dir) == process
        handle.stop()
        with psycopg.connect(handle.url) as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
        other.kill()
    last = start_postgres(data_dir)
    last.stop()
    assert not (data_dir / "postmaster.pid").exists()


END = HOLD.replace("time.sleep(600)", "")


def test_forgotten_server_ends_with_its_process(data_dir: Path) -> None:
    """A process that ends without a stop leaves no server behind."""
    subprocess.run([sys.executable, "-c", END, str(data_dir)], check=True, timeout=120)
    deadline = time.monotonic() + 20
    while (data_dir / "postmaster.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["my 'data' (1) ü", "x" * 120])
def test_any_folder_will_do(data_dir: Path, name: str) -> None:
    """A folder may have a name that is no fit for a shell or too long for a socket."""
    handle = start_postgres(data_dir.parent / name)
    with psycopg.connect(handle.url) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    handle.stop()
