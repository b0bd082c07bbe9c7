"""How long a rule takes over everybody, beside the fastest SQL that anybody could write for its question."""

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sima.segment.v1 import segment_service_pb2 as pb
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub

from benchmarks.figures import Figure, tell
from benchmarks.questions import QUESTIONS, Question
from benchmarks.stack import Stack
from benchmarks.world import World

REPEATS = 5
BAR = 1.5
_DEADLINE = 600.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The least seconds of a rule, and of the fastest SQL for its question."""

    question: Question
    ours: float
    floor: float

    @property
    def ratio(self) -> float:
        """How many times as long the rule takes."""
        return self.ours / self.floor


async def compare_all(stack: Stack, world: World) -> list[Comparison]:
    """Ask all questions."""
    return [await compare(stack, world, question) for question in QUESTIONS]


async def compare(stack: Stack, world: World, question: Question) -> Comparison:
    """Ask one question several times, in turn by rule and by SQL; every answer must be of the same size."""
    ours, floor = [], []
    for _ in range(REPEATS):
        taken, size = await preview(stack, question.rule)
        ours.append(taken)
        for variant in question.variants:
            taken, expected = await asyncio.to_thread(world.ask, variant)
            floor.append(taken)
            assert size == expected, f"{question.rule} finds {size} people, the SQL {expected}"
    found = Comparison(question, min(ours), min(floor))
    tell(f"  {found.ours * 1000:7.1f} ms, SQL {found.floor * 1000:7.1f} ms, {size} people: {question.rule}")
    return found


async def preview(stack: Stack, rule: str, deadline: float = _DEADLINE) -> tuple[float, int]:
    """Evaluate a rule for everybody; how many seconds the service says that took, and how many people it found."""
    stub: Any = SegmentServiceStub(stack.segment.channel)
    request = pb.PreviewSegmentRequest(rule=rule)
    found = await stack.segment.call(stub.PreviewSegment, request, deadline=deadline)
    assert not found.problems, found.problems
    return found.took.ToTimedelta().total_seconds(), found.size


def figures(compared: Sequence[Comparison]) -> Iterator[Figure]:
    """Yield the seconds of all rules together, and how the ratios lie."""
    ours, floor = sum(one.ours for one in compared), sum(one.floor for one in compared)
    variants = "the fastest of hand-written SQL for each question, on tables with the person as a plain column"
    yield Figure("full_evaluation", ours, "s", floor, f"{variants}; {len(compared)} rules together")
    median = statistics.median(one.ratio for one in compared)
    yield Figure("full_evaluation_median", median, "ratio", 1.0, variants, BAR)
    worst = max(compared, key=lambda one: one.ratio)
    yield Figure("full_evaluation_worst", worst.ratio, "ratio", 1.0, f"{variants}: {worst.question.rule}", BAR)
