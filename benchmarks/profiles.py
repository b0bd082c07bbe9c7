"""How fast a profile is read while 300 others a second are, one with a very long history among them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sima.profile.v1 import profile_service_pb2 as pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.type.v1 import fact_pb2
from sima.type.v1.identifier_pb2 import Identifier

from benchmarks import floors
from benchmarks.figures import Figure, percentile, sized
from benchmarks.pace import open_loop
from benchmarks.stack import Stack, started

PEOPLE = 50  # so that one of them is two calls of a hundred, and the 99th percentile is about that one
TRAITS = 20
OBSERVATIONS = 10_000
PER_SECOND = 300
SECONDS = 20
BATCH = 1_000

_WARM_UP = 200
_START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


async def get_profile(scale: float) -> AsyncIterator[Figure]:
    """People with 20 traits and 5 identifiers, one of them with 10,000 observations of one trait, in turn."""
    calls = PER_SECOND * sized(SECONDS, scale, least=3)
    async with started() as stack:
        stub: Any = ProfileServiceStub(stack.profile.channel)
        await fill(stack, stub, sized(OBSERVATIONS, scale, least=1_000))
        await asyncio.to_thread(stack.tidy)

        async def get(request: pb.GetProfileRequest) -> None:
            response = await stack.profile.call(stub.GetProfile, request)
            assert len(response.profile.traits) == TRAITS
            assert len(response.profile.identifiers) == len(identifiers(0))

        await open_loop(requests(_WARM_UP), PER_SECOND, get)
        taken = await open_loop(requests(calls), PER_SECOND, get)
        bare = await asyncio.to_thread(floors.select_ms, stack.database_url, PEOPLE, TRAITS, calls)
    for share, bar in ((0.5, None), (0.99, 20.0)):
        name, floor = f"get_profile_ms_p{round(share * 100)}", percentile(bare, share)
        yield Figure(name, percentile(taken, share), "ms", floor, "one indexed SELECT of 20 observations", bar)


async def fill(stack: Stack, stub: Any, observations: int) -> None:  # noqa: ANN401 - stubs have no public type
    """Send what is known about everybody, and the long history of the first."""
    facts = itertools.chain(map(portrait, range(PEOPLE)), history(observations))
    while batch := list(itertools.islice(facts, BATCH)):
        response = await stack.profile.call(stub.Ingest, pb.IngestRequest(facts=batch), deadline=60)
        assert all(result.outcome == pb.INGEST_OUTCOME_ACCEPTED for result in response.results)


def requests(count: int) -> Iterator[pb.GetProfileRequest]:
    """Ask for one after the other, by each of the identifiers in turn."""
    for number in range(count):
        turn, person = divmod(number, PEOPLE)
        known = identifiers(person)
        yield pb.GetProfileRequest(key=pb.ProfileKey(identifier=known[turn % len(known)]))


def identifiers(person: int) -> list[Identifier]:
    """By what a person is known."""
    values = {
        "user_id": f"u{person}",
        "email": f"person{person}@mail.example.com",
        "loyalty_card": f"CARD{person:06}",
        "device_id": f"phone-{person}",
        "anonymous_id": f"browser-{person}",
    }
    return [Identifier(kind=kind, value=value) for kind, value in values.items()]


def portrait(person: int) -> fact_pb2.Fact:
    """One message with all identifiers and all traits."""
    fact = _fact(f"portrait-{person}", identifiers(person), _START)
    for number in range(TRAITS):
        fact.traits.add(trait=f"trait_{number}", method=fact_pb2.METHOD_DECLARED).value.text = f"{person} {number}"
    return fact


def history(observations: int) -> Iterator[fact_pb2.Fact]:
    """Yield messages about the first person, each with one more value of the same trait."""
    for number in range(observations):
        fact = _fact(f"history-{number}", identifiers(0)[:1], _START + timedelta(seconds=number))
        fact.traits.add(trait="trait_0", method=fact_pb2.METHOD_OBSERVED).value.text = f"value {number}"
        yield fact


def _fact(message_id: str, known: Iterable[Identifier], at: datetime) -> fact_pb2.Fact:
    fact = fact_pb2.Fact(source="bench", message_id=message_id, identifiers=known)
    fact.occurred_at.FromDatetime(at)
    return fact
