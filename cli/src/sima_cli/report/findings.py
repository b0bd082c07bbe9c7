"""All figures of a demo, and the one JSON object that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sima.profile.v1.profile_service_pb2 import Profile
from sima.segment.v1.segment_service_pb2 import Segment

from sima_cli.report.accuracy import Accuracy
from sima_cli.report.feeds import RELATIONS, Facts


@dataclass(frozen=True, slots=True)
class Live:
    """One more purchase, and what followed.

    Attributes:
        name: Who bought.
        segment: The segment that they entered.
        amount: What they paid, with its currency.
        source: Through which channel.
        milliseconds: From sending the webhook to hearing of the entry.
    """

    name: str
    segment: str
    amount: str
    source: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What a demo found out.

    Attributes:
        facts: By source, how many rows of each relation are stored.
        outcomes: What became of all facts that were sent.
        identifiers: How many there are.
        people: How many people they are.
        merges: How many profiles became part of another.
        portrait: The profile to show, and the segments it is in.
        segments: With sizes.
        accuracy: Against the truth.
        live: The last purchase.
        seconds: From the first request to here.
    """

    facts: Facts
    outcomes: Mapping[str, int]
    identifiers: int
    people: int
    merges: int
    portrait: tuple[Profile, Sequence[str]]
    segments: Sequence[Segment]
    accuracy: Accuracy
    live: Live
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "facts": {source: sum(rows.values()) for source, rows in sorted(self.facts.items())},
            "identifiers": self.identifiers,
            "people": self.people,
            "merges": self.merges,
            "segments": {segment.name: segment.size for segment in self.segments},
            "truth": {
                "pairs": self.accuracy.pairs,
                "precision": self.accuracy.precision,
                "recall": self.accuracy.recall,
            },
            "live_ms": round(self.live.milliseconds, 1),
            "seconds": round(self.seconds, 1),
        }

    def stored(self, relation: str) -> int:
        """Return how many facts of one relation are stored."""
        return sum(rows.get(relation, 0) for rows in self.facts.values())

    @property
    def stored_facts(self) -> int:
        """How many facts are stored."""
        return sum(map(self.stored, RELATIONS))
