"""Settings come from the environment, under the name of their service."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from sima_runtime.context import is_workspace_name, workspace_secret
from sima_runtime.errors import FixConfigurationError
from sima_runtime.settings import AuthenticationSettings, ServiceSettings, service_config


class ExampleSettings(ServiceSettings):
    """Settings of a service of this test."""

    model_config = service_config("example")


def test_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service reads its own variables and no other's."""
    monkeypatch.setenv("SIMA_EXAMPLE_LISTEN_ADDRESS", "127.0.0.1:7001")
    monkeypatch.setenv("SIMA_OTHER_DRAIN_SECONDS", "1")
    monkeypatch.setenv("DRAIN_SECONDS", "1")
    settings = ExampleSettings()
    assert settings.listen_address == "127.0.0.1:7001"
    assert settings.drain_seconds == 25.0


def test_defaults_open_nothing_to_others() -> None:
    """Without any setting a service is reachable from its own machine only."""
    settings = ExampleSettings()
    assert settings.listen_address.startswith("127.0.0.1:")
    assert settings.metrics_address is None


@pytest.mark.parametrize(
    ("name", "value"), [("DRAIN_SECONDS", "0"), ("LOG_LEVEL", "loud"), ("MAX_CALLS", "-1"), ("FEED_POLL_SECONDS", "x")]
)
def test_impossible_values_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value that makes no sense is refused at the start."""
    monkeypatch.setenv(f"SIMA_EXAMPLE_{name}", value)
    with pytest.raises(ValidationError):
        ExampleSettings()


@pytest.mark.parametrize("name", ["LISTEN_ADDRESS", "HEALTH_ADDRESS"])
def test_an_address_without_port_is_told_so(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Before anything is said about who may reach it."""
    monkeypatch.setenv(f"SIMA_EXAMPLE_{name}", "foo")
    with pytest.raises(ValidationError, match="expected host:port such as"):
        ExampleSettings()


def test_every_setting_says_what_it_means() -> None:
    """No setting is without a description."""
    assert [name for name, field in ServiceSettings.model_fields.items() if not field.description] == []


def test_master_key_is_read(tmp_path: Path) -> None:
    """The master key is what the file says."""
    path = tmp_path / "key"
    path.write_text("ab" * 32 + "\n")
    assert AuthenticationSettings(workspace_key_file=path).master_key() == b"\xab" * 32


@pytest.mark.parametrize("content", [None, "", "ab" * 31, "ab" * 65, "xy" * 32])
def test_unfit_master_key_stops_the_start(tmp_path: Path, content: str | None) -> None:
    """A missing, short, long or malformed master key is refused without being repeated."""
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FixConfigurationError) as caught:
        AuthenticationSettings(workspace_key_file=path).master_key()
    assert not content or content not in str(caught.value)


def test_unset_master_key_stops_the_start() -> None:
    """Without a master key there are no workspaces."""
    with pytest.raises(FixConfigurationError, match="workspace_key_file"):
        AuthenticationSettings().master_key()


def test_each_workspace_has_its_own_secret() -> None:
    """Secrets differ by workspace and by master key, and stay the same."""
    secrets = {workspace_secret(key, name) for key in (b"a" * 32, b"b" * 64) for name in ("one", "two")}
    assert len(secrets) == 4
    assert workspace_secret(b"a" * 32, "one") == workspace_secret(b"a" * 32, "one")


@pytest.mark.parametrize("name", ["main", "a", "0-_", "x" * 63])
def test_workspace_names(name: str) -> None:
    """Small letters, digits, hyphen and underscore make a name."""
    assert is_workspace_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a b", "a/b", "ä", "x" * 64, "main\n", "*"])
def test_other_texts_are_no_workspace(name: str) -> None:
    """Anything else is none."""
    assert not is_workspace_name(name)
