"""Every setting of the segment service, with its default and meaning."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings
from sima_runtime.settings import ServiceSettings, service_config

from sima_segment.projection import Configuration, Limits, Resources
from sima_segment.survivorship import TraitPolicy


class ProjectionSettings(BaseSettings):
    """Where and how the facts are projected for rules."""

    data_dir: Path = Field(
        Path(".sima/segment"),
        description="Directory of the projections, one file per workspace. They are a cache: what is missing is built "
        "again from the feeds. Only one process may use the directory.",
    )
    projection_threads: int = Field(2, ge=1, description="Threads that look through the facts of a workspace.")
    projection_memory: str = Field(
        "2GB", pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$", description="Memory for the facts of a workspace, before the disk."
    )
    most_event_names: int = Field(1_000, ge=1, description="Event names that rules can ask for; more are reported.")
    most_properties: int = Field(
        300, ge=1, description="Properties that rules can ask for, per event name; more are reported."
    )
    most_traits: int = Field(1_000, ge=1, description="Traits that rules can ask for; more are reported.")
    traits: Mapping[str, TraitPolicy] = Field(
        default={},
        description="By trait, how its value is chosen, as in the settings of the profile service; the two must agree.",
    )

    def configuration(self) -> Configuration:
        """Return how projections are made."""
        return Configuration(
            Limits(self.most_event_names, self.most_properties, self.most_traits),
            self.traits,
            Resources(self.projection_threads, self.projection_memory),
        )


class LiveSettings(BaseSettings):
    """How memberships are kept up to date."""

    workspaces: tuple[str, ...] = Field(
        (), description="Workspaces to follow from the start; others are followed from their first segment or preview."
    )
    tick_seconds: float = Field(
        1.0, gt=0, description="How often to look for people who enter or leave by the passing of time alone."
    )
    step_seconds: float = Field(
        0.1, ge=0, description="Least time from one step to the next; what arrives between is worked off together."
    )
    start_seconds: float = Field(
        600.0,
        gt=0,
        description="A call waits at most so long while the projection of its workspace is opened or built.",
    )
    catch_up_seconds: float = Field(
        5.0,
        gt=0,
        description="How long a call waits for the facts accepted before it; it then goes on with what came.",
    )


class SegmentSettings(ServiceSettings, ProjectionSettings, LiveSettings):
    """All that the segment service is told."""

    model_config = service_config("segment")

    identity_address: str = Field("127.0.0.1:7001", description="Where identity is, as gRPC names targets.")
    profile_address: str = Field("127.0.0.1:7002", description="Where profile is, as gRPC names targets.")
    plugins: tuple[str, ...] | None = Field(
        None, description="Plugins to load rule functions from. None: all that are installed."
    )
