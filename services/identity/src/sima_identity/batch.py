"""What a call brings, brought together: each identifier and each edge once."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sima_runtime.wire import KeyedIdentifier

from sima_identity.evidence import pair

# Pairs that are worked off in one transaction; a set of 50 identifiers has 1,225.
_MOST_PAIRS = 20_000


class Sighting(NamedTuple):
    """Identifiers that one message showed together, each once, the strongest first; time in microseconds since 1970."""

    identifiers: Sequence[KeyedIdentifier]
    observed_at: int
    source: str
    message_id: str


class EdgeId(NamedTuple):
    """Two identifiers and the source that showed them together; `low` is the smaller key."""

    low: bytes
    high: bytes
    source: str


class Seen(NamedTuple):
    """When something was seen first, and in which message."""

    first_at: int
    message_id: str


@dataclass(slots=True)
class Batch:
    """Everything that some sightings show.

    Attributes:
        identifiers: By key.
        first_seen: When each identifier was seen first, by key.
        alone: When each identifier that a sighting showed alone was seen so first, by key.
        edges: When each two identifiers were seen together first.
    """

    identifiers: dict[bytes, KeyedIdentifier] = field(default_factory=dict)
    first_seen: dict[bytes, int] = field(default_factory=dict)
    alone: dict[bytes, int] = field(default_factory=dict)
    edges: dict[EdgeId, Seen] = field(default_factory=dict)

    def add(self, sighting: Sighting) -> None:
        """Take in one more sighting."""
        identifiers, observed_at, source, message_id = sighting
        first_seen = self.first_seen
        for identifier in identifiers:
            key = identifier.key
            self.identifiers[key] = identifier
            if observed_at < first_seen.setdefault(key, observed_at):
                first_seen[key] = observed_at
        if len(identifiers) == 1:
            self.alone[key] = min(observed_at, self.alone.get(key, observed_at))
        for one, other in itertools.combinations(identifiers, 2):
            edge = EdgeId(*pair(one.key, other.key), source)
            known = self.edges.get(edge)
            if known is None or observed_at < known.first_at:
                self.edges[edge] = Seen(observed_at, message_id)


def gather(sightings: Iterable[Sighting]) -> Batch:
    """Bring sightings together."""
    batch = Batch()
    for sighting in sightings:
        batch.add(sighting)
    return batch


def portions(sightings: Sequence[Sighting]) -> Iterator[Sequence[Sighting]]:
    """Cut sightings, in order, into portions that one transaction can take."""
    start, pairs = 0, 0
    for number, sighting in enumerate(sightings):
        count = len(sighting.identifiers)
        pairs += count * (count - 1) // 2
        if pairs > _MOST_PAIRS and number > start:
            yield sightings[start:number]
            start, pairs = number, count * (count - 1) // 2
    yield sightings[start:]
