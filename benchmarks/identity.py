"""How fast identity resolves what it knows and what is new, in an empty graph, in a large one, and with a replica."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sima.identity.v1 import identity_service_pb2 as pb

from benchmarks import identity_floors as floors
from benchmarks.figures import SHARE, Figure, short, sized, told
from benchmarks.graph import Graph, batches
from benchmarks.identity_check import check
from benchmarks.identity_replicas import two_against_one
from benchmarks.ingest import BATCH, IN_FLIGHT, LEAST, per_second
from benchmarks.loading import load_identity
from benchmarks.stack import Stack, started, temporary_folder
from benchmarks.world import World, make

SETS = 36_000
ROUNDS = 3
IDENTIFIERS = 1_000_000
MANY_IDENTIFIERS = 10_000_000

_LOOKED_UP = "one plain query a batch for the same identifiers and edges"
_COPIED = "COPY of the same rows into empty tables with the same indexes, durable after each batch"
_LEFT = "what of the floor of that rate is left"

#: Sets a second of the bare database, given its address, a workspace, and the keys of each batch.
Floor = Callable[[str, str, Sequence[Sequence[bytes]]], float]


@dataclass(frozen=True, slots=True)
class Rates:
    """Sets a second.

    Attributes:
        known: All is known.
        known_floor: The bare database, likewise.
        new: Nothing is known.
        new_floor: The bare database, likewise.
    """

    known: float
    known_floor: float
    new: float
    new_floor: float

    def figures(self, suffix: str) -> Iterator[Figure]:
        """Each rate beside its floor."""
        yield Figure(f"identity_resolve_known{suffix}", self.known, "sets/s", self.known_floor, _LOOKED_UP)
        yield Figure(f"identity_resolve_new{suffix}", self.new, "sets/s", self.new_floor, _COPIED)

    def left_of(self, before: "Rates", suffix: str) -> Iterator[Figure]:
        """What is left of the rates of before; the floor is what is left of their floors."""
        for name in ("known", "new"):
            left, floor_left = (getattr(self, one) / getattr(before, one) for one in (name, f"{name}_floor"))
            yield Figure(f"identity_growth_{name}{suffix}", left, SHARE, floor_left, _LEFT)


async def resolve(scale: float) -> AsyncIterator[Figure]:
    """An empty graph, then one with a million identifiers, then a second replica."""
    async for figure in grown(IDENTIFIERS, scale):
        yield figure


async def resolve_large(scale: float) -> AsyncIterator[Figure]:
    """The same with ten million identifiers."""
    async for figure in grown(MANY_IDENTIFIERS, scale):
        yield figure


async def grown(identifiers: int, scale: float) -> AsyncIterator[Figure]:
    """Resolve the people of a world before and after it is loaded, each time in a workspace of its own."""
    people, sets = sized(identifiers // 2, scale, LEAST), sized(SETS // BATCH, scale, ROUNDS * IN_FLIGHT) * BATCH
    async with started() as stack:
        with temporary_folder() as folder, closing(await made(stack, folder, people)) as world:
            small, large = (Graph(stack, workspace, world.start) for workspace in ("small", world.workspace))
            few = await rates(small, 0, sets)
            with told(f"{2 * people} identifiers loaded"):
                await asyncio.to_thread(load_identity, world, stack.database_url, folder)
        await check(small, large, random.Random(1).sample(range(min(people, sets)), BATCH))
        many = await rates(large, people, sets)
        replicas = await two_against_one(large, requests(large, people + sets, sets))
    suffix = f"_{short(2 * people)}"
    for figure in chain(few.figures(""), many.figures(suffix), many.left_of(few, suffix), [replicas]):
        yield figure


async def made(stack: Stack, folder: Path, people: int) -> World:
    """A world of people who did nothing, to be loaded into a workspace that only identity knows."""
    with told(f"{people} people made"):
        return await asyncio.to_thread(make, folder, stack.secret("large"), people, 0, "large")


async def rates(graph: Graph, first: int, sets: int) -> Rates:
    """Resolve people who are new, from a number on, then as many of all who are known."""
    new = await in_turn(graph, range(first, first + sets), floors.copies_per_second)
    await asyncio.to_thread(graph.stack.tidy)
    known = random.Random(1).sample(range(first + sets), sets)
    return Rates(*await in_turn(graph, known, floors.look_ups_per_second), *new)


async def in_turn(graph: Graph, numbers: Sequence[int], floor: Floor) -> tuple[float, float]:
    """The best of several rounds of the service, and of as many of its floor, which take turns: a machine has moods."""
    ours, bare, of_round = [], [], -(-len(numbers) // ROUNDS)
    for first in range(0, len(numbers), of_round):
        people = list(batches(numbers[first : first + of_round]))
        ours.append(await resolved_per_second(graph, [graph.people(batch) for batch in people]))
        keys = [graph.keys(batch) for batch in people]
        bare.append(await asyncio.to_thread(floor, graph.stack.database_url, graph.workspace, keys))
    return max(ours), max(bare)


async def resolved_per_second(graph: Graph, requests: Sequence[pb.ResolveRequest]) -> float:
    """Sets a second of several callers."""

    async def send(request: pb.ResolveRequest) -> None:
        profiles = await graph.resolve(request)
        assert len(set(profiles)) == BATCH, "every set is of another person"

    return await per_second(requests, send)


def requests(graph: Graph, first: int, sets: int) -> Sequence[pb.ResolveRequest]:
    """What people said, from a number on."""
    return [graph.people(numbers) for numbers in batches(range(first, first + sets))]
