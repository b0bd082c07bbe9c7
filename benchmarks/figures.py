"""What a benchmark prints: one JSON object a line, each figure beside the floor measured in the same run."""

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

#: Unit of figures between 0 and 1 that should be high.
SHARE = "share"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value beside its floor.

    Attributes:
        name: What was measured.
        value: The figure, in `unit`.
        unit: For example `events/s`, `ms` or `share`.
        floor: The least that any implementation would need (or the most it could reach), in `unit`, from the same run.
        floor_is: In words, what the floor did.
        bar: What is promised, in `unit`; None if nothing is.
    """

    name: str
    value: float
    unit: str
    floor: float
    floor_is: str
    bar: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met: throughputs and shares must reach it, everything else must not exceed it."""
        if self.bar is None:
            return None
        must_reach = self.unit == SHARE or self.unit.endswith("/s")
        return self.value >= self.bar if must_reach else self.value <= self.bar

    def line(self) -> str:
        """The figure as one line of JSON."""
        return json.dumps(
            {
                "name": self.name,
                "value": round(self.value, 3),
                "unit": self.unit,
                "floor": round(self.floor, 3),
                "ratio": round(self.value / self.floor, 3) if self.floor else None,
                "bar": self.bar,
                "met": self.met,
                "floor_is": self.floor_is,
            },
            ensure_ascii=False,
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` between 0 and 1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def sized(count: int, scale: float, least: int = 1) -> int:
    """A size of a benchmark at a share of the full scale, but not below what still makes sense."""
    return max(min(least, count), round(count * scale))


def short(count: int) -> str:
    """A large number as it stands in the name of a figure: `20`, `100k`, `10m`; below its last unit it is cut off."""
    for size, letter in ((1_000_000, "m"), (1_000, "k")):
        if count >= size:
            return f"{count // size}{letter}"
    return str(count)


def tell(text: str) -> None:
    """Tell who waits what is being done."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Tell what was done in the block, and how long it took."""
    began = time.perf_counter()
    yield
    tell(f"  {what}: {time.perf_counter() - began:.1f} s")
