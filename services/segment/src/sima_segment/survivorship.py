"""How the value of a trait is chosen among its observations; the settings agree with those of the profile service."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Survivorship(StrEnum):
    """How the value that counts is chosen."""

    MOST_RECENT = "most_recent"
    MOST_TRUSTED_SOURCE = "most_trusted_source"
    DECLARED_FIRST = "declared_first"
    UNION = "union"


@dataclass(frozen=True, slots=True)
class TraitPolicy:
    """How one trait survives.

    Attributes:
        survivorship: The rule.
        trusted_sources: Sources in their order of trust, each once, for most_trusted_source; who is absent comes last.

    Raises:
        ValueError: A source is there twice, or most_trusted_source has no trusted_sources.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # else the settings would drop a misspelt key in silence

    survivorship: Survivorship = Survivorship.MOST_RECENT
    trusted_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.survivorship is Survivorship.MOST_TRUSTED_SOURCE and not self.trusted_sources:
            raise ValueError("expected trusted_sources for most_trusted_source")
        if len(set(self.trusted_sources)) < len(self.trusted_sources):
            raise ValueError("expected each source once in trusted_sources")
