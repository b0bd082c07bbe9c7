"""A run that was killed: what it left is ended before the next one in its folder begins."""

import asyncio
import fcntl
import sys
import time
from pathlib import Path

import pytest
from sima_cli.errors import CommandError
from sima_cli.folder import Folder

WAITING = "Waiting for the processes of a run that was killed to end"

# `sima up` or `sima demo` with one process in place of all, which logs when it begins and, a second late, ends.
RUN = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from sima_cli import stack
from sima_cli.demo.whole import Wish, demonstrate
from sima_cli.folder import Folder
from sima_cli.sample.people import Plan
from sima_cli.staying import stay_up

CHILD = '''
import signal, sys, time

def end(*_):
    time.sleep(1)
    print("ended", flush=True)
    sys.exit()

signal.signal(signal.SIGTERM, end)
print("begun", flush=True)
time.sleep(600)
'''

async def start(ours, *_):
    await ours.start("child", ["-c", CHILD], {})
    await asyncio.sleep(600)

stack._start = start
folder = Folder(Path(sys.argv[1]))
if sys.argv[2] == "up":
    asyncio.run(stay_up(folder, None))
else:
    asyncio.run(demonstrate(folder, Plan(20, datetime.now(UTC)), Wish(0.0, stay=False, as_json=False)))
"""


def begun(log: Path) -> bool:
    """Whether a process has said within half a minute that it began."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if log.exists() and "begun" in log.read_text():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("command", ["up", "demo"])
async def test_who_comes_after_a_kill_waits_until_all_has_ended(tmp_path: Path, command: str) -> None:
    """Nobody joins what the guard of the killed run is about to end."""
    folder, heard = Folder(tmp_path), list[str]()
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, str(tmp_path), command)
    assert await asyncio.to_thread(begun, folder.logs / "child.log")
    run.kill()
    await run.wait()
    async with folder.alone(heard.append):
        assert "ended" in (folder.logs / "child.log").read_text()
    assert heard == [WAITING]


async def test_waiting_for_a_killed_run_has_an_end(tmp_path: Path) -> None:
    """Who waited learns what is in the way; nobody else was kept from anything."""
    folder, heard = Folder(tmp_path), list[str]()
    with folder.guard_lock.open("w") as left:
        fcntl.flock(left, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="killed have not ended yet"):
            async with folder.alone(heard.append, patience_seconds=0.1):
                raise AssertionError("two run")
    assert heard == [WAITING]
    async with folder.alone(heard.append):
        assert heard == [WAITING]
