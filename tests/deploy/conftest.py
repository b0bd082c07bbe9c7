"""The manifests and the secrets, made once."""

from pathlib import Path

import pytest

from tests.deploy.manifests import BASE, DEV, Manifest, build, make_secrets


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run these tests: what they fetch and make is there once."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("deploy"))


@pytest.fixture(scope="session")
def secrets_folder() -> Path:
    """The development secrets, made as a user makes them."""
    return make_secrets()


@pytest.fixture(scope="session")
def base(kubectl: Path) -> list[Manifest]:
    """The base, on its own."""
    assert kubectl.exists()
    return build(BASE)


@pytest.fixture(scope="session")
def dev(kubectl: Path, secrets_folder: Path) -> list[Manifest]:
    """The overlay for development."""
    assert kubectl.exists()
    assert secrets_folder.exists()
    return build(DEV)
