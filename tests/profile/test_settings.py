"""What the profile service is told, checked before it starts."""

import json

import pytest
from pydantic import ValidationError
from sima_profile.settings import ProfileSettings
from sima_profile.survivorship import Survivorship, TraitPolicy


def test_how_traits_survive_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the description of the setting has it."""
    traits = {"city": {"survivorship": "most_trusted_source", "trusted_sources": ["crm", "shop"]}}
    monkeypatch.setenv("SIMA_PROFILE_TRAITS", json.dumps(traits))
    assert ProfileSettings().traits == {"city": TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm", "shop"))}


def test_a_source_has_one_place_in_the_order_of_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two, profiles and segments could choose different values; the trait is named, and what is expected."""
    traits = {"city": {"survivorship": "most_trusted_source", "trusted_sources": ["crm", "shop", "crm"]}}
    monkeypatch.setenv("SIMA_PROFILE_TRAITS", json.dumps(traits))
    with pytest.raises(ValidationError, match=r"(?s)traits\.city\n.*expected each source once in trusted_sources"):
        ProfileSettings()


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ({"survivorship": "most_trusted_source", "sources": ["crm"]}, r"traits\.city\.sources\n"),
        ({"survivorship": "most_trusted_source"}, r"traits\.city\n.*expected trusted_sources"),
    ],
)
def test_a_policy_that_would_do_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, policy: dict[str, object], complaint: str
) -> None:
    """Nobody believes that a source is trusted whose key is misspelt, or left out."""
    monkeypatch.setenv("SIMA_PROFILE_TRAITS", json.dumps({"city": policy}))
    with pytest.raises(ValidationError, match=f"(?s){complaint}"):
        ProfileSettings()
