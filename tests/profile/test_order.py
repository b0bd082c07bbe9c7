"""The law: the same facts in any order, batches and retries give the same people with the same profiles."""

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import (
    CONSENT_STATUS_DENIED,
    CONSENT_STATUS_GRANTED,
    METHOD_ACQUIRED,
    METHOD_DECLARED,
    METHOD_OBSERVED,
    ConsentStatement,
    Event,
    Fact,
    TraitObservation,
)
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value

from .conftest import RELATIONS, Stack, at, by, replayed

pytestmark = pytest.mark.asyncio(loop_scope="session")

KINDS = ("user_id", "email", "phone", "device_id", "anonymous_id")
VALUES = {
    "email": ["a@example.org", "b@example.org", "c@example.org", "test@test.com"],
    "phone": ["+966501234567", "+4930901820"],
}
IDENTIFIERS = st.sampled_from(KINDS).flatmap(
    lambda kind: st.builds(Identifier, kind=st.just(kind), value=st.sampled_from(VALUES.get(kind, ["1", "2", "3"])))
)
TRAITS = st.builds(
    TraitObservation,
    trait=st.sampled_from(["city", "trusted", "declared", "interests"]),
    value=st.one_of(st.builds(Value, text=st.sampled_from(["x", "y"])), st.builds(Value, number=st.just(1))),
    method=st.sampled_from([METHOD_DECLARED, METHOD_OBSERVED, METHOD_ACQUIRED]),
    confidence=st.sampled_from([0.5, 1.0]),
)
CONSENTS = st.builds(
    ConsentStatement,
    purpose=st.sampled_from(["ads", "news"]),
    status=st.sampled_from([CONSENT_STATUS_GRANTED, CONSENT_STATUS_DENIED]),
)
# Few values everywhere, so that identifiers meet, times tie, and one message id comes with several contents.
FACTS = st.builds(
    Fact,
    source=st.sampled_from(["crm", "shop", "web"]),
    message_id=st.sampled_from(["", "1", "2", "3", "4", "5"]),
    identifiers=st.lists(IDENTIFIERS, min_size=1, max_size=3),
    occurred_at=st.builds(at, st.sampled_from([0, 0.0001, 1, 60])),
    event=st.one_of(st.none(), st.builds(Event, name=st.sampled_from(["e", "f"]), properties=st.just(b'{"n":1}'))),
    traits=st.lists(TRAITS, max_size=3),
    consents=st.lists(CONSENTS, max_size=2),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Fact], list[list[list[Fact]]]]:
    """Some facts; and the same, shuffled, with retries, as rounds of batches that are sent at once."""
    facts = draw(st.lists(FACTS, min_size=1, max_size=14))
    retried = facts + draw(st.lists(st.sampled_from(facts), max_size=6))
    shuffled = draw(st.permutations(retried))
    rounds: list[list[list[Fact]]] = []
    while shuffled:
        sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
        batches = []
        for size in sizes:
            batches.append(shuffled[:size])
            shuffled = shuffled[size:]
        rounds.append([batch for batch in batches if batch])
    return facts, rounds


def plain(profile: pb.Profile) -> pb.Profile:
    """A profile without its id, which depends on who was first."""
    profile.profile_id = ""
    return profile


async def everything(stack: Stack, facts: list[Fact]) -> dict[str, Any]:
    """All that the contract shows of everybody in some facts."""
    await stack.settled()
    keys = {identifier.SerializeToString(): by(identifier) for fact in facts for identifier in fact.identifiers}
    people = await stack.profiles(*keys.values())
    first_keys = {found.profile.profile_id: key for key, found in zip(keys.values(), people, strict=True)}
    timelines = [
        [(event.fact_id, event.event, event.source, event.occurred_at) for event in (await stack.events(key)).events]
        for profile_id, key in first_keys.items()
        if profile_id
    ]
    held = replayed(await stack.watch())
    for relation in RELATIONS:
        for row in held[relation].values():
            del row["received_at"]
    return {"people": [plain(found.profile) for found in people], "timelines": timelines, "feed": held}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(histories())
async def test_the_order_of_arrival_changes_nothing(
    installation: Stack, twin_installation: Stack, history: tuple[list[Fact], list[list[list[Fact]]]]
) -> None:
    """All at once here; shuffled, repeated and in batches, some at once, there: what is shown is equal."""
    facts, rounds = history
    workspace = f"w{uuid.uuid4().hex}"
    here, there = installation.of(workspace), twin_installation.of(workspace)
    await here.ingest(*facts)
    for batches in rounds:
        await asyncio.gather(*[there.ingest(*batch) for batch in batches])
    assert await everything(here, facts) == await everything(there, facts)
    contents = "SELECT fact_id, content, keys, name, properties, traits, consents FROM conflicts WHERE workspace = %s"
    ordered = f"{contents} ORDER BY fact_id, content"
    assert await here.rows(ordered, workspace) == await there.rows(ordered, workspace)
