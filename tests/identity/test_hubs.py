"""Who is seen with many is counted and listed, and what grows suspiciously is noticed once a day."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.policy import Policy
from sima_identity.records import Subject
from sima_identity.store import hubs
from sima_identity.store.turns import Turn
from sima_runtime.database import Database, execute, fetch
from sima_runtime.errors import PageTokenError

from .conftest import (
    START,
    Named,
    OpenDatabase,
    Reason,
    Replica,
    Secret,
    Sighted,
    StartReplica,
    cookie,
    device,
    mail,
    policy,
    user,
)
from .laws import DECISIONS, RANDOM, SIGHTINGS, TIGHT, Decided, Fixture, batches, decide, seen, until_settled
from .test_history import migration

LAW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
HUB, SEVERAL = pb.SHARED_REASON_HUB, pb.SHARED_REASON_SEVERAL_PEOPLE
TABLET = device("tablet")


def minutes_ago(minutes: int) -> int:
    """The minute of the test's calendar that was so long ago."""
    return int((datetime.now(UTC) - START).total_seconds() // 60) - minutes


async def until_counted(database: Database, workspace: str) -> None:
    """Wait until nothing is left to be grouped or counted."""
    await until_settled(database, workspace)
    async with asyncio.timeout(60):
        while True:
            async with database.statement() as connection:
                if not await fetch(connection, "SELECT 1 FROM recounts WHERE workspace = %s", (workspace,)):
                    return
            await asyncio.sleep(0.01)


async def until_told(lines: Sequence[MutableMapping[str, Any]], count: int) -> None:
    """Wait until growth was logged so many times; the line is written behind the transaction."""
    async with asyncio.timeout(30):
        while sum(line["event"] == "suspicious_growth" for line in lines) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Count(NamedTuple):
    """With how many others an identifier was seen."""

    identifiers: int
    strong: int
    limit: int
    kinds: dict[str, int]


def counted(degree: pb.Degree) -> Count:
    """What an answer says of it."""
    return Count(degree.identifiers, degree.strong, degree.limit, {one.kind: one.identifiers for one in degree.kinds})


async def from_scratch(database: Database, workspace: str, rules: Policy) -> dict[bytes, Count]:
    """The count of every identifier, from nothing but the evidence."""
    async with database.statement() as connection:
        edges = await fetch(connection, "SELECT DISTINCT low, high FROM edges WHERE workspace = %s", (workspace,))
        known = await fetch(connection, "SELECT key, kind, blocked FROM identifiers WHERE workspace = %s", (workspace,))
    kinds = {key: kind for key, kind, _ in known}
    junk = {key for key, _, blocked in known if blocked}
    neighbours: defaultdict[bytes, Counter[str]] = defaultdict(Counter)
    for low, high in edges:
        if not junk & {low, high}:
            neighbours[low][kinds[high]] += 1
            neighbours[high][kinds[low]] += 1
    return {
        key: Count(
            found.total(),
            sum(count for kind, count in found.items() if rules.kind(kind).strong),
            rules.kind(kinds[key]).shared_above,
            dict(found),
        )
        for key in kinds.keys() - junk
        for found in [neighbours[key]]
    }


@pytest.fixture
async def counting(start_replica: StartReplica, open_database: OpenDatabase, secret: Secret) -> Fixture:
    """Two replicas that count all the time."""
    replicas = [await start_replica(TIGHT, count_seconds=0.01) for _ in range(2)]
    return Fixture(replicas, open_database("identity"), secret)


@pytest.fixture
async def tiny_counting(start_replica: StartReplica, open_database: OpenDatabase, secret: Secret) -> Fixture:
    """The same, and they leave all but the smallest neighbourhoods to the background."""
    limits = {"count_seconds": 0.01, "neighbourhood_limit": 2, "settle_seconds": 0.01}
    replicas = [await start_replica(TIGHT, **limits) for _ in range(2)]
    return Fixture(replicas, open_database("identity"), secret)


async def hold(fixture: Fixture, sightings: Sequence[Sighted], decisions: Sequence[Decided], random: Random) -> None:
    """Have messages and decisions arrive at the same time through both replicas, and count again from scratch."""
    workspace = f"w{uuid4().hex}"
    alone = {named for sighted in sightings for named in sighted.identifiers}
    await fixture.replicas[0].resolve(workspace, [Sighted([named]) for named in sorted(alone)])
    calls: list[Callable[[], Awaitable[object]]] = [
        *(partial(seen, random.choice(fixture.replicas), workspace, batch) for batch in batches(sightings, random)),
        *(
            partial(decide, random.choice(fixture.replicas), workspace, each)
            for each in decisions
            if alone.issuperset(each[1])
        ),
    ]
    random.shuffle(calls)
    await asyncio.gather(*(call() for call in calls))
    await until_counted(fixture.database, workspace)
    truth = await from_scratch(fixture.database, workspace, TIGHT)
    shared = await fixture.replicas[0].shared(workspace, size=3)
    hubs = await fixture.replicas[1].hubs(workspace, size=2)
    assert {one.identifier.key: counted(one.degree) for one in shared} == {
        one.identifier.key: truth[one.identifier.key] for one in shared
    }
    everybody = await fixture.replicas[0].states(workspace, sorted(alone))
    assert len(shared) == sum(state.shared for state in everybody.values())
    certain = {one.identifier.key for one in shared if one.reason == HUB}
    listed = {one.identifier.key: counted(one.degree) for one in hubs}
    assert listed == {key: count for key, count in truth.items() if key in certain or 2 * count.strong >= count.limit}
    assert {one.identifier.key for one in hubs if one.hub} == certain
    degrees = [one.degree.identifiers for one in hubs]
    assert degrees == sorted(degrees, reverse=True)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_once_all_is_counted_the_lists_equal_the_evidence(
    counting: Fixture, sightings: list[Sighted], decisions: list[Decided], random: Random
) -> None:
    """Whatever two replicas record and decide at once: degrees as counted from all edges, and nobody is missing."""
    await hold(counting, sightings, decisions, random)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_large_neighbourhoods_are_counted_as_well(
    tiny_counting: Fixture, sightings: list[Sighted], decisions: list[Decided], random: Random
) -> None:
    """Also where the grouping is left to the background."""
    await hold(tiny_counting, sightings, decisions, random)


class Trap(NamedTuple):
    """Something that many people have in common, and what it is to be listed as."""

    named: Named
    people: int
    reason: Reason
    grows: bool


KIOSK = Trap(device("kiosk"), 500, HUB, grows=True)
FAMILY = Trap(device("family tablet"), 3, SEVERAL, grows=False)
CALL_CENTRE = Trap(Named("phone", "+4930901820"), 200, HUB, grows=True)
RESELLER = Trap(mail("reseller"), 120, HUB, grows=True)
TRAPS = (KIOSK, FAMILY, CALL_CENTRE, RESELLER)


def person(trap: Trap, number: int) -> Sequence[Named]:
    """What names one of the people, and only that one; a reseller's customers have only cards."""
    own = f"{trap.named.kind}-{trap.people}-{number}"
    if trap is RESELLER:
        return [Named("loyalty_card", own)]
    return [user(own), mail(own)]


def messages(trap: Trap, random: Random) -> Iterable[Sighted]:
    """Everybody is seen with the trap, most of them by only one of their names, within the last hours."""
    for number in range(trap.people):
        names = person(trap, number)
        yield Sighted(names, minutes_ago(random.randint(1, 600)))
        yield Sighted([trap.named, names[0]], minutes_ago(random.randint(1, 600)))


async def arrived(replica: Replica, workspace: str, sightings: list[Sighted], random: Random) -> None:
    """Have messages arrive in random order, in batches, several at a time."""
    random.shuffle(sightings)
    calls = [sightings[start : start + 60] for start in range(0, len(sightings), 60)]
    for start in range(0, len(calls), 4):
        await asyncio.gather(*(replica.resolve(workspace, batch) for batch in calls[start : start + 4]))


async def test_no_two_customers_become_one_person_because_of_what_they_share(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """A kiosk, a family's tablet, a call centre's phone and a reseller's address are listed for what they are."""
    random = Random(11)
    identity = await start_replica(count_seconds=0.05)
    with structlog.testing.capture_logs() as lines:
        sightings = [sighted for trap in TRAPS for sighted in messages(trap, random)]
        await arrived(identity, workspace, sightings, random)
        await until_counted(open_database("identity"), workspace)
        await until_told(lines, 3)
    everybody = [person(trap, number) for trap in TRAPS for number in range(trap.people)]
    profiles = [{one.profile_id for one in await identity.lookup(workspace, names)} for names in everybody]
    assert {len(own) for own in profiles} == {1}  # recall, and ...
    assert len({own for [own] in profiles}) == len(everybody)  # ... precision are 1.0
    listed = {one.identifier.value: one for one in await identity.shared(workspace)}
    assert {trap.named.value: (trap.reason, trap.people) for trap in TRAPS} == {
        value: (one.reason, one.degree.identifiers) for value, one in listed.items()
    }
    assert [one.degree.profiles for one in listed.values()] == [one.degree.identifiers for one in listed.values()]
    assert [one.degree.last_day.identifiers for one in listed.values()] == [
        one.degree.identifiers for one in listed.values()
    ]
    hubs = await identity.hubs(workspace)
    assert [(one.identifier.value, one.hub) for one in hubs] == [
        (trap.named.value, True) for trap in (KIOSK, CALL_CENTRE, RESELLER)
    ]
    assert {value: one.HasField("growth_noticed_at") for value, one in listed.items()} == {
        trap.named.value: trap.grows for trap in TRAPS
    }
    warned = [line for line in lines if line["event"] == "suspicious_growth"]
    ids = {value: one.profile_id for value, one in listed.items()}
    assert {line["profile_id"] for line in warned if line["kind"]} == {
        ids[trap.named.value] for trap in TRAPS if trap.grows
    }
    assert not [trap for trap in TRAPS if trap.named.value in str(warned)]


async def kiosk(replica: Replica, workspace: str, people: range, minutes: int = 5) -> None:
    """People come to a kiosk, one after the other."""
    await replica.resolve(workspace, [Sighted([KIOSK.named, user(f"u{n}")], minutes_ago(minutes)) for n in people])


async def test_growth_is_noticed_once_a_day(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """However often it is counted and by whom; the next day once more, and the list keeps the largest number."""
    replicas = [await start_replica(count_seconds=0.01, growth_per_identifier=25) for _ in range(2)]
    database = open_database("identity")
    with structlog.testing.capture_logs() as lines:
        for start in range(0, 60, 10):
            await kiosk(replicas[start % 20 // 10], workspace, range(start, start + 10))
            await until_counted(database, workspace)
        await until_told(lines, 1)
        [grown] = await replicas[0].growth(workspace)
        assert (grown.identifier.value, grown.gained, grown.limit) == ("kiosk", 60, 25)
        assert [line["gained"] for line in lines if line["event"] == "suspicious_growth"] == [30]
        async with database.statement() as connection:  # a day goes by
            await execute(
                connection,
                "UPDATE growth SET day = day - 1, noticed_at = noticed_at - interval '1 day' WHERE workspace = %s",
                (workspace,),
            )
        await kiosk(replicas[1], workspace, range(60, 61))
        await until_counted(database, workspace)
        await until_told(lines, 2)
    assert [one.gained for one in await replicas[0].growth(workspace, size=1)] == [61, 60]
    assert [line["gained"] for line in lines if line["event"] == "suspicious_growth"] == [30, 61]


async def test_a_profile_that_gains_many_identifiers_is_noticed(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """One person with a cookie for every visit of a robot: no identifier is a hub, but the profile grew."""
    identity = await start_replica(count_seconds=0.01, growth_per_profile=12)
    for number in range(13):
        before = await identity.growth(workspace)
        await identity.resolve(workspace, [Sighted([mail("robot"), cookie(f"c{number}")], minutes_ago(9_000))])
    assert before == []
    await until_counted(open_database("identity"), workspace)
    [grown] = await identity.growth(workspace)
    [found] = await identity.lookup(workspace, [mail("robot")])
    assert (grown.profile_id, grown.HasField("identifier"), grown.gained) == (found.profile_id, False, 14)


async def test_what_is_long_ago_is_no_growth(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """Old messages that are imported today make a hub, and warn nobody; growth is told by the time of messages."""
    identity = await start_replica(count_seconds=0.01, growth_per_identifier=25)
    await kiosk(identity, workspace, range(40), minutes=60 * 24 * 3)
    await kiosk(identity, workspace, range(40, 60), minutes=60 * 24 * 30)
    await kiosk(identity, workspace, range(55, 65), minutes=60)
    await until_counted(open_database("identity"), workspace)
    [hub] = await identity.hubs(workspace)
    spans = (hub.degree.last_day, hub.degree.last_week)
    assert [(span.identifiers, span.profiles) for span in spans] == [(5, 5), (45, 45)]
    assert await identity.growth(workspace) == []


async def test_neighbours_that_become_one_are_counted_as_one_after_a_while(
    start_replica: StartReplica, workspace: str
) -> None:
    """Nothing new is seen with the tablet, but two of those who use it turn out to be one person."""
    identity = await start_replica(count_seconds=0.02, count_again_seconds=0.05)
    users = [user(f"u{number}") for number in range(3)]
    await identity.resolve(workspace, [Sighted([TABLET, one]) for one in users])
    await eventually(identity, workspace, 3)
    await identity.always(workspace, users[0], users[1])
    await eventually(identity, workspace, 2)


AGE = "UPDATE degrees SET counted_at = now() - interval '2 hours' WHERE workspace = ANY(%s)"
OLD = "SELECT FROM degrees WHERE workspace = ANY(%s) AND counted_at < now() - interval '1 hour'"


async def test_what_was_counted_long_ago_is_counted_again_however_much_is_new(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """Both where nothing is new and where there is something new to count all the time."""
    names = [quiet, busy] = [f"{workspace}-quiet", f"{workspace}-busy"]
    identity, database = await start_replica(count_seconds=0.01), open_database("identity")
    for name in names:
        for one in (TABLET, KIOSK.named):
            await identity.resolve(name, [Sighted([one, user(who)]) for who in ("a", "b")])
        await until_counted(database, name)
    async with database.statement() as connection:
        [(noted,), _] = await fetch(connection, "SELECT key FROM degrees WHERE workspace = %s", (busy,))
        notes = [Subject(noted, is_profile=False)] * 1_000
        await hubs.ask(connection, busy, notes)
        await execute(connection, AGE, (names,))
        async with asyncio.timeout(30):
            while await fetch(connection, OLD, (names,)):
                await hubs.ask(connection, busy, notes[:10])
        assert not await fetch(connection, "SELECT FROM recounts WHERE workspace = %s", (quiet,))
    await until_counted(database, busy)


async def test_what_was_counted_just_now_costs_nothing(open_database: OpenDatabase, workspace: str) -> None:
    """Of each workspace, only what was counted longest ago is looked at."""
    async with open_database("identity").transaction() as connection:
        await execute(
            connection,
            """INSERT INTO degrees SELECT gen_random_uuid(), %s, 0, 0, 0, 0, '{}', 0, 0, 0, 0, false,
                now() - ago * interval '1 second' FROM generate_series(1, 1000) AS ago""",
            (workspace,),
        )
        await execute(connection, "ANALYZE degrees")
        before = Turn(workspace[:-1])
        assert await hubs.next_old(connection, before, seconds=1_100) != (workspace,)
        plan = await fetch(connection, f"EXPLAIN (ANALYZE) {hubs.NEXT_OLD}", {**before.parameters(), "seconds": 1_100})
        scans = re.findall(r"on degrees.*?actual.*?rows=(\d+)", str(plan))
        assert scans
        assert {*scans} <= {"0", "1"}, plan
        assert await hubs.next_old(connection, before, seconds=900) == (workspace,)
        assert len(await hubs.counted_long_ago(connection, workspace, 900)) == 100
        await connection.rollback()


async def eventually(replica: Replica, workspace: str, profiles: int) -> None:
    """Wait until the only shared identifier leads to so many profiles."""
    async with asyncio.timeout(30):
        while [one.degree.profiles for one in await replica.shared(workspace)] != [profiles]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_shared_identifiers_are_listed_by_reason_with_since_when(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """Since they became shared, not since they became a hub; each list page by page."""
    identity = await start_replica(policy(device_id={"shared_above": 3}), count_seconds=0.01)
    await identity.resolve(workspace, [Sighted([TABLET, user("u0")]), Sighted([device("other"), user("u0")])])
    for number in range(1, 3):
        await identity.resolve(workspace, [Sighted([one, user(f"u{number}")]) for one in (TABLET, device("other"))])
    [first, *_] = [one for one in (await identity.list_changes(workspace, TABLET)).changes if one.shared]
    assert [one.reason for one in await identity.shared(workspace)] == [SEVERAL, SEVERAL]
    await identity.resolve(workspace, [Sighted([TABLET, user("u3")])])
    await until_counted(open_database("identity"), workspace)
    other, tablet = await identity.shared(workspace, size=1)
    assert [(one.identifier.value, one.reason) for one in (other, tablet)] == [("other", SEVERAL), ("tablet", HUB)]
    assert tablet.shared_since == first.changed_at
    assert await identity.shared(workspace, HUB) == [tablet]
    assert await identity.shared(workspace, SEVERAL) == [other]
    near = [(one.identifier.value, one.hub, one.degree.strong) for one in await identity.hubs(workspace, size=1)]
    assert near == [("tablet", True, 4), ("other", False, 3)]


async def test_an_identifier_that_is_nobodys_no_longer_is_listed_no_longer(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """Two people who turn out to be one have a tablet of their own."""
    identity = await start_replica(count_seconds=0.01)
    await identity.resolve(workspace, [Sighted([TABLET, user("a")]), Sighted([TABLET, user("b")])])
    assert len(await identity.shared(workspace)) == 1
    await identity.always(workspace, user("a"), user("b"))
    assert await identity.shared(workspace) == []
    database = open_database("identity")
    await until_counted(database, workspace)
    async with database.statement() as connection:
        assert await fetch(connection, "SELECT FROM degrees WHERE workspace = %s", (workspace,)) == []


@pytest.mark.parametrize("token", ["nonsense", "bnVsbA=="])
async def test_a_page_token_of_another_list_is_refused(identity: Replica, workspace: str, token: str) -> None:
    """By each of the lists."""
    requests: list[tuple[Any, Any]] = [
        (identity.stub.ListShared, pb.ListSharedRequest(page_token=token)),
        (identity.stub.ListHubs, pb.ListHubsRequest(page_token=token)),
        (identity.stub.ListGrowth, pb.ListGrowthRequest(page_token=token)),
        (identity.stub.ListErasures, pb.ListErasuresRequest(page_token=token)),
    ]
    for rpc, request in requests:
        with pytest.raises(PageTokenError):
            await identity.client.call(rpc, request, workspace=workspace)


async def test_growth_is_forgotten_after_a_season(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """Whether anything else grows or not."""
    identity, database = await start_replica(count_seconds=0.01, growth_per_identifier=2), open_database("identity")
    async with database.statement() as connection:
        await execute(
            connection,
            """INSERT INTO growth (subject, workspace, day, is_profile, gained, most, noticed_at)
                SELECT gen_random_uuid(), %s, (now() - days * interval '1 day')::date, true, 9, 2,
                    now() - days * interval '1 day' FROM unnest(ARRAY[89, 91]) AS days""",
            (workspace,),
        )
    async with asyncio.timeout(30), database.statement() as connection:
        while len(await fetch(connection, "SELECT FROM growth WHERE workspace = %s", (workspace,))) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await kiosk(identity, workspace, range(5))
    await until_counted(database, workspace)
    grown = await identity.growth(workspace)
    assert [one.gained for one in grown] == [5, 9]
    moments = [one.noticed_at.ToDatetime(UTC) for one in grown]
    assert all(later - earlier > timedelta(days=80) for later, earlier in pairwise(moments))


async def test_what_was_recorded_before_is_counted_after_a_migration(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """An installation of an older version has its lists at once."""
    identity, database = await start_replica(count_seconds=0.01), open_database("identity")
    await kiosk(identity, workspace, range(15))
    await kiosk(identity, workspace, range(30), minutes=60 * 24)
    await identity.resolve(workspace, [Sighted([TABLET, user("a")]), Sighted([TABLET, user("b")])])
    await until_counted(database, workspace)
    shared, hubs = await numbers(identity.shared(workspace)), await numbers(identity.hubs(workspace))
    async with database.statement() as connection:
        await execute(connection, "DELETE FROM degrees WHERE workspace = %s", (workspace,))
        assert await numbers(identity.hubs(workspace)) == {}
        await execute(connection, migration("0007_hubs").STATEMENTS[-1])
    await until_counted(database, workspace)
    assert (await numbers(identity.shared(workspace)), await numbers(identity.hubs(workspace))) == (shared, hubs)
    assert (len(shared), len(hubs)) == (2, 1)


async def numbers(listing: Awaitable[Sequence[pb.SharedIdentifier | pb.Hub]]) -> dict[str, Count]:
    """What a list says of each identifier."""
    return {one.identifier.value: counted(one.degree) for one in await listing}
