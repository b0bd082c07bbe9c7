"""What a connector produces: facts about identifiers, as plain dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

TraitValue = str | float | bool | datetime


class Method(StrEnum):
    """How a value came to be known."""

    DECLARED = "declared"  # the person said so
    OBSERVED = "observed"  # seen in behaviour, or measured by a system
    ACQUIRED = "acquired"  # bought, or imported from somebody else


@dataclass(frozen=True, slots=True)
class Identifier:
    """A name by which a channel knows somebody; `value` is as the channel wrote it."""

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `properties` must be JSON."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trait:
    """One value of one trait; `confidence` is above 0 and at most 1."""

    name: str
    value: TraitValue
    method: Method = Method.OBSERVED
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person said about one purpose."""

    purpose: str
    granted: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """One message of a channel: who it is about and what it says.

    Attributes:
        message_id: The channel's own id of the message; sent again, it is the same message. Empty if the channel gives
            none: then the content stands in for it, and equal facts are one.
        identifiers: By which names the channel knows whom it is about; at least one.
        occurred_at: When it happened, with a time zone, as the payload states it. None if it states no time.
        event: What happened, if anything.
        traits: What it says about the person.
        consents: What the person said about uses of their data.
    """

    message_id: str
    identifiers: tuple[Identifier, ...]
    occurred_at: datetime | None = None
    event: Event | None = None
    traits: tuple[Trait, ...] = ()
    consents: tuple[Consent, ...] = ()


def identifiers(*named: tuple[str, str | None]) -> tuple[Identifier, ...]:
    """Return the identifiers that have a value, from pairs of kind and value, each of them once."""
    return tuple(dict.fromkeys(Identifier(kind, value) for kind, value in named if value))


def traits(method: Method, /, **values: TraitValue | None) -> tuple[Trait, ...]:
    """Return a trait for each value that is there, all of them known by the same method."""
    return tuple(Trait(name, value, method) for name, value in values.items() if value is not None)
