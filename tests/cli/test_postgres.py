"""PostgreSQL from the wheel: durable, shared by those who hold it, and gone when nobody does."""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from sima_cli import postgres
from sima_cli.errors import CommandError
from sima_cli.postgres import buffers, start_postgres


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


@pytest.mark.parametrize(("gibibytes", "megabytes"), [(0.5, 128), (8, 1_024), (512, 2_048)])
def test_it_takes_its_share_of_the_memory(gibibytes: float, megabytes: int) -> None:
    """An eighth for its buffers, but neither next to nothing nor more than one machine's data needs."""
    assert buffers(int(gibibytes * 2**30)) == megabytes


def test_in_a_container_its_share_is_of_the_containers_memory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The machine may have much more than the container gets."""
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(postgres, "_CONTAINER_MEMORY", limit)
    handle = start_postgres(data_dir)
    with psycopg.connect(handle.url) as connection:
        assert connection.execute("SHOW shared_buffers").fetchall() == [("128MB",)]
    handle.stop()


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


@pytest.mark.parametrize("content", [b"", b"[12", b"\xff"])
def test_a_half_written_list_of_holders_keeps_nobody_from_starting(data_dir: Path, content: bytes) -> None:
    """Whoever was ended while writing it has let go, and the next one begins a new list."""
    start_postgres(data_dir).stop()
    (data_dir / ".handle_pids.json").write_bytes(content)
    start_postgres(data_dir).stop()
    assert not (data_dir / "postmaster.pid").exists()


END = HOLD.replace("time.sleep(600)", "")


def test_forgotten_server_ends_with_its_process(data_dir: Path) -> None:
    """A process that ends without a stop leaves no server behind."""
    subprocess.run([sys.executable, "-c", END, str(data_dir)], check=True, timeout=120)
    deadline = time.monotonic() + 20
    while (data_dir / "postmaster.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sima_up(folder: Path) -> list[str]:
    """The command that runs everything in a folder."""
    return [sys.executable, "-m", "sima_cli", "--data-dir", str(folder), "up"]


def tools_of(folder: Path) -> set[str]:
    """Names of the processes that do something in a folder."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in argument for argument in process.cmdline()):
                found.add(process.name())
    return found


@pytest.mark.parametrize("tool", ["initdb", "pg_ctl"])
def test_ctrl_c_while_it_starts_ends_it_without_a_word_of_its_tools(data_dir: Path, tool: str) -> None:
    """The terminal signals all processes in it: one line says so, and nothing is left in the way."""
    folder = data_dir.parent / f"interrupted-{tool}"
    process = subprocess.Popen(sima_up(folder), stderr=subprocess.PIPE, start_new_session=True)
    while tool not in tools_of(folder):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=50)
    assert said.decode().splitlines() == ["● Starting PostgreSQL …", "● Stopping …"]
    assert process.returncode == 130
    assert not tools_of(folder)
    start_postgres(folder / "postgres").stop()


@pytest.mark.parametrize("reason", ["stopping", "gone"])
def test_a_start_is_not_tried_again_for_nobody(data_dir: Path, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Once somebody stopped it, or its data is gone, nothing can come of it."""
    folder, stopping, tried = data_dir.parent / reason, Event(), []

    def fail(*_: object) -> bool:
        tried.append(reason)
        shutil.rmtree(folder) if reason == "gone" else stopping.set()
        return False

    monkeypatch.setattr(postgres, "_start", fail)
    monkeypatch.setattr(postgres, "_START_SECONDS", 2)
    with pytest.raises(CommandError, match="did not start"):
        start_postgres(folder, stopping)
    assert tried == [reason]


def test_a_full_disk_is_named(data_dir: Path) -> None:
    """Who has no room for the data reads why in one sentence; here, no file may become as large as PostgreSQL's are."""
    folder = data_dir.parent / "full"
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *sima_up(folder)]
    result = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 1
    *_, last = result.stderr.splitlines()
    assert last.startswith(f"✗ PostgreSQL cannot make its data in {folder / 'postgres'}: could not write to file")
    assert last.endswith("File too large.")
    assert "Traceback" not in result.stderr


def test_a_tool_that_does_not_end_is_ended(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the data takes its time, but not for ever; here it gets none, and nothing of it stays."""
    folder = data_dir.parent / "slow"
    monkeypatch.setattr(postgres, "_TOOL_SECONDS", 0)
    with pytest.raises(CommandError, match="PostgreSQL cannot make its data"):
        start_postgres(folder)
    assert not tools_of(folder)
    monkeypatch.undo()
    start_postgres(folder).stop()


def mode(path: Path) -> int:
    """What owner, group and others may do with a file, or with a link itself."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_nobody_else_reaches_the_server(data_dir: Path) -> None:
    """It trusts whoever connects, so its folder is closed, and the one above is never opened for listing."""
    data_dir.parent.chmod(0o700)
    start_postgres(data_dir).stop()
    assert mode(data_dir) == 0o700
    assert mode(data_dir.parent) in {0o700, 0o711}  # the latter if root started it: PostgreSQL's user must pass


def test_who_hides_all_files_can_start_it_too(data_dir: Path) -> None:
    """PostgreSQL's user can read its configuration also where root's files are private by default."""
    habit = os.umask(0o077)
    try:
        start_postgres(data_dir.parent / "habit").stop()
    finally:
        os.umask(habit)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with a short name, in which everybody may make some."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


LONG = "y" * 120


def test_a_socket_elsewhere_is_private_too(data_dir: Path, temporary: Path) -> None:
    """Where the socket has to be among everybody's temporary files, its folder is closed."""
    handle = start_postgres(data_dir.parent / LONG)
    (sockets,) = (path for path in temporary.iterdir() if path.name.startswith("sima-"))
    with psycopg.connect(handle.url) as connection:
        assert connection.execute("SHOW unix_socket_directories").fetchall() == [(str(sockets),)]
    handle.stop()
    assert mode(sockets) == 0o700
    assert sockets.stat().st_uid == (data_dir.parent / LONG).stat().st_uid


def open_to_all(place: Path) -> None:
    """Make a folder in which everybody may put a socket."""
    place.mkdir()
    place.chmod(0o777)


def linked(place: Path) -> None:
    """Make a link to another folder."""
    elsewhere = place.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    place.symlink_to(elsewhere)


def strange(place: Path) -> None:
    """Make a private folder of somebody else, which only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of somebody else")
    place.mkdir(mode=0o700)
    os.chown(place, 65534, -1)


@pytest.mark.parametrize("occupy", [open_to_all, linked, strange])
def test_a_socket_folder_that_others_made_is_refused(
    data_dir: Path, temporary: Path, occupy: Callable[[Path], None]
) -> None:
    """Whoever guesses its name and is there first gets no connection of ours; the error says what to remove."""
    long = (data_dir.parent / LONG).resolve()
    place = temporary / f"sima-{hashlib.sha256(os.fsencode(long)).hexdigest()[:16]}"
    occupy(place)
    with pytest.raises(CommandError, match=place.name):
        start_postgres(long)
    assert not (long / "postmaster.pid").exists()


@pytest.mark.parametrize("name", ["my 'data' (1) ü", "x" * 120])
def test_any_folder_will_do(data_dir: Path, name: str) -> None:
    """A folder may have a name that is no fit for a shell or too long for a socket."""
    handle = start_postgres(data_dir.parent / name)
    with psycopg.connect(handle.url) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    handle.stop()
