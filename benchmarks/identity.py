"""How fast identity resolves what it knows and what is new, in an empty graph, in a large one, and with a replica."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
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

SETS = 60_000
IDENTIFIERS = 1_000_000
MANY_IDENTIFIERS = 10_000_000

_LOOKED_UP = "one plain query a batch for the same identifiers and edges"
_COPIED = "COPY of the same rows into empty tables with the same indexes, durable after each batch"
_LEFT = "what of the floor of that rate is left"


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
    people, sets = sized(identifiers // 2, scale, LEAST), sized(SETS // BATCH, scale, IN_FLIGHT) * BATCH
    async with started() as stack:
        with temporary_folder() as folder, closing(await made(stack, folder, people)) as world:
            small, large = (Graph(stack, workspace, world.start) for workspace in ("small", world.workspace))
            few = await rates(small, 0, sets)
            with told(f"{2 * people} identifiers loaded"):
                await asyncio.to_thread(load_identity, world, stack.database_url, folder)
        await check(small, large, random.Random(1).sample(range(min(people, sets)), BATCH))
        many = await rates(large, people, sets)
        replicas = await two_against_one(large, requests(large, people + sets, 2 * sets))
    suffix = f"_{short(2 * people)}"
    for figure in chain(few.figures(""), many.figures(suffix), many.left_of(few, suffix), [replicas]):
        yield figure


async def made(stack: Stack, folder: Path, people: int) -> World:
    """A world of people who did nothing, to be loaded into a workspace that only identity knows."""
    with told(f"{people} people made"):
        return await asyncio.to_thread(make, folder, stack.secret("large"), people, 0, "large")


async def rates(graph: Graph, first: int, sets: int) -> Rates:
    """Resolve people who are new, from a number on, then as many of all who are known."""
    url = graph.stack.database_url
    new_rate = await resolved_per_second(graph, requests(graph, first, sets))
    new = [graph.keys(numbers) for numbers in batches(range(first, first + sets))]
    new_floor = await asyncio.to_thread(floors.copies_per_second, url, graph.workspace, new, sets)
    await asyncio.to_thread(graph.stack.tidy)
    known = list(batches(random.Random(1).sample(range(first + sets), sets)))
    known_rate = await resolved_per_second(graph, [graph.people(numbers) for numbers in known])
    keys = [graph.keys(numbers) for numbers in known]
    known_floor = await asyncio.to_thread(floors.look_ups_per_second, url, graph.workspace, keys, sets)
    return Rates(known_rate, known_floor, new_rate, new_floor)


async def resolved_per_second(graph: Graph, requests: Sequence[pb.ResolveRequest]) -> float:
    """Sets a second of several callers."""

    async def send(request: pb.ResolveRequest) -> None:
        profiles = await graph.resolve(request)
        assert len(set(profiles)) == BATCH, "every set is of another person"

    return await per_second(requests, send)


def requests(graph: Graph, first: int, sets: int) -> Sequence[pb.ResolveRequest]:
    """What people said, from a number on."""
    return [graph.people(numbers) for numbers in batches(range(first, first + sets))]
