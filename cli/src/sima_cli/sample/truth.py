"""The truth of a sample: whose every identifier is. Only the generator and the report may read it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "truth.jsonl"


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """An identifier in its normal form."""

    kind: str
    value: str


#: Whose an identifier is: the person's number, or None when it leads to several people or to nobody.
Truth = Mapping[Known, int | None]


@dataclass(frozen=True, slots=True)
class Testimony:
    """Whom a message is about, and by which names, in their normal forms. Junk is nobody's name and not among them."""

    person: int
    names: tuple[Known, ...]


def names(**by_kind: str | int | None) -> tuple[Known, ...]:
    """Return the names that there are, one of each kind."""
    return tuple(Known(kind, str(value)) for kind, value in by_kind.items() if value is not None)


def truth_of(testimonies: Iterable[Testimony], junk: Iterable[Known]) -> Truth:
    """Return whose each identifier of some messages is; several people's is nobody's, like junk."""
    people: dict[Known, set[int]] = defaultdict(set)
    for testimony in testimonies:
        for known in testimony.names:
            people[known].add(testimony.person)
    owners: dict[Known, int | None] = {
        known: next(iter(numbers)) if len(numbers) == 1 else None for known, numbers in people.items()
    }
    return owners | dict.fromkeys(junk)


def write_truth(truth: Truth, folder: Path) -> None:
    """Write the truth as JSON lines, in a fixed order."""
    lines = (
        json.dumps({"kind": known.kind, "value": known.value, "person": truth[known]}, ensure_ascii=False)
        for known in sorted(truth)
    )
    (folder / FILE_NAME).write_text("".join(f"{line}\n" for line in lines))


def read_truth(folder: Path) -> Truth:
    """Read what `write_truth` wrote."""
    return dict(_parsed((folder / FILE_NAME).read_text().splitlines()))


def _parsed(lines: Iterable[str]) -> Iterable[tuple[Known, int | None]]:
    for line in lines:
        row = json.loads(line)
        yield Known(row["kind"], row["value"]), row["person"]
