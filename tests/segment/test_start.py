"""The segment service does not start where it could not work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sima_runtime.errors import FixConfigurationError
from sima_segment.projection import owned


def refused(**settings: str) -> str:
    """What the service says when it ends over its settings, before it asks the database anything."""
    variables = {f"SIMA_SEGMENT_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "sima_segment"]
    ended = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    return ended.stderr


def test_a_data_directory_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    """Rather than a service that says it serves and answers no call."""
    (tmp_path / "file").touch()
    assert "data_dir" in refused(data_dir=str(tmp_path / "file" / "data"))


def test_a_data_directory_belongs_to_one_process(tmp_path: Path) -> None:
    """A second service on the same projections stops at its start and says why; later it may have them."""
    with owned(tmp_path):
        assert "for this process alone" in refused(data_dir=str(tmp_path))
        with pytest.raises(FixConfigurationError, match="data_dir"), owned(tmp_path):
            raise AssertionError("two own it")
    with owned(tmp_path):
        pass


def test_a_list_that_is_no_json_is_told_what_one_looks_like() -> None:
    """Nobody has to guess how several plugins are written into one variable."""
    assert "plugins: expected a JSON list such as" in refused(plugins="rfm")


def test_a_policy_that_would_do_nothing_ends_the_start() -> None:
    """Nobody believes that a source is trusted whose key is misspelt, or left out."""
    assert "traits.city.sources: expected no such key" in refused(traits='{"city": {"sources": ["crm"]}}')
    expected = "traits.city: expected trusted_sources for most_trusted_source"
    assert expected in refused(traits='{"city": {"survivorship": "most_trusted_source"}}')
