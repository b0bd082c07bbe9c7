"""The demo as a newcomer runs it: one command, one report, nothing left behind."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import environment_for, left_behind

SIMA = (sys.executable, "-m", "sima_cli")
TITLES = (
    "What the channels said",
    "Who they are",
    "One of them",
    "Segments",
    "Compared with the truth, which only this report may read",
    "And then one more purchase",
)


def demo(folder: Path, *arguments: str) -> tuple[str, ...]:
    """The command of a demo with few people, in a data directory of its own."""
    return (*SIMA, "--data-dir", str(folder), "demo", "--people", "150", *arguments)


def run_demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo to its end."""
    environment = environment_for(folder) | {"COLUMNS": "120"}
    command = demo(folder, *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_demo_finds_the_people_and_hears_of_the_last_purchase(own_folder: Path) -> None:
    """With much junk and many shared tablets: nobody mistaken, hardly anybody missed, exit 0, no process left."""
    folder = own_folder / "demo"
    ended = run_demo(folder, "--json", "--seed", "3", "--junk", "10", "--shared-devices", "5")
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    channels = {"web", "instagram", "facebook", "crm"}
    channels |= {f"{kind}-{place}" for kind in ("shop", "till") for place in ("riyadh", "tehran", "berlin")}
    assert report["facts"].keys() == channels
    assert all(count > 0 for count in report["facts"].values())
    assert report["identifiers"] > report["people"] > 100
    assert report["merges"] > 0
    assert len(report["segments"]) >= 5
    assert all(size > 0 for size in report["segments"].values())
    assert report["truth"]["pairs"] > 1_000
    assert report["truth"]["precision"] == 1.0
    assert 0.97 <= report["truth"]["recall"] <= 1.0
    assert report["live_ms"] > 0
    assert report["seconds"] > 0
    assert left_behind(folder) == []
    assert "Sending every channel" in ended.stderr


@pytest.mark.slow
def test_the_report_is_for_people_and_what_it_says_to_try_next_works(own_folder: Path) -> None:
    """With --stay everything goes on until Ctrl-C, and the `sima` commands that it names work as they stand."""
    folder = own_folder / "staying"
    shown, told = own_folder / "report", own_folder / "progress"
    with shown.open("w") as report, told.open("w") as progress:
        environment = environment_for(folder) | {"COLUMNS": "120"}
        running = subprocess.Popen(demo(folder, "--stay"), env=environment, stdout=report, stderr=progress)
    try:
        commands = [line for line in invited(told, running) if line.startswith("sima") and " watch " not in line]
        assert len(commands) >= 5
        assert all(map(try_once, commands))
    finally:
        running.send_signal(signal.SIGINT)
        code = ended(running)
    assert code == 0, told.read_text()
    assert left_behind(folder) == []
    report_text = shown.read_text()
    places = [report_text.find(title) for title in TITLES]
    assert -1 not in places
    assert places == sorted(places)
    for words in ("together", "declared", "precision 1.0", "by webhook", " ms", "WatchMemberships says: entered"):
        assert words in report_text


def ended(running: "subprocess.Popen[bytes]") -> int:
    """The exit code of a process that was told to end; one that does not is killed, and with it what it started."""
    try:
        return running.wait(60)
    except subprocess.TimeoutExpired:
        running.kill()
        return running.wait()


def invited(told: Path, running: "subprocess.Popen[bytes]") -> list[str]:
    """Wait until the demo says what to try next, and give those lines."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and running.poll() is None:
        _, found, lines = told.read_text().partition("Try next, in another terminal:")
        if found and "/refusals" in lines:
            return [line.strip() for line in lines.splitlines() if line.strip()]
        time.sleep(0.2)
    raise AssertionError(told.read_text())


def try_once(line: str) -> bool:
    """Whether a command works and has something to say."""
    command = [*SIMA, *shlex.split(line)[1:]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, (line, ended.stderr)
    return ended.stdout.strip() != ""
