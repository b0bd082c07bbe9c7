"""The laws of grouping: whatever the order, the batches, the repetitions and the replicas, the same people come out."""

import asyncio
import signal
from random import Random
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.policy import Policy
from sima_sdk.errors import SimaError

from .conftest import (
    Deploy,
    Named,
    OpenClient,
    OpenDatabase,
    Replica,
    Secret,
    Sighted,
    StartServer,
    cookie,
    device,
    mail,
)
from .laws import (
    DECISIONS,
    ERASED,
    LAW,
    RACE,
    RANDOM,
    SIGHTINGS,
    UNIVERSE,
    Decided,
    Fixture,
    Truth,
    assert_settled,
    batches,
    deadlocks,
)
from .policies import policies


@LAW
@given(sightings=SIGHTINGS, random=RANDOM)
async def test_order_batches_and_repetition_change_nothing(
    tight: Fixture, sightings: list[Sighted], random: Random
) -> None:
    """The same messages in any order, any batches, any number of times lead to the same people, owners and feed."""
    workspace = f"w{uuid4().hex}"
    for batch in batches(sightings, random):
        await tight.replicas[0].resolve(workspace, batch)
    await tight.check(workspace, sightings)


@LAW
@given(sightings=SIGHTINGS, random=RANDOM)
async def test_replicas_at_once_lead_to_the_same_people(
    tight: Fixture, sightings: list[Sighted], random: Random
) -> None:
    """Two replicas that resolve overlapping batches at the same time lose nothing and never wait in a circle."""
    workspace = f"w{uuid4().hex}"
    calls = [(random.choice(tight.replicas), batch) for batch in batches(sightings, random)]
    await asyncio.gather(*(replica.resolve(workspace, batch) for replica, batch in calls))
    await tight.check(workspace, sightings)


@LAW
@given(sightings=SIGHTINGS, random=RANDOM)
async def test_large_neighbourhoods_come_out_the_same(tiny: Fixture, sightings: list[Sighted], random: Random) -> None:
    """What is grouped in the background ends as if it had been grouped at once."""
    workspace = f"w{uuid4().hex}"
    calls = [(random.choice(tiny.replicas), batch) for batch in batches(sightings, random)]
    await asyncio.gather(*(replica.resolve(workspace, batch) for replica, batch in calls))
    await tiny.check(workspace, sightings)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_decisions_in_any_order_lead_to_the_same_people(
    tight: Fixture, sightings: list[Sighted], decisions: list[Decided], random: Random
) -> None:
    """Messages and decisions through two replicas at once, some of them taken back, lead to what the function says."""
    await tight.interleave(sightings, decisions, random)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_decisions_about_large_neighbourhoods_come_out_the_same(
    tiny: Fixture, sightings: list[Sighted], decisions: list[Decided], random: Random
) -> None:
    """Also where what follows from them is left to the background."""
    await tiny.interleave(sightings, decisions, random)


@RACE
@given(sightings=SIGHTINGS, rules=st.lists(policies(UNIVERSE), min_size=1, max_size=2), random=RANDOM)
async def test_a_policy_set_last_is_as_if_it_had_always_held(
    tight: Fixture, sightings: list[Sighted], rules: list[pb.IdentityPolicy], random: Random
) -> None:
    """What was grouped under other policies ends as the pure function says under the last one, owners and feed too."""
    workspace = f"w{uuid4().hex}"
    for batch in batches(sightings, random):
        await tight.replicas[0].resolve(workspace, batch)
    for each in rules:
        await tight.replicas[0].set_policy(workspace, each)
        await tight.check(workspace, sightings)


@RACE
@given(
    sightings=SIGHTINGS, decisions=DECISIONS, rules=st.lists(policies(UNIVERSE), min_size=1, max_size=3), random=RANDOM
)
async def test_policies_in_any_order_lead_to_the_same_people(
    tight: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    rules: list[pb.IdentityPolicy],
    random: Random,
) -> None:
    """Policies set amidst messages and decisions, through two replicas at once, lead to what the function says."""
    await tight.interleave(sightings, decisions, random, rules)


@RACE
@given(
    sightings=SIGHTINGS, decisions=DECISIONS, rules=st.lists(policies(UNIVERSE), min_size=1, max_size=3), random=RANDOM
)
async def test_policies_about_large_neighbourhoods_come_out_the_same(
    tiny: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    rules: list[pb.IdentityPolicy],
    random: Random,
) -> None:
    """Also where all but the smallest neighbourhoods are left to the background."""
    await tiny.interleave(sightings, decisions, random, rules)


@RACE
@given(sightings=SIGHTINGS, decisions=DECISIONS, erased=ERASED, random=RANDOM)
async def test_what_is_erased_is_as_if_it_had_never_been_seen(
    tight: Fixture, sightings: list[Sighted], decisions: list[Decided], erased: list[Named], random: Random
) -> None:
    """Whatever comes before, meanwhile and late, through two replicas at once: the rest is grouped without it."""
    await tight.interleave(sightings, decisions, random, erased=erased)


@RACE
@given(
    sightings=SIGHTINGS,
    decisions=DECISIONS,
    rules=st.lists(policies(UNIVERSE), max_size=2),
    erased=ERASED,
    random=RANDOM,
)
async def test_erasing_from_large_neighbourhoods_comes_out_the_same(  # noqa: PLR0917  # all that can happen
    tiny: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    rules: list[pb.IdentityPolicy],
    erased: list[Named],
    random: Random,
) -> None:
    """Also where what is left is grouped in the background, under other policies."""
    await tiny.interleave(sightings, decisions, random, rules, erased)


async def test_a_hub_makes_its_neighbour_a_hub_in_the_background(tiny: Fixture, workspace: str) -> None:
    """An identifier of a large neighbourhood that a hub makes one too many for its kind is found to be shared."""
    one, *others = mail("a"), mail("b"), mail("c"), Named("national_id", "1")
    phones = [Named("phone", f"+96655100000{number}") for number in (1, 2, 3)]
    sightings = [Sighted([one, met]) for met in (*others, *phones[1:])]  # five are too many for an e-mail
    sightings += [Sighted([phones[0], met]) for met in others]  # three are not for a phone ...
    for sighted in sightings:
        await tiny.replicas[0].resolve(workspace, [sighted])
    await tiny.check(workspace, sightings)
    last = Sighted([phones[0], one])  # ... but four are
    await tiny.replicas[0].resolve(workspace, [last])
    await tiny.check(workspace, [*sightings, last])


async def test_a_killed_process_loses_nothing(
    deploy: Deploy, open_database: OpenDatabase, secret: Secret, workspace: str
) -> None:
    """A process that is killed in the midst of recording leaves whole transactions; sending again completes them."""
    random = Random(3)
    sightings = [Sighted([mail(str(n // 3)), device(f"d{random.randrange(200)}")], n % 5) for n in range(600)]
    calls = [sightings[start : start + 50] for start in range(0, len(sightings), 50)]
    killed = await deploy()
    answering = [asyncio.create_task(killed.replica.resolve(workspace, batch)) for batch in calls]
    await asyncio.wait(answering, return_when=asyncio.FIRST_COMPLETED)
    assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
    results = await asyncio.gather(*answering, return_exceptions=True)
    assert any(isinstance(result, SimaError) for result in results)
    healthy = await deploy()
    for batch in calls:
        await healthy.replica.resolve(workspace, batch)
    truth = Truth(sightings, secret(workspace), Policy())
    await assert_settled(healthy.replica, open_database("identity"), workspace, sightings, truth)
    assert await healthy.end(signal.SIGTERM) == 0


async def test_replicas_under_load_never_wait_in_a_circle(
    start_server: StartServer, open_client: OpenClient, open_database: OpenDatabase, secret: Secret, workspace: str
) -> None:
    """Many overlapping batches at once through two replicas: PostgreSQL counts no deadlock, and nothing is lost."""
    random, database = Random(7), open_database("identity")
    before = await deadlocks(database)
    replicas = [Replica(open_client("identity", await start_server())) for _ in range(2)]
    sightings = [
        Sighted([mail(str(person)), cookie(f"c{random.randrange(300)}")], random.randrange(9))
        for person in (random.randrange(150) for _ in range(3_000))
    ]
    calls = [
        (random.choice(replicas), random.sample(sightings, 400), random.choice(["shop", "till"])) for _ in range(40)
    ]
    await asyncio.gather(
        *(
            replica.resolve(workspace, [sighted._replace(source=source) for sighted in batch])
            for replica, batch, source in calls
        )
    )
    seen = [sighted for _, batch, _ in calls for sighted in batch]
    truth = Truth(seen, secret(workspace), Policy())
    await assert_settled(replicas[0], database, workspace, seen[:1], truth)
    assert await deadlocks(database) == before
