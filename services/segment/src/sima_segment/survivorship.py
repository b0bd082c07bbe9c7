"""How the value of a trait is chosen among its observations; the settings agree with those of the profile service."""

from dataclasses import dataclass
from enum import StrEnum


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
        trusted_sources: Sources in their order of trust, for most_trusted_source; who is absent comes last.
    """

    survivorship: Survivorship = Survivorship.MOST_RECENT
    trusted_sources: tuple[str, ...] = ()
