"""Every setting of the profile service, with its default and meaning."""

from collections.abc import Mapping

from pydantic import Field
from pydantic_settings import BaseSettings
from sima_runtime.settings import ServiceSettings, service_config

from sima_profile.survivorship import Survivorship, TraitPolicy


class FoldSettings(BaseSettings):
    """How profiles are folded from observations."""

    traits: Mapping[str, TraitPolicy] = Field(
        default={},
        description="By trait, how its value is chosen; JSON such as "
        '{"city": {"survivorship": "most_trusted_source", "trusted_sources": ["crm", "shop"]}}. '
        "A trait that is not listed takes the most recent value.",
    )

    def unions(self) -> tuple[str, ...]:
        """Names of the traits of which every value counts."""
        return tuple(name for name, policy in self.traits.items() if policy.survivorship is Survivorship.UNION)


class StorageSettings(BaseSettings):
    """How facts are kept."""

    partition_months_back: int = Field(
        default=24,
        ge=0,
        description="Facts older than this many months at the first start share one archive partition.",
    )
    partition_months_ahead: int = Field(default=3, ge=1, description="Partitions are made this many months ahead.")
    message_time_days: float = Field(
        default=100,
        gt=0,
        description="A message that states no time, and has not come again for so long, is new when it comes.",
    )
    maintenance_seconds: float = Field(default=3600, gt=0, description="Pause between two rounds of maintenance.")


class FollowerSettings(BaseSettings):
    """How the owners of facts follow identity."""

    workspace_poll_seconds: float = Field(
        default=5.0,
        gt=0,
        description="How often to look for workspaces, and for owners to be rewritten, that another replica left.",
    )
    owner_portion: int = Field(
        default=1_000,
        ge=1,
        le=10_000,
        description="When an identifier becomes shared or blocked, so many facts get another owner in one transaction.",
    )


class ProfileSettings(ServiceSettings, FoldSettings, StorageSettings, FollowerSettings):
    """All that the profile service is told."""

    model_config = service_config("profile")

    identity_address: str = Field(default="127.0.0.1:7001", description="Where identity is, as gRPC names targets.")
    plugins: tuple[str, ...] | None = Field(
        default=None, description="Plugins to load identifier kinds from. None: all that are installed."
    )
