"""How soon a membership changes after the event that changes it, while a thousand events a second arrive."""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1 import segment_service_pb2 as pb
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1 import fact_pb2

from benchmarks import floors
from benchmarks.figures import Figure, percentile, sized, tell, told
from benchmarks.loading import SOURCE
from benchmarks.pace import open_loop
from benchmarks.segments import PROBE, PROBE_TOTAL, rules
from benchmarks.stack import Stack
from benchmarks.world import CATEGORIES, NAMES, World

EVENTS_PER_SECOND = 1_000
BATCH = 50
SECONDS = 60
WARM_UP_SECONDS = 10  # without probes: plans are made and caches filled by then
PROBES_PER_SECOND = 5
NEW_PEOPLE = 0.02  # share of the events

_DEADLINE = 600.0
_FEWEST_SECONDS = 10
_PATIENCE_SECONDS = 60.0
_BATCHES_PER_SECOND = EVENTS_PER_SECOND // BATCH
_NOTIFICATIONS = 500


@dataclass(slots=True)
class Probes:
    """People whose one event makes them enter a segment, by profile id, with instants of the monotonic clock.

    Attributes:
        accepted: When `Ingest` had answered.
        delivered: When the change of the membership came.
    """

    accepted: dict[str, float] = field(default_factory=dict)
    delivered: dict[str, float] = field(default_factory=dict)

    def all_delivered(self) -> bool:
        """Whether nothing is waited for."""
        return self.accepted.keys() <= self.delivered.keys()

    def waits(self) -> list[float]:
        """Milliseconds between the two; who was waited for in vain counts as if it had come when the waiting ended."""
        end = time.perf_counter()
        return [max(0.0, self.delivered.get(one, end) - at) * 1000 for one, at in self.accepted.items()]


async def live(stack: Stack, world: World, scale: float) -> AsyncIterator[Figure]:
    """Create the segments, then send events for a minute, and ten seconds before, and listen who enters."""
    await create_segments(stack)
    probes = Probes()
    rate = await heard(stack, world, sized(SECONDS, scale, _FEWEST_SECONDS), probes)
    assert world.knows(probes.accepted), "the loaded identifiers are not those that Ingest finds"
    waits = probes.waits()
    bare = await asyncio.to_thread(floors.notify_ms, stack.database_url, _NOTIFICATIONS)
    for share, bar in ((0.5, None), (0.99, 1_000.0)):
        name, floor = f"live_ms_p{round(share * 100)}", percentile(bare, share)
        floor_is = "a row committed by one connection and read by another, which was notified of it"
        yield Figure(name, percentile(waits, share), "ms", floor, floor_is, bar)
    yield Figure("live_load", rate, "events/s", EVENTS_PER_SECOND, "what was to be sent", 0.95 * EVENTS_PER_SECOND)


async def heard(stack: Stack, world: World, seconds: int, probes: Probes) -> float:
    """Listen while events are sent; fills `probes`, and returns how many events a second were accepted."""
    listening = asyncio.create_task(listen(stack, await cursor_now(stack), probes))
    began = time.perf_counter()
    taken = await send(stack, world, seconds, probes)
    rate = len(taken) * BATCH / (time.perf_counter() - began)
    tell(f"  Ingest of {BATCH}: p50 {percentile(taken, 0.5):.1f} ms, p99 {percentile(taken, 0.99):.1f} ms")
    await patience(probes)
    tell(f"  {len(probes.delivered)} of {len(probes.accepted)} entries delivered")
    if listening.done():  # which it is only when the stream broke
        listening.result()
    listening.cancel()
    return rate


async def create_segments(stack: Stack) -> None:
    """Create all segments, with the members that they have at once."""
    stub: Any = SegmentServiceStub(stack.segment.channel)
    sizes = []
    with told("segments created"):
        for name, rule in rules().items():
            request = pb.CreateSegmentRequest(segment=pb.Segment(name=name, rule=rule))
            sizes.append((await stack.segment.call(stub.CreateSegment, request, deadline=_DEADLINE)).segment.size)
    tell(f"  {len(sizes)} segments with {sum(sizes)} members, the largest with {max(sizes)}")


async def cursor_now(stack: Stack) -> str:
    """The end of the feed of memberships."""
    cursor = ""
    async with aclosing(_watch(stack, pb.WatchMembershipsRequest(segments=[PROBE], until_now=True))) as pages:
        async for page in pages:
            cursor = page.cursor
    return cursor


async def listen(stack: Stack, cursor: str, probes: Probes) -> None:
    """Note who enters the probe's segment, until cancelled."""
    async with aclosing(_watch(stack, pb.WatchMembershipsRequest(segments=[PROBE], cursor=cursor))) as pages:
        async for page in pages:
            now = time.perf_counter()
            for change in page.changes:
                probes.delivered.setdefault(change.profile_id, now)


async def send(stack: Stack, world: World, seconds: int, probes: Probes) -> list[float]:
    """Send batches at a steady pace, some of them with a probe, and return the milliseconds of each."""
    stub: Any = ProfileServiceStub(stack.profile.channel)

    async def ingest(facts: Sequence[fact_pb2.Fact]) -> None:
        response = await stack.profile.call(stub.Ingest, profile_pb.IngestRequest(facts=facts))
        now = time.perf_counter()
        assert all(result.outcome == profile_pb.INGEST_OUTCOME_ACCEPTED for result in response.results)
        if facts[0].message_id.startswith(PROBE):
            probes.accepted[response.results[0].profile_id] = now

    return await open_loop(batches(world, seconds), _BATCHES_PER_SECOND, ingest)


async def patience(probes: Probes) -> None:
    """Wait for entries that have not come yet, but not for ever."""
    end = time.perf_counter() + _PATIENCE_SECONDS
    while not probes.all_delivered() and time.perf_counter() < end:  # noqa: ASYNC110 - the clock is the other condition
        await asyncio.sleep(0.1)


def batches(world: World, seconds: int) -> Iterator[list[fact_pb2.Fact]]:
    """Yield batches of what happens at this moment; once all is warm, a probe comes first in some of them."""
    chance = random.Random(1)
    for number in range((WARM_UP_SECONDS + seconds) * _BATCHES_PER_SECOND):
        batch = [event(chance, world, f"{number}-{place}") for place in range(BATCH)]
        warm = number >= WARM_UP_SECONDS * _BATCHES_PER_SECOND
        if warm and number % (_BATCHES_PER_SECOND // PROBES_PER_SECOND) == 0:
            batch[0] = probe(world.people - 1 - number)
        yield batch


def event(chance: random.Random, world: World, message_id: str) -> fact_pb2.Fact:
    """Something that somebody does now, mostly one of those who did most before."""
    person = int(world.people * chance.random() ** 1.5)
    if chance.random() < NEW_PEOPLE:
        person = world.people + chance.randrange(world.people)
    properties = {
        "category": chance.choice(CATEGORIES),
        "total": round(chance.uniform(1, 300), 2),
        "price": round(chance.uniform(1, 300), 2),
        "duration_s": chance.randrange(300),
    }
    return _fact(message_id, person, chance.choice(NAMES), properties)


def probe(person: int) -> fact_pb2.Fact:
    """The one event that makes somebody enter the probe's segment."""
    return _fact(f"{PROBE}-{person}", person, "order_completed", {"total": PROBE_TOTAL})


def _fact(message_id: str, person: int, name: str, properties: dict[str, object]) -> fact_pb2.Fact:
    fact = fact_pb2.Fact(source=SOURCE, message_id=message_id)
    fact.identifiers.add(kind="user_id", value=f"u{person}")
    fact.identifiers.add(kind="anonymous_id", value=f"browser-{person}")
    fact.occurred_at.FromDatetime(datetime.now(UTC))
    fact.event.name = name
    fact.event.properties = json.dumps(properties).encode()
    return fact


def _watch(stack: Stack, request: pb.WatchMembershipsRequest) -> AsyncGenerator[Any, None]:
    stub: Any = SegmentServiceStub(stack.segment.channel)
    return stack.segment.stream(stub.WatchMemberships, request)
