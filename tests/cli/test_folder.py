"""The data directory keeps what is in it to its owner."""

import asyncio
import fcntl
import os
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sima_cli.demo.whole import Wish, demonstrate
from sima_cli.errors import CommandError
from sima_cli.folder import Folder, write_private
from sima_cli.main import app
from sima_cli.sample.people import Plan
from sima_cli.staying import stay_up
from typer.testing import CliRunner


def mode(path: Path) -> int:
    """What owner, group and others may do."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_data_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Nobody else can enter it, and nobody else can read the master key."""
    folder = Folder(tmp_path / "deep" / ".sima")
    folder.prepare()
    assert [mode(folder.root), mode(folder.logs), mode(folder.workspace_key)] == [0o700, 0o700, 0o600]


def test_what_lies_in_an_open_folder_is_closed(tmp_path: Path) -> None:
    """A folder that somebody made, or an older Sima, stays as it is; what it holds does not stay open."""
    folder = Folder(tmp_path)
    folder.root.chmod(0o755)
    folder.logs.mkdir(mode=0o755)
    folder.prepare()
    assert [mode(folder.root), mode(folder.logs), mode(folder.workspace_key)] == [0o755, 0o700, 0o600]


@pytest.mark.parametrize("arguments", [("up",), ("demo", "--people", "20"), ("segment", "list")])
def test_a_data_directory_that_cannot_be_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What is no folder, and cannot become one, is named with the reason: exit code 1, no traceback."""
    file = tmp_path / "file"
    file.touch()
    result = CliRunner().invoke(app, ["--data-dir", str(file), *arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"✗ Sima cannot use {file}")
    assert len(result.stderr.splitlines()) == 1


def up(folder: Folder) -> Awaitable[None]:
    """Start what `sima up` starts."""
    return stay_up(folder, None)


def demo(folder: Folder) -> Awaitable[None]:
    """Start what `sima demo` starts."""
    return demonstrate(folder, Plan(20, datetime.now(UTC)), Wish(0.0, stay=False, as_json=False))


@pytest.mark.parametrize("start", [up, demo])
def test_who_comes_second_makes_no_key(tmp_path: Path, start: Callable[[Folder], Awaitable[None]]) -> None:
    """Of two first starts at once only the one that holds the folder puts a key into it."""
    folder = Folder(tmp_path)

    async def second() -> None:
        await start(folder)

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="just being started"):
            asyncio.run(second())
    assert not folder.workspace_key.exists()


async def test_who_holds_a_folder_finds_it_prepared(tmp_path: Path) -> None:
    """Also one that was not there, and a key that is there stays."""
    folder = Folder(tmp_path / "deep" / ".sima")
    async with folder.alone(print):
        key = folder.workspace_key.read_text()
    async with folder.alone(print):
        assert folder.workspace_key.read_text() == key


def test_a_key_is_on_the_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of power leaves neither an empty file nor a folder that has forgotten it."""
    kept: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: kept.append(os.fstat(descriptor).st_ino))
    write_private(tmp_path / "workspace.key", "key")
    assert kept == [(tmp_path / "workspace.key").stat().st_ino, tmp_path.stat().st_ino]
