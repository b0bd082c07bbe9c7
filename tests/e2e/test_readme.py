"""What the README says works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sima_cli.main import app
from sima_cli.sample import crm
from sima_plugin_crm.contacts import ContactsConnector
from sima_sdk.connectors import Source
from typer.testing import CliRunner

from tests.e2e.conftest import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of a document in a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for its_language, block in found if its_language == language]


def test_the_python_of_the_readme_runs_as_it_stands(stack: Stack) -> None:
    """Copied and run beside a data directory, it prints what it promises."""
    (snippet,) = blocks("python")
    ended = subprocess.run(
        [sys.executable, "-c", snippet], cwd=stack.data_dir.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["['ada@example.com', '+4915127046318'] Berlin", "berliners 1"]


def test_the_contacts_of_the_readme_are_a_file_that_works(tmp_path: Path) -> None:
    """The source `crm` that `sima up` sets up takes them as they stand, every column included."""
    (contacts,) = blocks("csv")
    file = tmp_path / "contacts.csv"
    file.write_text(contacts)
    (page,) = ContactsConnector().pull(Source("crm", options=crm.OPTIONS), file)
    ((ada,), refusals) = page.facts, page.refusals
    assert {one.kind for one in ada.identifiers} == {"email", "phone"}
    assert {trait.name for trait in ada.traits} == {"first_name", "last_name", "city"}
    assert refusals == ()


def test_every_command_of_the_readme_exists() -> None:
    """Each line that begins with `sima` names a command that has help."""
    commands = [line.split()[1:3] for block in blocks("") for line in block.splitlines() if line.startswith("sima ")]
    assert len(commands) >= 6
    for group, verb in commands:
        named = [group] if group == "import" else [group, verb]
        assert CliRunner().invoke(app, [*named, "--help"]).exit_code == 0


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the deployment needs of the repository, as git has it: without secrets."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.parametrize("document", ["README.md", "docs/operating.md"])
def test_the_manifests_are_built_as_it_says(clone: Path, document: str, kubectl: Path) -> None:
    """The lines that lead to them run as they stand in a clean clone, with the kubectl that the project pins."""
    text = (ROOT / document).read_text()
    (lines,) = (block for block in blocks("", text) if "scripts/dev-secrets" in block)
    environment = {**os.environ, "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-euc", lines], cwd=clone, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    manifests = ended.stdout[ended.stdout.index("apiVersion:") :]
    assert {"Namespace", "Secret", "StatefulSet"} <= {manifest["kind"] for manifest in yaml.safe_load_all(manifests)}


def test_every_place_that_the_readme_links_to_is_there() -> None:
    """No link leads nowhere: neither to a file nor to a heading in it."""
    links = [target.partition("#") for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert links
    assert [path for path, _, _ in links if not (ROOT / path).exists()] == []
    for path, _, heading in links:
        assert not heading or re.search(rf"^#+ {heading.replace('-', ' ')}$", (ROOT / path).read_text(), re.M | re.I)
