"""How fast facts are accepted: by gRPC, by HTTP, and one at a time."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import httpx
from google.protobuf.timestamp_pb2 import Timestamp
from sima.profile.v1 import profile_service_pb2 as pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub

from benchmarks import floors
from benchmarks.figures import Figure, percentile, sized
from benchmarks.load import batches
from benchmarks.stack import TOKEN, Stack, started

T = TypeVar("T")

BATCH = 1_000
IN_FLIGHT = 4
EVENTS = 200_000
PEOPLE = 20_000
SINGLES = 500
LEAST = IN_FLIGHT * BATCH


async def ingest(scale: float) -> AsyncIterator[Figure]:
    """Batches of 1,000 over gRPC, two identifiers an event, ten events a person."""
    requests = batches(sized(EVENTS, scale, LEAST), BATCH, sized(PEOPLE, scale))
    async with started() as stack:
        stub: Any = ProfileServiceStub(stack.profile.channel)

        async def send(request: pb.IngestRequest) -> None:
            response = await stack.profile.call(stub.Ingest, request, deadline=60)
            assert all(result.outcome == pb.INGEST_OUTCOME_ACCEPTED for result in response.results)

        rate = await per_second(requests, send)
        floor = await asyncio.to_thread(copy_floor, stack, requests)
    yield Figure("ingest", rate, "events/s", floor, "binary COPY of the same rows into one bare table", 10_000)


async def collect(scale: float) -> AsyncIterator[Figure]:
    """The same through the collector's HTTP batch API."""
    requests = batches(sized(EVENTS // 2, scale, LEAST), BATCH, sized(PEOPLE // 2, scale), seed=2)
    bodies = [body(request) for request in requests]
    async with started() as stack, httpx.AsyncClient(timeout=60) as client:
        url = f"{stack.running.collector}/in/bench/batch"

        async def send(content: bytes) -> None:
            response = await client.post(url, content=content, headers={"authorization": f"Bearer {TOKEN}"})
            assert response.status_code == 200, response.text
            assert response.json()["result"]["accepted"] == BATCH, response.text

        rate = await per_second(bodies, send)
        floor = await asyncio.to_thread(copy_floor, stack, requests)
    yield Figure("collect", rate, "events/s", floor, "binary COPY of the same rows into one bare table", 5_000)


async def single_event(scale: float) -> AsyncIterator[Figure]:
    """One event, one call, one after the other, on a database that holds some events already."""
    async with started() as stack:
        stub: Any = ProfileServiceStub(stack.profile.channel)
        for request in batches(20_000, BATCH, 2_000):
            await stack.profile.call(stub.Ingest, request, deadline=60)
        taken = []
        singles = batches(sized(SINGLES, scale, 20), 1, 2_000, seed=3)
        for request in singles:
            began = time.perf_counter()
            await stack.profile.call(stub.Ingest, request)
            taken.append((time.perf_counter() - began) * 1000)
        bare = await asyncio.to_thread(floors.insert_ms, stack.database_url, [floors.rows(one)[0] for one in singles])
    for share, bar in ((0.5, 10.0), (0.99, 40.0)):
        name = f"single_event_ms_p{round(share * 100)}"
        yield Figure(name, percentile(taken, share), "ms", percentile(bare, share), "one durable INSERT", bar)


async def per_second(items: Sequence[T], send: Callable[[T], Awaitable[None]]) -> float:
    """Events a second when `IN_FLIGHT` callers send batches until all are sent."""
    waiting = iter(items)

    async def caller() -> None:
        for item in waiting:
            await send(item)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return len(items) * BATCH / (time.perf_counter() - began)


def copy_floor(stack: Stack, requests: Sequence[pb.IngestRequest]) -> float:
    """Rows a second of the bare database."""
    return floors.copy_per_second(stack.database_url, [floors.rows(request) for request in requests])


def body(request: pb.IngestRequest) -> bytes:
    """A batch as the HTTP API takes it."""
    return json.dumps(
        {
            "batch": [
                {
                    "message_id": fact.message_id,
                    "occurred_at": iso(fact.occurred_at),
                    "identifiers": [{"kind": one.kind, "value": one.value} for one in fact.identifiers],
                    "event": {"name": fact.event.name, "properties": json.loads(fact.event.properties)},
                }
                for fact in request.facts
            ]
        }
    ).encode()


def iso(instant: Timestamp) -> str:
    """An instant as JSON carries it."""
    return instant.ToJsonString()
