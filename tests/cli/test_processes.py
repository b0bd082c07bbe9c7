"""Child processes: ended with their parent however it ends, and never missed when they end by themselves."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from sima_cli.errors import CommandError, CrashedError, MisconfiguredError
from sima_cli.folder import Folder, Running
from sima_cli.guard import born, is_alive
from sima_cli.processes import is_free, nursery, reserved_addresses

from tests.ports import free_port

# A parent with a child that has a child itself and will not end when asked; it prints their ids and waits.
PARENT = """
import asyncio, sys
from pathlib import Path
from sima_cli.processes import nursery

CHILD = '''
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(grandchild.pid, flush=True)
time.sleep(600)
'''

async def main():
    async with nursery(Path(sys.argv[1]), 0.5) as ours:
        await ours.start("child", ["-c", CHILD], {})
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def vanished(pid: int, created: float) -> None:
    """Wait until a process is gone."""
    async with asyncio.timeout(30):
        while is_alive(pid, created):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.05)


def grandchild_of(log: Path) -> int:
    """The id that the child wrote into its log."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if log.exists() and (text := log.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.05)
    raise AssertionError("the child never said whom it started")


async def test_a_killed_supervisor_takes_all_its_processes_with_it(tmp_path: Path) -> None:
    """Not even SIGKILL of the parent leaves a process behind, nor does a child that ignores SIGTERM."""
    arguments = ("-c", PARENT, str(tmp_path))
    parent = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    grandchild = await asyncio.to_thread(grandchild_of, tmp_path / "child.log")
    created = born(grandchild)
    parent.kill()
    await parent.wait()
    await vanished(grandchild, created)


async def test_processes_end_with_the_block(tmp_path: Path) -> None:
    """When the block ends, so do the processes, and the guard with them."""
    sleeping = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    async with nursery(tmp_path) as ours:
        await ours.start("sleeper", ["-c", sleeping], {})
        sleeper = await asyncio.to_thread(grandchild_of, tmp_path / "sleeper.log")
        assert born(sleeper)
    assert not born(sleeper)


async def crash(logs: Path, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Wait for a process that does not."""
    async with nursery(logs) as ours:
        await ours.start(name, arguments, environment)
        await asyncio.sleep(60)


async def test_a_process_that_ends_by_itself_ends_the_block_with_its_last_words(tmp_path: Path) -> None:
    """A crash is never silent: the block is cancelled and the error holds the end of the log."""
    with pytest.raises(CrashedError, match=r"(?s)breaker ended by itself with code 1.*the disk is full"):
        await crash(tmp_path, "breaker", ["-c", "print('first'); raise SystemExit('the disk is full')"], {})


async def test_a_service_with_wrong_settings_says_so_in_plain_words(tmp_path: Path) -> None:
    """What is wrong is shown as the service says it, not as a line of a log."""
    settings = {"SIMA_COLLECTOR_SOURCES_FILE": str(tmp_path / "missing.yaml")}
    with pytest.raises(MisconfiguredError, match=r"^collector cannot start: sources file .*/missing\.yaml:\n"):
        await crash(tmp_path, "collector", ["-m", "sima_collector"], settings)


async def watch(logs: Path) -> None:
    """Wait for somebody else's child that ends."""
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)")
    (logs / "log").write_text("out of memory")
    async with nursery(logs) as ours:
        ours.keep_an_eye_on("PostgreSQL", stranger.pid, logs / "log")
        stranger.kill()
        await stranger.wait()
        await asyncio.sleep(60)


async def test_the_end_of_a_process_that_is_no_child_is_noticed_too(tmp_path: Path) -> None:
    """PostgreSQL is nobody's child, and nothing works without it."""
    with pytest.raises(CrashedError, match=r"(?s)PostgreSQL ended by itself.*out of memory"):
        await watch(tmp_path)


async def test_an_error_in_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    """Who uses a nursery sees their own exceptions, not groups of them."""
    with pytest.raises(CommandError, match="mine"):
        async with nursery(tmp_path):
            raise CommandError("mine")


def test_reserved_addresses_are_free_for_those_who_share_and_for_nobody_else() -> None:
    """A server that sets SO_REUSEPORT gets the port; others are kept away until then."""
    with reserved_addresses(2) as addresses:
        host, port = addresses[0].split(":")
        assert len(set(addresses)) == 2
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((host, int(port)))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind((host, int(port)))


def running(pid: int, created: float) -> Running:
    """Something that runs."""
    return Running(pid, created, "i:1", "p:2", "s:3", "http://c:4", "main", {"crm": "token"})


def test_a_data_directory_tells_what_runs_in_it(tmp_path: Path) -> None:
    """Others read what was announced, and its file is for its owner alone."""
    folder = Folder(tmp_path / "data")
    folder.prepare()
    assert folder.running() is None
    mine = running(os.getpid(), born(os.getpid()))
    folder.announce(mine)
    assert folder.running() == mine
    assert folder.run_file.stat().st_mode & 0o077 == 0
    assert folder.workspace_key.stat().st_mode & 0o077 == 0
    folder.withdraw()
    assert folder.running() is None


async def test_one_data_directory_is_for_one_at_a_time(tmp_path: Path) -> None:
    """From before anything is started: whoever comes second learns at once what is there, and starts nothing."""
    folder, heard = Folder(tmp_path / "data"), list[str]()
    folder.prepare()

    async def second() -> str:
        with pytest.raises(CommandError) as refused:
            async with folder.alone(heard.append):
                raise AssertionError("two are alone")
        return str(refused.value)

    async with folder.alone(heard.append):
        assert "just being started or stopped" in await second()
        folder.announce(running(os.getpid(), born(os.getpid())))
        assert f"running in {folder.root} already (process {os.getpid()})" in await second()
    async with folder.alone(heard.append):
        assert heard == []


def test_what_a_dead_process_announced_does_not_count(tmp_path: Path) -> None:
    """After a crash, or when another process has the id now, nothing runs here."""
    folder = Folder(tmp_path)
    folder.announce(running(os.getpid(), born(os.getpid()) - 100))
    assert folder.running() is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"pid": 1}'])
def test_what_nobody_can_read_does_not_count(tmp_path: Path, content: bytes) -> None:
    """Whatever broke the file, nothing runs here, and the next start replaces it."""
    folder = Folder(tmp_path)
    folder.run_file.write_bytes(content)
    assert folder.running() is None


def test_an_address_is_free_if_nobody_listens_there() -> None:
    """And what is no address never is."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(f"127.0.0.1:{port}")
    assert is_free(f"127.0.0.1:{port}")
    assert not any(map(is_free, ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1:-1"]))
