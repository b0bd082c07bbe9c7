"""Who was one person at a moment, by the time of messages: as if nothing had been observed later."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity import past
from sima_identity.evidence import Refusal, Verdict, pair
from sima_runtime.database import Database, fetch
from sima_runtime.errors import InvalidFieldsError
from sima_sdk.identifiers import BUILT_IN_KINDS

from .conftest import (
    Named,
    Replica,
    Sighted,
    StartReplica,
    at,
    cookie,
    device,
    lookup_key,
    mail,
    policy,
    together,
    user,
)
from .graphs import connected
from .laws import (
    DECISIONS,
    LAW,
    RANDOM,
    SIGHTINGS,
    TIGHT,
    UNIVERSE,
    Decided,
    Fixture,
    Said,
    Truth,
    batches,
    decide,
    rule,
    seen,
    until_settled,
)
from .policies import in_force, policies

SHORT_LAW = settings(LAW, max_examples=20)
#: In minutes: before everything, at each time of the messages and between two of them, and long after.
MOMENTS = (-1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 1_000_000)
RULES = st.lists(policies(UNIVERSE), max_size=1)
ADA, EVE, CARD, TABLET = mail("ada"), mail("eve"), Named("loyalty_card", "4711"), device("tablet")


@pytest.fixture(autouse=True)
def _few_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each identifier one neighbour is read at first, so that most have to be read again."""
    monkeypatch.setattr(past, "_AT_FIRST", 1)


class Known(NamedTuple):
    """An identifier of an answer, or as it is expected there."""

    key: bytes
    shared: bool
    blocked: bool
    minute: int


class Answer(NamedTuple):
    """Who was one person; strongest first."""

    profile_id: str
    identifiers: Sequence[Known]


def minutes(number: float) -> datetime:
    """A moment of the test's calendar."""
    return at(0) + timedelta(minutes=number)


def answered(result: pb.LookupResult) -> Answer:
    """What a result says."""
    return Answer(
        result.profile_id,
        [
            Known(one.identifier.key, one.shared, one.blocked, (one.first_seen_at.seconds - stamp(0).seconds) // 60)
            for one in result.identifiers
        ],
    )


def stamp(minute: float) -> Timestamp:
    """A moment of the test's calendar, as a message."""
    moment = Timestamp()
    moment.FromDatetime(minutes(minute))
    return moment


class Told(NamedTuple):
    """All that a workspace was told, in whatever order."""

    workspace: str
    sightings: Sequence[Sighted]
    said: Sequence[Said]
    rules: pb.IdentityPolicy

    def truth(self, fixture: Fixture, minute: float) -> Truth:
        """What the pure function says of that which was observed up to a moment."""
        secret = fixture.secret(self.workspace)
        rules, blocks = in_force(self.rules, TIGHT, secret)
        observed = [sighted for sighted in self.sightings if sighted.minute <= minute]
        return Truth(observed, secret, rules, [each[:3] for each in self.said], blocks=blocks)

    def expected(self, truth: Truth, named: Named, minute: float) -> list[Known]:
        """The answer about an identifier, its profile id apart."""
        if named not in truth.seen:
            return []
        own = truth.key(named)
        group = next((members for members in truth.clustering.clusters if own in members), [own])
        names = {truth.key(one): one for one in truth.seen}
        return [
            Known(key, key in truth.clustering.shared, names[key] in truth.blocked, self.first(names[key]))
            for key in sorted(group, key=lambda key: (-BUILT_IN_KINDS[names[key].kind].priority, key))
        ]

    def first(self, named: Named) -> int:
        """When an identifier was seen first."""
        return min(sighted.minute for sighted in self.sightings if named in sighted.identifiers)


async def tell(
    fixture: Fixture,
    sightings: Sequence[Sighted],
    decisions: Sequence[Decided],
    rules: Sequence[pb.IdentityPolicy],
    random: Random,
) -> Told:
    """Tell a new workspace messages, decisions and policies in any order; decisions again when all have been seen."""
    workspace, replicas = f"w{uuid4().hex}", fixture.replicas
    deciding = [partial(decide, random.choice(replicas), workspace, each) for each in decisions]
    calls: list[Callable[[], Awaitable[Said | None]]] = [
        *(partial(seen, random.choice(replicas), workspace, batch) for batch in batches(sightings, random)),
        *(partial(rule, random.choice(replicas), workspace, each) for each in rules),
        *deciding,
    ]
    random.shuffle(calls)
    calls += deciding
    said = [made for call in calls if (made := await call()) and made.holds]
    return Told(workspace, sightings, said, (await replicas[0].policy(workspace)).policy)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, rules=RULES, random=RANDOM)
async def test_as_of_a_moment_people_are_as_if_nothing_had_been_observed_later(
    tight: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    rules: list[pb.IdentityPolicy],
    random: Random,
) -> None:
    """In whatever order it was told; also while the policy is being applied. In the end it is what Lookup says."""
    told = await tell(tight, sightings, decisions, rules, random)
    for minute in MOMENTS:
        truth = told.truth(tight, minute)
        results = await random.choice(tight.replicas).as_of(told.workspace, UNIVERSE, minutes(minute))
        people = [answered(result).identifiers for result in results]
        assert people == [told.expected(truth, named, minute) for named in UNIVERSE]
    await until_settled(tight.database, told.workspace)
    now = await tight.replicas[0].lookup(told.workspace, UNIVERSE)
    last = await tight.replicas[1].as_of(told.workspace, UNIVERSE, minutes(MOMENTS[-1]))
    assert list(map(answered, last)) == list(map(answered, now))
    assert [one.policy_version for one in last] == [one.policy_version for one in now]


@SHORT_LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_people_of_a_moment_have_the_oldest_id_that_one_of_them_founded(
    tight: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    random: Random,
) -> None:
    """So no two have the same, and who asks by the id finds the same people."""
    told = await tell(tight, sightings, decisions, [], random)
    founded = await founders(tight.database, told.workspace)
    for minute in MOMENTS:
        results = await tight.replicas[0].as_of(told.workspace, UNIVERSE, minutes(minute))
        for answer in map(answered, results):
            ages = [founded[one.key] for one in answer.identifiers if one.key in founded]
            assert answer.profile_id == min(ages, default=(0, ""))[1]
        ids = sorted({result.profile_id for result in results} - {""})
        again = await tight.replicas[1].as_of(told.workspace, ids, minutes(minute)) if ids else []
        assert {one.profile_id for one in again} == set(ids)
        assert all(one in results for one in again)


async def founders(database: Database, workspace: str) -> dict[bytes, tuple[int, str]]:
    """By identifier, the profile id that it founded, and how old that is."""
    query = "SELECT key, founded_seq, founded_id FROM identifiers WHERE workspace = %s AND founded_id IS NOT NULL"
    async with database.statement() as connection:
        rows = await fetch(connection, query, (workspace,))
    return {key: (age, own.hex()) for key, age, own in rows}


@SHORT_LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_a_neighbourhood_is_refused_only_where_it_was_too_large_at_the_moment(
    tiny: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    random: Random,
) -> None:
    """Also while what hangs together today is grouped in the background."""
    told = await tell(tiny, sightings, decisions, [], random)
    for minute in MOMENTS:
        truth = told.truth(tiny, minute)
        large = {key for component in components(truth, told.said) if len(component) > 2 for key in component}
        refused, rest = [[named for named in UNIVERSE if (truth.key(named) in large) is flag] for flag in (True, False)]
        results = await tiny.replicas[0].as_of(told.workspace, rest, minutes(minute))
        assert [answered(result).identifiers for result in results] == [
            told.expected(truth, named, minute) for named in rest
        ]
        if refused:
            with pytest.raises(InvalidFieldsError) as error:
                await tiny.replicas[1].as_of(told.workspace, [*refused, *rest], minutes(minute))
            assert [one.field for one in error.value.violations] == [f"keys[{place}]" for place in range(len(refused))]


def components(truth: Truth, said: Iterable[Said]) -> set[frozenset[bytes]]:
    """What hangs together through all that is neither blocked nor a hub."""
    hubs = {key for key, reason in truth.clustering.shared.items() if reason is Refusal.HUB}
    open_ = {truth.key(named) for named in truth.seen if named not in truth.blocked} - hubs
    always = {pair(truth.key(one.one), truth.key(one.other)) for one in said if one.verdict is Verdict.ALWAYS}
    return connected(open_, [ends for ends in truth.refusals.keys() | always if set(ends) <= open_])


async def test_a_tablet_was_hers_until_somebody_else_signed_in(identity: Replica, workspace: str) -> None:
    """Today it is nobody's alone; the past does not know that, in whatever order it was told."""
    await identity.resolve(workspace, [together(EVE, TABLET, minute=5)])
    await identity.resolve(workspace, [together(ADA, TABLET, minute=1)])
    [before], [hers], [shared] = [
        await identity.as_of(workspace, [TABLET], minutes(minute)) for minute in (0.9, 4.9, 5)
    ]
    assert answered(before) == Answer("", [])
    assert values(hers) == {ADA.value, TABLET.value}
    assert [one.shared for one in (*hers.identifiers, *shared.identifiers)] == [False, False, True]
    assert values(shared) == {TABLET.value}


async def test_a_telephone_was_hers_until_it_was_a_hub(start_replica: StartReplica, workspace: str) -> None:
    """What was seen with a hub is read no further than it takes to say that it is one."""
    identity = await start_replica(policy(phone={"shared_above": 2}, most_identifiers=3))
    phone = Named("phone", "+966551000001")
    callers = [mail(str(number)) for number in range(10)]
    await identity.resolve(workspace, [together(phone, one, minute=number) for number, one in enumerate(callers)])
    hers, shared = [(await identity.as_of(workspace, [callers[0]], minutes(minute)))[0] for minute in (1, 9)]
    assert values(hers) == {phone.value, *(one.value for one in callers[:2])}
    assert values(shared) == {callers[0].value}


async def test_a_decision_holds_at_all_times(identity: Replica, workspace: str) -> None:
    """It says who people are, not since when; but nobody is there before being seen."""
    await identity.resolve(workspace, [together(ADA, CARD, minute=1), together(EVE, CARD, minute=1)])
    await identity.resolve(workspace, [together(user("ada"), minute=3)])
    await identity.never(workspace, ADA, EVE)
    await identity.always(workspace, ADA, user("ada"))
    ada, later = [(await identity.as_of(workspace, [ADA], minutes(minute)))[0] for minute in (1, 3)]
    assert EVE.value not in values(ada)
    assert values(later) - values(ada) == {"ada"}


async def test_an_id_that_was_founded_later_stands_for_its_founder(identity: Replica, workspace: str) -> None:
    """A browser that was there first has no id of its own as long as the person has one who joined it later."""
    browser = cookie("c")
    await identity.resolve(workspace, [together(browser, minute=1), together(browser, ADA, minute=2)])
    [now] = await identity.lookup(workspace, [browser])
    alone, nobody = await identity.as_of(workspace, [browser, now.profile_id], minutes(1))
    assert (alone.profile_id, values(alone), len(nobody.identifiers)) == ("", {"c"}, 0)
    assert await identity.as_of(workspace, [browser, now.profile_id], minutes(2)) == [now, now]


async def test_what_is_erased_is_missing_from_the_past(identity: Replica, workspace: str) -> None:
    """Who was one person only because of it never was."""
    await identity.resolve(workspace, [together(ADA, CARD, minute=1), together(CARD, EVE, minute=2)])
    assert len((await identity.as_of(workspace, [ADA], minutes(2)))[0].identifiers) == 3
    await identity.erase(workspace, [CARD])
    ada, card = await identity.as_of(workspace, [ADA, CARD], minutes(2))
    assert (values(ada), values(card)) == ({ADA.value}, set())


async def test_what_is_too_large_is_refused_with_the_limit(
    start_replica: StartReplica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the key that is, or all of them together."""
    identity = await start_replica(neighbourhood_limit=3, settle_seconds=0.01)
    browsers = [cookie(name) for name in ("a", "b", "c")]
    await identity.resolve(workspace, [together(ADA, one, minute=number) for number, one in enumerate(browsers)])
    assert len((await identity.as_of(workspace, [ADA], minutes(1)))[0].identifiers) == 3
    with pytest.raises(InvalidFieldsError, match="at most 3 identifiers") as refused:
        await identity.as_of(workspace, [cookie("unseen"), ADA], minutes(2))
    assert [violation.field for violation in refused.value.violations] == ["keys[1]"]
    monkeypatch.setattr(past, "MOST_NEIGHBOURS", 2)
    with pytest.raises(InvalidFieldsError, match="at most 2") as refused:
        await identity.as_of(workspace, [ADA], minutes(1))
    assert [violation.field for violation in refused.value.violations] == ["keys"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.LookupAsOfRequest(keys=[lookup_key(ADA)]), "as_of"),
        (pb.LookupAsOfRequest(as_of=Timestamp(seconds=1)), "keys"),
        (pb.LookupAsOfRequest(keys=[pb.LookupKey()], as_of=Timestamp(seconds=1)), "keys[0]"),
    ],
)
async def test_a_question_says_what_is_wrong_with_it(
    identity: Replica, workspace: str, request_: pb.LookupAsOfRequest, field: str
) -> None:
    """By the name of the field."""
    with pytest.raises(InvalidFieldsError) as refused:
        await identity.client.call(identity.stub.LookupAsOf, request_, workspace=workspace)
    assert [violation.field for violation in refused.value.violations] == [field]


def values(result: pb.LookupResult) -> set[str]:
    """The values of an answer."""
    return {one.identifier.value for one in result.identifiers}
