"""The manifests as kustomize builds them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
Manifest = dict[str, Any]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run these tests: what they fetch and make is there once."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("deploy"))


def build(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run(
        [ROOT / "scripts" / "kubectl", "kustomize", folder], check=True, capture_output=True, text=True, timeout=300
    )
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="session")
def secrets_folder() -> Path:
    """The development secrets, made as a user makes them."""
    subprocess.run([sys.executable, ROOT / "scripts" / "dev-secrets"], check=True, capture_output=True, timeout=60)
    return ROOT / "deploy" / "overlays" / "dev" / "secrets"


@pytest.fixture(scope="session")
def base() -> list[Manifest]:
    """The base, on its own."""
    return build(ROOT / "deploy" / "base")


@pytest.fixture(scope="session")
def dev(secrets_folder: Path) -> list[Manifest]:
    """The overlay for development."""
    assert secrets_folder.exists()
    return build(ROOT / "deploy" / "overlays" / "dev")
