"""What it costs to be seen with a hub: a telephone number that a hundred thousand e-mail addresses were seen with."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier

from benchmarks.figures import Figure, percentile, short, sized, told
from benchmarks.graph import Graph, batches, identifiers
from benchmarks.ingest import BATCH
from benchmarks.stack import started
from benchmarks.world import long_ago

EDGES = 100_000
CALLS = 300

_HUB = Identifier(kind="phone", value="+493023125000")
_Set = tuple[str, Sequence[Identifier]]
_Show = Callable[[int], _Set]


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds of calls about what was seen with the hub, and, in turn, about what never was."""

    near: list[float] = field(default_factory=list)
    far: list[float] = field(default_factory=list)

    def figures(self, name: str, floor_is: str) -> Iterator[Figure]:
        """The calls near the hub beside those far from it."""
        for share in (0.5, 0.99):
            value, floor = percentile(self.near, share), percentile(self.far, share)
            yield Figure(f"{name}_p{round(share * 100)}", value, "ms", floor, floor_is)


async def hub(scale: float) -> AsyncIterator[Figure]:
    """New evidence about addresses that were seen with the hub, then new addresses that are seen with it."""
    edges, calls = sized(EDGES, scale, BATCH), sized(CALLS, scale, 20)
    async with started() as stack:
        graph = Graph(stack, "hub", long_ago())
        with told(f"a hub of {edges} edges, and addresses with a card of their own"):
            await fill(graph, seen_with_hub, range(edges))
            await fill(graph, seen_with_card, range(edges, edges + calls))
        await asyncio.to_thread(stack.tidy)
        neighbours = await compared(graph, browsing, range(calls), browsing, range(edges, edges + calls))
        first, last = edges + calls, edges + 2 * calls
        next_edges = await compared(graph, seen_with_hub, range(first, last), seen_with_card, range(last, last + calls))
        assert await is_hub(graph), "the telephone number binds people"
    size = short(edges)
    for figure in neighbours.figures(f"identity_hub_{size}_neighbour_ms", "the same about addresses far from any hub"):
        yield figure
    for figure in next_edges.figures(f"identity_hub_{size}_next_edge_ms", "a new address with a new card"):
        yield figure


async def fill(graph: Graph, show: _Show, numbers: range) -> None:
    """Resolve what shows people, in batches, one after the other."""
    for batch in batches(numbers):
        await graph.resolve(graph.seen(map(show, batch)))


async def compared(graph: Graph, near: _Show, near_numbers: range, far: _Show, far_numbers: range) -> Taken:
    """Resolve one set a call, near the hub and far from it in turn."""
    taken = Taken()
    for near_number, far_number in zip(near_numbers, far_numbers, strict=True):
        taken.near.append(await graph.timed("Resolve", graph.seen([near(near_number)])))
        taken.far.append(await graph.timed("Resolve", graph.seen([far(far_number)])))
    return taken


async def is_hub(graph: Graph) -> bool:
    """Whether the telephone number is shared, so that none of its edges binds."""
    found: pb.LookupResponse = await graph.ask("Lookup", pb.LookupRequest(keys=[pb.LookupKey(identifier=_HUB)]))
    return [known.shared for known in found.results[0].identifiers] == [True]


def seen_with_hub(number: int) -> _Set:
    """An address with the hub."""
    return f"hub {number}", [address(number), _HUB]


def seen_with_card(number: int) -> _Set:
    """An address with a card of its own."""
    return f"card {number}", [address(number), *identifiers({"loyalty_card": f"CARD{number:07}"})]


def browsing(number: int) -> _Set:
    """An address with a browser that nobody has seen before."""
    return f"browser {number}", [address(number), *identifiers({"anonymous_id": f"browser-{number}"})]


def address(number: int) -> Identifier:
    """The address of a person."""
    return Identifier(kind="email", value=f"person{number}@mail.example.com")
