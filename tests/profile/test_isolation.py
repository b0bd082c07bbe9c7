"""One workspace cannot see another through any RPC."""

import pytest
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import CONSENT_STATUS_GRANTED, Event, Fact
from sima.type.v1.value_pb2 import Value
from sima_runtime.errors import InvalidFieldsError, NotFoundError

from .conftest import RELATIONS, Stack, by, email, replayed

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADA = by(email("ada"))


def fact(city: str) -> Fact:
    """The same message of the same source, but for a city."""
    said = Fact(source="web", message_id="m1", identifiers=[email("ada")], event=Event(name="e"))
    said.occurred_at.FromSeconds(1_770_000_000)
    said.traits.add(trait="city", value=Value(text=city))
    said.consents.add(purpose="ads", status=CONSENT_STATUS_GRANTED)
    return said


@pytest.fixture
def other(stack: Stack) -> Stack:
    """Another workspace of the same installation."""
    return stack.of(f"{stack.workspace}-other")


async def test_nothing_of_one_workspace_is_visible_in_another(stack: Stack, other: Stack) -> None:
    """Neither by identifier nor by profile id, in timelines, batches or the feed."""
    await stack.ingest(fact("Riyadh"))
    known = pb.ProfileKey(profile_id=(await stack.profile(ADA)).profile_id)
    for key in (ADA, known):
        with pytest.raises(NotFoundError):
            await other.profile(key)
        with pytest.raises(NotFoundError):
            await other.events(key)
    assert [result.HasField("profile") for result in await other.profiles(ADA, known)] == [False, False]
    assert replayed(await other.watch()) == {relation: {} for relation in RELATIONS}


async def test_the_same_message_in_two_workspaces_is_two_messages(stack: Stack, other: Stack) -> None:
    """Neither is a duplicate of, or in conflict with, the other; ids and profiles differ."""
    [here], [there] = await stack.ingest(fact("Riyadh")), await other.ingest(fact("Tehran"))
    assert here.outcome == there.outcome == pb.INGEST_OUTCOME_ACCEPTED
    assert here.fact_id != there.fact_id
    assert here.profile_id != there.profile_id
    for one, city in ((stack, "Riyadh"), (other, "Tehran")):
        [trait] = (await one.profile(ADA)).traits
        assert trait.values[0].value.text == city
        assert [len(held) for held in replayed(await one.watch()).values()] == [1, 1, 1]


async def test_a_key_of_another_workspace_is_refused(stack: Stack, other: Stack) -> None:
    """Keys are made with the workspace's own secret, so they lead nowhere else."""
    await stack.ingest(fact("Riyadh"))
    [identifier] = (await stack.profile(ADA)).identifiers
    with pytest.raises(InvalidFieldsError, match=r"key\.identifier\.key"):
        await other.profile(by(identifier))
    foreign = fact("Riyadh")
    foreign.identifiers[0].CopyFrom(identifier)
    [result] = await other.ingest(foreign)
    assert [violation.field for violation in result.violations] == ["identifiers[0].key"]
