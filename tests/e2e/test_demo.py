"""The demo as a newcomer runs it: one command, one report, nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import left_behind


def run_demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo with few people in a data directory of its own."""
    command = [sys.executable, "-m", "sima_cli", "--data-dir", str(folder), "demo", "--people", "150", *arguments]
    environment = {**os.environ, "COLUMNS": "120"}
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
