"""The data directory keeps what is in it to its owner."""

import stat
from pathlib import Path

import pytest
from sima_cli.folder import Folder
from sima_cli.main import app
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
