"""A workspace says by which rules its people are told apart: it reads them, tries them out, sets them, and sees why."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import UndefinedTable
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity import applying, previewing
from sima_identity import previewer as previewer_module
from sima_identity.policies import Policies
from sima_identity.previewer import Previewer, Progress
from sima_identity.rules import Rules
from sima_identity.store import snapshot
from sima_runtime.database import execute, fetch
from sima_runtime.errors import AlreadyExistsError, InvalidFieldsError, NotFoundError, StaleVersionError
from sima_sdk.identifiers import BUILT_IN_KINDS, identifier_key

from .conftest import (
    Named,
    OpenDatabase,
    Replica,
    Secret,
    Sighted,
    StartReplica,
    cookie,
    device,
    identifier,
    mail,
    together,
    user,
)
from .laws import DECISIONS, RANDOM, SIGHTINGS, TIGHT, UNIVERSE, Decided, decide
from .policies import minutes, policies

MANY = pb.IdentityPolicy(kinds=[pb.KindRules(kind="phone", shared_above=2)])
PHONE = Named("phone", "+966551000001")


async def applied(identity: Replica, workspace: str) -> pb.PolicyVersion:
    """Wait until all is grouped under the policy in force."""
    async with asyncio.timeout(120):
        while not (policy := await identity.policy(workspace)).HasField("applied_at"):  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.02)
    return policy


@pytest.fixture
async def quick(start_replica: StartReplica) -> Replica:
    """A replica that applies policies at once."""
    return await start_replica(settle_seconds=0.01)


async def test_the_policy_of_who_says_nothing_is_the_installations(identity: Replica, workspace: str) -> None:
    """It is version 0, and complete: every kind with its numbers, normal form and whether it is protected."""
    policy = await identity.policy(workspace)
    assert policy.version == 0
    assert not policy.HasField("set_at")
    told = {rules.kind: rules for rules in policy.policy.kinds}
    assert told.keys() == BUILT_IN_KINDS.keys()
    assert told["passport"].protected
    assert (told["email"].shared_above, told["email"].most_per_profile, told["email"].strong) == (50, 20, True)
    assert told["email"].normaliser == "sima_sdk.identifiers.normalise_email"
    assert (policy.policy.most_identifiers, policy.policy.known_junk) == (5_000, True)


async def test_what_is_set_is_answered_with_who_and_why(quick: Replica, workspace: str) -> None:
    """The answer can be sent back as it is, and means the same."""
    rules = pb.IdentityPolicy(
        kinds=[pb.KindRules(kind="phone", shared_above=3, most_per_period=2, period=Duration(seconds=3600))],
        blocked_patterns=[pb.BlockedPattern(kind="email", pattern="till-[0-9]+@shop[.]example")],
        blocked_values=[identifier(mail("kiosk")), identifier(Named("passport", "X 123"))],
        known_junk=False,
        most_identifiers=100,
    )
    made = await quick.set_policy(workspace, rules, actor="ada", reason="tills", request_id="r1")
    assert (made.version, made.actor, made.reason, made.request_id) == (1, "ada", "tills", "r1")
    told = (await applied(quick, workspace)).policy
    phone = next(kind for kind in told.kinds if kind.kind == "phone")
    assert (phone.shared_above, phone.most_per_period, phone.period.seconds) == (3, 2, 3600)
    assert [value.value for value in told.blocked_values] == ["kiosk@mail.example.com", ""]  # of a passport, the key
    assert (await quick.set_policy(workspace, told)).policy == told
    assert (await quick.policy(workspace, 1)).reason == "tills"


async def test_a_call_that_comes_again_sets_nothing_new(quick: Replica, workspace: str) -> None:
    """The same request is answered as before; one that says something else under its id is refused."""
    one = await quick.set_policy(workspace, MANY, request_id="r1")
    again = await quick.set_policy(workspace, MANY, request_id="r1")
    assert (again.version, again.set_at) == (one.version, one.set_at)
    with pytest.raises(AlreadyExistsError):
        await quick.set_policy(workspace, pb.IdentityPolicy(), request_id="r1")


async def test_who_began_with_another_version_is_told(quick: Replica, workspace: str) -> None:
    """Nobody overwrites what somebody else has set meanwhile."""
    await quick.set_policy(workspace, MANY, expected_version=0)
    with pytest.raises(StaleVersionError) as raised:
        await quick.set_policy(workspace, MANY, expected_version=0)
    assert raised.value.version == "1"
    with pytest.raises(NotFoundError):
        await quick.policy(workspace, 7)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.lists(policies(UNIVERSE), min_size=1, max_size=4), spelt=st.booleans())
async def test_what_is_in_force_already_is_not_set_again(
    quick: Replica, rules: list[pb.IdentityPolicy], spelt: bool
) -> None:
    """With `unless_in_force` there are as many versions as changes, whoever set the one before, also of none at all."""
    workspace = f"w{uuid4().hex}"
    assert (await quick.set_policy(workspace, pb.IdentityPolicy(), unless_in_force=True)).version == 0
    version = 0
    for each in rules:
        set_once = await quick.set_policy(workspace, each, unless_in_force=True)
        assert set_once.version in (version, version + 1)
        version = set_once.version
        if spelt:
            for blocked in each.blocked_values:
                blocked.value = f" {blocked.value} "
        again = await quick.set_policy(workspace, each, unless_in_force=True)
        assert again == set_once or again.HasField("applied_at")
        assert again.version == version
    assert (await quick.set_policy(workspace, rules[-1])).version == version + 1


WRONG = {
    "policy.kinds[0].kind": pb.IdentityPolicy(kinds=[pb.KindRules(kind="shoe")]),
    "policy.kinds": pb.IdentityPolicy(kinds=[pb.KindRules(kind="email"), pb.KindRules(kind="email")]),
    "policy.kinds[0].priority": pb.IdentityPolicy(kinds=[pb.KindRules(kind="email", priority=101)]),
    "policy.kinds[0].shared_above": pb.IdentityPolicy(kinds=[pb.KindRules(kind="email", shared_above=0)]),
    "policy.kinds[0].most_per_profile": pb.IdentityPolicy(kinds=[pb.KindRules(kind="email", most_per_profile=-1)]),
    "policy.kinds[0].most_per_period": pb.IdentityPolicy(kinds=[pb.KindRules(kind="email", most_per_period=-1)]),
    "policy.kinds[0].period": pb.IdentityPolicy(kinds=[pb.KindRules(kind="email", period=Duration(nanos=5))]),
    "policy.most_identifiers": pb.IdentityPolicy(most_identifiers=10_001),
    "policy.blocked_patterns[0].pattern": pb.IdentityPolicy(
        blocked_patterns=[pb.BlockedPattern(kind="email", pattern="(a")]
    ),
    "policy.blocked_patterns[0].kind": pb.IdentityPolicy(
        blocked_patterns=[pb.BlockedPattern(kind="passport", pattern=".*")]
    ),
    "policy.blocked_values[0].value": pb.IdentityPolicy(blocked_values=[identifier(Named("email", "nobody"))]),
}


@pytest.mark.parametrize("field", WRONG)
async def test_what_is_wrong_is_named(identity: Replica, workspace: str, field: str) -> None:
    """Every field of a policy that cannot be is named, when it is set and when it is tried out."""
    for call in (identity.set_policy, identity.preview_policy):
        with pytest.raises(InvalidFieldsError) as raised:
            await call(workspace, WRONG[field])
        assert [violation.field for violation in raised.value.violations] == [field]
    assert (await identity.policy(workspace)).version == 0


async def test_a_pattern_takes_no_longer_than_its_value_is_long(quick: Replica, workspace: str) -> None:
    """An expression that would hold other machines for ever is answered at once."""
    rules = pb.IdentityPolicy(blocked_patterns=[pb.BlockedPattern(kind="user_id", pattern="(a+)+$")])
    await quick.set_policy(workspace, rules)
    await quick.resolve(workspace, [together(user("a" * 400 + "b"), mail("m"))])


async def test_a_policy_of_before_a_restore_is_not_in_force(
    identity: Replica, open_database: OpenDatabase, workspace: str
) -> None:
    """The database went back to before the first version, and got another first version, while the process went on."""
    await identity.set_policy(workspace, pb.IdentityPolicy(blocked_values=[identifier(mail("ada"))]))
    [before] = await identity.resolve(workspace, [together(mail("ada"))])
    assert not before.profile_id
    async with open_database("identity").statement() as connection:
        await execute(connection, "DELETE FROM policies WHERE workspace = %s", (workspace,))
        await execute(connection, "DELETE FROM identifiers WHERE workspace = %s", (workspace,))
    again = await identity.set_policy(workspace, MANY)
    assert again.version == 1
    [behind] = await identity.resolve(workspace, [together(mail("ada"))])
    assert behind.profile_id


async def test_people_whom_a_rule_joined_wrongly_are_taken_apart(quick: Replica, workspace: str) -> None:
    """A phone that three people share is found to be shared once the rule is tighter, and told with its cause."""
    people = [mail(name) for name in "abc"]
    await quick.resolve(workspace, [together(one, PHONE) for one in people])
    assert len({state.profile_id for state in (await quick.states(workspace, people)).values()}) == 1
    await quick.set_policy(workspace, MANY)
    await applied(quick, workspace)
    states = await quick.states(workspace, [*people, PHONE])
    assert len({state.profile_id for state in states.values()}) == 4
    assert states[PHONE].shared
    changes = [change for change in await quick.changes(workspace) if change.cause == pb.CHANGE_CAUSE_POLICY]
    assert {change.policy_version for change in changes} == {1}
    assert PHONE.value in {change.identifier.value for change in changes}


async def test_a_hub_is_one_person_again_under_a_wider_rule(quick: Replica, workspace: str) -> None:
    """What one policy closed, another opens: with all evidence that was kept meanwhile."""
    people = [mail(name) for name in "abcd"]
    await quick.set_policy(workspace, MANY)
    await quick.resolve(workspace, [together(one, PHONE) for one in people])
    assert (await quick.states(workspace, [PHONE]))[PHONE].shared
    await quick.set_policy(workspace, pb.IdentityPolicy())
    await applied(quick, workspace)
    states = await quick.states(workspace, [*people, PHONE])
    assert len({state.profile_id for state in states.values()}) == 1
    assert not states[PHONE].shared


async def test_who_was_first_seen_within_a_short_time_is_limited(quick: Replica, workspace: str) -> None:
    """A person gets at most so many cards a day, whatever the order; an earlier sighting makes room for another."""
    cards = [Named("loyalty_card", f"471{number}") for number in range(3)]
    rules = pb.IdentityPolicy(kinds=[pb.KindRules(kind="loyalty_card", most_per_period=2, period=minutes(60))])
    await quick.set_policy(workspace, rules)
    sightings = [together(mail("a"), card, minute=number) for number, card in enumerate(cards)]
    for sighted in reversed(sightings):
        await quick.resolve(workspace, [sighted])
    states = await quick.states(workspace, [mail("a"), *cards])
    assert states[cards[2]].profile_id != states[mail("a")].profile_id
    explained = await quick.explain(workspace, mail("a"), cards[2])
    assert [link.refusal for link in explained.chain] == [pb.LINK_REFUSAL_PERIOD_LIMIT]
    await quick.resolve(workspace, [Sighted([cards[0]], minute=-120)])  # it was known two hours before
    states = await quick.states(workspace, [mail("a"), *cards])
    assert len({state.profile_id for state in states.values()}) == 1


async def test_applying_goes_on_where_it_stood(
    start_replica: StartReplica, workspace: str, request: pytest.FixtureRequest
) -> None:
    """A replica that ends amidst applying a policy leaves whole neighbourhoods; another one goes on."""
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(applying, "_PORTION", 1)
    idle = await start_replica(settle_seconds=3_600)
    people = [[mail(f"{name}{number}") for number in range(3)] for name in "abcdefgh"]
    await idle.resolve(
        workspace, [together(PHONE._replace(value=f"+96655100010{n}"), *group) for n, group in enumerate(people)]
    )
    await idle.set_policy(workspace, pb.IdentityPolicy(kinds=[pb.KindRules(kind="email", most_per_profile=1)]))
    assert not (await idle.policy(workspace)).HasField("applied_at")
    for group in people:  # each neighbourhood is of one version, and says which
        found = await idle.lookup(workspace, group)
        assert len({result.policy_version for result in found}) == 1
    await start_replica(settle_seconds=0.01)
    await applied(idle, workspace)
    for group in people:
        assert len({result.profile_id for result in await idle.lookup(workspace, group)}) == 3


async def test_a_preview_says_who_would_merge_and_split(quick: Replica, workspace: str) -> None:
    """Counts and examples with names, and nothing is changed."""
    people = [mail(name) for name in "abc"]
    await quick.resolve(workspace, [together(one, PHONE) for one in people])
    *_, last = await quick.preview_policy(workspace, MANY)
    effect = last.effect
    assert (effect.profiles_before, effect.profiles_after, effect.merges, effect.splits) == (1, 4, 0, 1)
    assert (effect.shared_before, effect.shared_after, effect.identifiers_moved) == (0, 1, 4)
    [split] = effect.split_examples
    assert {one.value for one in split.before[0].identifiers} == {named.value for named in (*people, PHONE)}
    assert len(split.after) == 4
    assert split.before[0].profile_id in {group.profile_id for group in split.after}
    assert (await quick.policy(workspace)).version == 0
    assert len({state.profile_id for state in (await quick.states(workspace, people)).values()}) == 1


async def test_a_preview_of_nobody_finds_nothing(quick: Replica, workspace: str) -> None:
    """Of a workspace without people, too, something is said."""
    *_, last = await quick.preview_policy(workspace, MANY)
    assert last.effect == pb.PolicyEffect()


async def test_a_part_of_a_preview_is_a_part_of_the_whole(quick: Replica, workspace: str) -> None:
    """Of every third neighbourhood all is looked at, and of the others nothing."""
    groups = [[user(f"u{number}"), device(f"d{number}"), cookie(f"c{number}")] for number in range(60)]
    await quick.resolve(workspace, [together(*group) for group in groups])
    rules = pb.IdentityPolicy(
        kinds=[pb.KindRules(kind="user_id", shared_above=1), pb.KindRules(kind="device_id", strong=True)]
    )
    *_, last = await quick.preview_policy(workspace, rules, one_in=3)
    assert 0 < last.effect.profiles_before < 60
    assert last.grouped == 3 * last.effect.profiles_before


async def test_who_was_blocked_and_is_a_hub_counts_for_those_who_come_later(
    previewed: Replica, secret: Secret, workspace: str
) -> None:
    """Applied in the order of keys: first two others, then addresses that a policy blocked, and last what they met."""
    many = [Named(kind, f"n{number}") for kind in ("anonymous_id", "device_id") for number in range(20)]
    many += [mail(f"n{number}") for number in range(20)]
    many.sort(key=lambda named: identifier_key(secret(workspace), *named))
    first = [named for named in many if named.kind == "anonymous_id"][:2]
    last = next(named for named in reversed(many) if named.kind == "device_id")
    between = [named for named in many[many.index(first[1]) : many.index(last)] if named.kind == "email"][:3]
    blocked = pb.IdentityPolicy(blocked_patterns=[pb.BlockedPattern(kind="email", pattern=".*")])
    await previewed.set_policy(workspace, blocked)
    await applied(previewed, workspace)
    await previewed.resolve(workspace, [*map(together, first), together(last, *between)])
    await previewed.set_policy(workspace, pb.IdentityPolicy(most_identifiers=2))
    await applied(previewed, workspace)
    states = await previewed.states(workspace, [last, *between])
    assert [state.shared for state in states.values()] == [True] * 4


@pytest.fixture
def previewer(open_database: OpenDatabase, secret: Secret, monkeypatch: pytest.MonkeyPatch) -> Previewer:
    """What tries policies out in a replica, a very small portion at a time."""
    monkeypatch.setattr(previewing, "_PORTION", 3)
    monkeypatch.setattr(snapshot, "estimate", some)
    database = open_database("identity")
    return Previewer(database, Policies(database, TIGHT, secret), secret)


async def test_who_stops_reading_a_preview_holds_up_no_other(
    identity: Replica, previewer: Previewer, workspace: str
) -> None:
    """One preview at a time is worked at, however slowly it is read; it ends when its reader goes away."""
    groups = [[user(f"u{number}"), device(f"d{number}"), cookie(f"c{number}")] for number in range(20)]
    await identity.resolve(workspace, [together(*group) for group in groups])

    def begun() -> AsyncGenerator[Progress]:
        return previewer.preview(workspace, Rules(), 1, 10)

    async with asyncio.timeout(120), aclosing(begun()) as stalled, aclosing(begun()) as gone:
        first = await anext(stalled)
        assert first.effect is None
        await anext(gone)  # it waits for the turn, and has it once the stalled one is through
    [*_, last] = [step async for step in begun()]
    assert last.effect is not None
    assert last.grouped == 60


async def test_of_previews_that_are_given_up_one_graph_is_in_memory(
    identity: Replica, previewer: Previewer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be stopped: the next preview waits until what it works at is gone."""
    await identity.resolve(workspace, [together(mail("ada"), mail("eve"))])
    begun, goes_on, at_once = threading.Semaphore(0), threading.Event(), Counter[str]()

    class Counted(previewing.Preview):
        def __init__(self, *given: Any) -> None:
            at_once["now"] += 1
            at_once["most"] = max(at_once["most"], at_once["now"])
            begun.release()
            goes_on.wait(30)
            super().__init__(*given)
            at_once["now"] -= 1

    monkeypatch.setattr(previewer_module, "Preview", Counted)

    async def read() -> Progress:
        return [step async for step in previewer.preview(workspace, Rules(), 1, 10)][-1]

    given_up = asyncio.create_task(read())
    await asyncio.to_thread(begun.acquire)
    given_up.cancel()
    next_one = asyncio.create_task(read())
    await asyncio.wait([next_one], timeout=0.3)
    goes_on.set()
    assert (await next_one).effect is not None
    assert given_up.cancelled()
    assert at_once["most"] == 1


async def test_a_preview_that_fails_says_so(
    previewer: Previewer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader is told what went wrong, and the next one has the turn."""
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_DECIDED", "SELECT FROM nowhere WHERE %s")
        with pytest.raises(UndefinedTable):
            [step async for step in previewer.preview(workspace, Rules(), 1, 10)]
    [*_, last] = [step async for step in previewer.preview(workspace, Rules(), 1, 10)]
    assert last.effect is not None


async def test_a_preview_may_think_longer_than_others_may_idle(open_database: OpenDatabase) -> None:
    """Between two reads many values are held against many patterns; the database must not end it meanwhile."""
    asked = "SELECT current_setting('idle_in_transaction_session_timeout')::interval"
    database = open_database("identity")
    async with database.transaction() as connection:
        await snapshot.begin(connection)
        [(during,)] = await fetch(connection, asked)
    async with database.transaction() as connection:
        [(otherwise,)] = await fetch(connection, asked)
    assert during > otherwise


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sightings=SIGHTINGS,
    decisions=DECISIONS,
    rules=st.lists(policies(UNIVERSE), min_size=2, max_size=2),
    random=RANDOM,
)
async def test_what_a_preview_says_is_what_comes(
    previewed: Replica,
    sightings: list[Sighted],
    decisions: list[Decided],
    rules: list[pb.IdentityPolicy],
    random: Random,
) -> None:
    """Whatever was seen, decided and ruled before: the counts of a preview are those of the people afterwards."""
    workspace = f"w{uuid4().hex}"
    await previewed.set_policy(workspace, rules[0])
    await previewed.resolve(workspace, sightings)
    seen = sorted({named for sighted in sightings for named in sighted.identifiers})
    for each in decisions:
        if set(each[1]) <= set(seen):
            await decide(previewed, workspace, each)
    await applied(previewed, workspace)
    before = await previewed.states(workspace, seen)
    *_, last = await previewed.preview_policy(workspace, rules[1])
    await previewed.set_policy(workspace, rules[1])
    await applied(previewed, workspace)
    after = await previewed.states(workspace, seen)
    effect = last.effect
    profiles = [{state.profile_id for state in states.values()} - {""} for states in (before, after)]
    assert (effect.profiles_before, effect.profiles_after) == tuple(map(len, profiles))
    assert (effect.shared_before, effect.shared_after) == tuple(
        sum(state.shared for state in states.values()) for states in (before, after)
    )
    assert (effect.blocked_before, effect.blocked_after) == tuple(
        sum(state.blocked for state in states.values()) for states in (before, after)
    )
    ways = {(before[named].profile_id, after[named].profile_id) for named in seen}
    assert effect.merges == sum(
        len({one for one, other in ways if one and other == profile}) > 1 for profile in profiles[1]
    )
    assert effect.splits == sum(
        len({other for one, other in ways if one == profile}) > 1 or (profile, "") in ways for profile in profiles[0]
    )


@pytest.fixture
async def previewed(start_replica: StartReplica, monkeypatch: pytest.MonkeyPatch) -> Replica:
    """A replica with tight rules that reads, groups and applies in very small portions."""
    monkeypatch.setattr(previewing, "_PORTION", 3)
    monkeypatch.setattr(snapshot, "estimate", some)
    monkeypatch.setattr(applying, "_PORTION", 2)
    return await start_replica(TIGHT, settle_seconds=0.01)


async def some(_: object) -> int:
    """An estimate that leads to several parts."""
    return 100_000
