"""What a call brings, brought together: each identifier and each edge once."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from sima_runtime.wire import KeyedIdentifier

from sima_identity.evidence import pair

# Pairs that are worked off in one transaction; a set of 50 identifiers has 1,225.
_MOST_PAIRS = 20_000

_Id = TypeVar("_Id", "EdgeId", "AffiliationId")


class Sighting(NamedTuple):
    """Identifiers that one message showed together, each once, the strongest first; time in microseconds since 1970.

    The first `people` of them are those of a person, the others of a company.
    """

    identifiers: Sequence[KeyedIdentifier]
    people: int
    observed_at: int
    source: str
    message_id: str


class EdgeId(NamedTuple):
    """Two identifiers and the source that showed them together; `low` is the smaller key."""

    low: bytes
    high: bytes
    source: str


class AffiliationId(NamedTuple):
    """An identifier of a person, one of a company, and the source that showed them together."""

    person: bytes
    account: bytes
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
        alone: When each identifier that a sighting showed without another of its sort was seen so first, by key.
        edges: When each two identifiers, of people or of companies, were seen together first.
        affiliations: When each identifier of a person was seen with each of a company first.
    """

    identifiers: dict[bytes, KeyedIdentifier] = field(default_factory=dict)
    first_seen: dict[bytes, int] = field(default_factory=dict)
    alone: dict[bytes, int] = field(default_factory=dict)
    edges: dict[EdgeId, Seen] = field(default_factory=dict)
    affiliations: dict[AffiliationId, Seen] = field(default_factory=dict)

    def add(self, sighting: Sighting) -> None:
        """Take in one more sighting."""
        identifiers, people, observed_at, source, message_id = sighting
        first_seen = self.first_seen
        for identifier in identifiers:
            key = identifier.key
            self.identifiers[key] = identifier
            if observed_at < first_seen.setdefault(key, observed_at):
                first_seen[key] = observed_at
        seen = Seen(observed_at, message_id)
        if people in {0, len(identifiers)}:  # nearly always
            self._add_edges(identifiers, source, seen)
            return
        persons, accounts = identifiers[:people], identifiers[people:]
        self._add_edges(persons, source, seen)
        self._add_edges(accounts, source, seen)
        for person, account in itertools.product(persons, accounts):
            _note(self.affiliations, AffiliationId(person.key, account.key, source), seen)

    def _add_edges(self, identifiers: Sequence[KeyedIdentifier], source: str, seen: Seen) -> None:
        if len(identifiers) == 1:
            key = identifiers[0].key
            self.alone[key] = min(seen.first_at, self.alone.get(key, seen.first_at))
        for one, other in itertools.combinations(identifiers, 2):
            _note(self.edges, EdgeId(*pair(one.key, other.key), source), seen)


def _note(known: dict[_Id, Seen], own: _Id, seen: Seen) -> None:
    if seen.first_at < known.setdefault(own, seen).first_at:
        known[own] = seen


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
