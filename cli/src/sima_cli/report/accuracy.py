"""How well the people that were found agree with the truth, over pairs of identifiers."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sima_cli.sample.truth import Known, Truth, read_truth

#: The profile of each identifier.
Found = Mapping[Known, str]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The usual three figures.

    Attributes:
        pairs: Pairs of identifiers that are one person's in truth.
        precision: Share of the pairs found that are true; 1.0 if none was found.
        recall: Share of the true pairs that were found; 1.0 if there is none.
    """

    pairs: int
    precision: float
    recall: float


def measure(folder: Path, found: Found) -> Accuracy:
    """Compare with the truth that lies in the folder of a sample."""
    return compare(read_truth(folder), found)


def compare(truth: Truth, found: Found) -> Accuracy:
    """Compare the profile of each identifier with the person it is known by in truth.

    An identifier that is nobody's alone (shared, junk, or unknown to the truth) belongs with no other: whatever it was
    put together with counts against precision. One that was not found at all counts against recall.
    """
    people = {known: _person(truth, known) for known in truth.keys() | found.keys()}
    true_pairs = _pairs(people.values())
    found_pairs = _pairs(found.values())
    agreed = _pairs((people[known], profile) for known, profile in found.items())
    return Accuracy(true_pairs, _share(agreed, found_pairs), _share(agreed, true_pairs))


def _person(truth: Truth, known: Known) -> Hashable:
    person = truth.get(known)
    return known if person is None else person


def _pairs(labels: Iterable[Hashable]) -> int:
    """Return how many pairs carry equal labels, from the sizes of the groups."""
    return sum(size * (size - 1) // 2 for size in Counter(labels).values())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
