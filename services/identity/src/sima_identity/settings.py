"""Every setting of the identity service, with its default and meaning."""

import re
from collections.abc import Mapping

from pydantic import Field
from pydantic_settings import BaseSettings
from sima_runtime.settings import ServiceSettings, service_config


class GroupingSettings(BaseSettings):
    """How identifiers are grouped."""

    plugins: tuple[str, ...] | None = Field(
        None, description="Plugins to load identifier kinds from. None: all that are installed."
    )
    most_identifiers: int = Field(5_000, ge=1, description="No profile gets more identifiers than this.")
    blocked: Mapping[str, re.Pattern[str]] = Field(
        default={},
        description="By kind of identifier, a regular expression for values that name nobody, besides the known junk. "
        "It is held against the whole of a normalised value that is new. "
        'JSON such as {"email": "till-[0-9]+@shop[.]example"}.',
    )
    neighbourhood_limit: int = Field(
        2_000, ge=1, description="What hangs together with more identifiers than this is grouped in the background."
    )
    settle_seconds: float = Field(0.5, gt=0, description="How often to look for what is to be grouped so.")


class CountingSettings(BaseSettings):
    """How identifiers that are seen with many are counted, and when their growth is suspicious."""

    growth_per_identifier: int = Field(
        50, ge=1, description="An identifier that is seen with more new ones than this within 24 hours is suspicious."
    )
    growth_per_profile: int = Field(
        30, ge=1, description="A profile that gains more identifiers than this within 24 hours is suspicious."
    )
    count_seconds: float = Field(1.0, gt=0, description="How often to look for what is to be counted.")
    count_again_seconds: float = Field(
        3_600, gt=0, description="What was counted so long ago is counted again: days pass, and people become one."
    )


class IdentitySettings(ServiceSettings, GroupingSettings, CountingSettings):
    """All that the identity service is told."""

    model_config = service_config("identity")
