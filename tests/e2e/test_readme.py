"""What the README says works."""

import re
import subprocess
import sys
from pathlib import Path

from sima_cli.main import app
from typer.testing import CliRunner

from tests.e2e.conftest import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_python_of_the_readme_runs_as_it_stands(stack: Stack) -> None:
    """Copied and run beside a data directory, it prints what it promises."""
    (snippet,) = blocks("python")
    ended = subprocess.run(
        [sys.executable, "-c", snippet], cwd=stack.data_dir.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["['ada@example.com', '+4915127046318'] Berlin", "berliners 1"]


def test_every_command_of_the_readme_exists() -> None:
    """Each line that begins with `sima` names a command that has help."""
    commands = [line.split()[1:3] for block in blocks("") for line in block.splitlines() if line.startswith("sima ")]
    assert len(commands) >= 6
    for group, verb in commands:
        named = [group] if group == "import" else [group, verb]
        assert CliRunner().invoke(app, [*named, "--help"]).exit_code == 0


def test_every_file_that_the_readme_links_to_is_there() -> None:
    """No link leads nowhere."""
    links = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert links
    assert [target for target in links if not (ROOT / target).exists()] == []
