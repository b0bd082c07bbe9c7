"""How fast the longest way through a profile is explained, and walked for the people of a moment: a chain that begins
with a user and goes on from one browser to the next."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier

from benchmarks import identity_floors as floors
from benchmarks.figures import Figure, percentile, sized
from benchmarks.graph import Graph
from benchmarks.stack import started
from benchmarks.world import long_ago

#: Identifiers of a profile, and how often its chain is explained; ...
PROFILES = {20: 500, 1_000: 100}
LESS_OFTEN = 10  # ... so many times less often the people of a moment are asked for

_FLOOR = "one SELECT of all edges of the profile"


async def explain(scale: float) -> AsyncIterator[Figure]:
    """ExplainLink from one end of each chain to the other, and LookupAsOf of the first."""
    async with started() as stack:
        graph = Graph(stack, "chains", long_ago())
        chains = {size: chain(size) for size in PROFILES}
        for links in chains.values():
            await graph.resolve(graph.seen((f"link {number}", pair) for number, pair in enumerate(pairwise(links))))
        await asyncio.to_thread(stack.tidy)
        for size, links in chains.items():
            taken = await explained(graph, links, sized(PROFILES[size], scale, 10))
            keys = graph.keys_of(links)
            bare = await asyncio.to_thread(floors.select_ms, stack.database_url, graph.workspace, keys, len(taken))
            for share in (0.5, 0.99):
                name, floor = f"identity_explain_{size}_ms_p{round(share * 100)}", percentile(bare, share)
                yield Figure(name, percentile(taken, share), "ms", floor, _FLOOR)
            past = await looked_up(graph, links, sized(PROFILES[size] // LESS_OFTEN, scale, 10))
            yield Figure(f"identity_as_of_{size}_ms_p50", percentile(past, 0.5), "ms", percentile(bare, 0.5), _FLOOR)


async def explained(graph: Graph, links: Sequence[Identifier], calls: int) -> list[float]:
    """Milliseconds of each explanation, which must name every link."""
    request = pb.ExplainLinkRequest(identifier=links[0], other=links[-1])
    answer: pb.ExplainLinkResponse = await graph.ask("ExplainLink", request)
    assert (answer.linked, answer.partial, len(answer.chain)) == (True, False, len(links) - 1)
    return [await graph.timed("ExplainLink", request) for _ in range(calls)]


async def looked_up(graph: Graph, links: Sequence[Identifier], calls: int) -> list[float]:
    """Milliseconds of each look-up as of when they had been seen, which must find all."""
    as_of = Timestamp()
    as_of.FromDatetime(graph.start)
    request = pb.LookupAsOfRequest(keys=[pb.LookupKey(identifier=links[0])], as_of=as_of)
    answer: pb.LookupAsOfResponse = await graph.ask("LookupAsOf", request)
    assert [len(result.identifiers) for result in answer.results] == [len(links)]
    return [await graph.timed("LookupAsOf", request) for _ in range(calls)]


def chain(size: int) -> list[Identifier]:
    """A user, and browsers of which each was seen with the one before."""
    browsers = (Identifier(kind="anonymous_id", value=f"browser-{size}-{number}") for number in range(1, size))
    return [Identifier(kind="user_id", value=f"u{size}"), *browsers]
