"""What was known at a moment is still told later, and every change says what was before, why, and who decided it."""

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.store import history
from sima_runtime.database import Database, execute, fetch
from sima_runtime.errors import InvalidFieldsError, NotFoundError
from sima_sdk.identifiers import identifier_key

from .conftest import (
    Named,
    Replica,
    Sighted,
    StartReplica,
    cookie,
    device,
    identifier,
    lookup_key,
    mail,
    together,
    user,
)
from .laws import (
    DECISIONS,
    RANDOM,
    SIGHTINGS,
    UNIVERSE,
    Decided,
    Fixture,
    batches,
    decide,
    replayed,
    rule,
    seen,
    until_settled,
)
from .policies import policies
from .test_policies import applied

LAW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
ADA, EVE, CARD, TABLET = mail("ada"), mail("eve"), Named("loyalty_card", "4711"), device("tablet")


class Home(NamedTuple):
    """What a lookup says, first_seen_at apart, which is about another time."""

    profile_id: str
    identifiers: frozenset[tuple[str, bytes, bool, bool]]


def home(result: pb.LookupResult | pb.LookupAsKnownResult) -> Home:
    """What an answer says."""
    members = ((one.identifier.kind, one.identifier.key, one.shared, one.blocked) for one in result.identifiers)
    return Home(result.profile_id, frozenset(members))


async def clock(database: Database) -> datetime:
    """The time that the database has."""
    async with database.statement() as connection:
        [(now,)] = await fetch(connection, "SELECT clock_timestamp()")
    assert isinstance(now, datetime)
    return now


async def attempted(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call; about what was not seen yet nothing can be decided."""
    with contextlib.suppress(NotFoundError):
        await call()


async def ruled(fixture: Fixture, workspace: str, rules: pb.IdentityPolicy) -> None:
    """Set a policy, and wait until all is grouped under it."""
    await rule(fixture.replicas[0], workspace, rules)
    await until_settled(fixture.database, workspace)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, rules=st.lists(policies(UNIVERSE), max_size=2), random=RANDOM)
async def test_what_was_answered_at_a_moment_is_known_as_of_it(
    tight: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    rules: list[pb.IdentityPolicy],
    random: Random,
) -> None:
    """Whatever came later, each moment between two calls is answered as Lookup answered it then, ids included.

    But for who is erased later: they are missing, and all others are as they were.
    """
    workspace = f"w{uuid4().hex}"
    calls: list[Callable[[], Awaitable[object]]] = [
        *(partial(seen, random.choice(tight.replicas), workspace, batch) for batch in batches(sightings, random)),
        *(partial(decide, random.choice(tight.replicas), workspace, each) for each in decisions),
        *(partial(ruled, tight, workspace, each) for each in rules),
    ]
    random.shuffle(calls)
    told: list[tuple[datetime, list[Home]]] = []
    wanted: list[Named | str] = [*UNIVERSE]
    calls.append(partial(until_settled, tight.database, workspace))
    for call in calls:
        await attempted(call)
        answers = await random.choice(tight.replicas).lookup(workspace, UNIVERSE)
        wanted += {answer.profile_id for answer in answers if answer.profile_id}.difference(wanted)
        answers = await random.choice(tight.replicas).lookup(workspace, wanted)
        told.append((await clock(tight.database), list(map(home, answers))))
    born: dict[Named | str, datetime] = {}
    for change in await tight.replicas[0].changes(workspace):
        born.setdefault(change.profile_id, change.changed_at.ToDatetime(UTC))
    for moment, answers_then in told:
        answered = await random.choice(tight.replicas).as_known(workspace, wanted, moment)
        then = list(map(home, answered))
        assert then[: len(answers_then)] == answers_then
        later = zip(wanted[len(answers_then) :], then[len(answers_then) :], strict=True)  # also of decisions taken back
        assert all(one == Home("", frozenset()) for profile_id, one in later if born[profile_id] > moment)
    assert all(not one.identifiers for one in await tight.replicas[0].as_known(workspace, wanted, at_the_beginning()))
    erased = random.sample(UNIVERSE, 2)
    await tight.replicas[0].erase(workspace, erased)
    await until_settled(tight.database, workspace)
    gone = {identifier_key(tight.secret(workspace), one.kind, one.value) for one in erased}
    for moment, answers_then in random.sample(told, min(len(told), 3)):
        answered = await random.choice(tight.replicas).as_known(workspace, UNIVERSE, moment)
        for named, one, was in zip(UNIVERSE, map(home, answered), answers_then, strict=False):
            left = frozenset(member for member in was.identifiers if member[1] not in gone)
            assert one == (Home("", frozenset()) if named in erased else Home(was.profile_id, left))


def at_the_beginning() -> datetime:
    """Before anything was known."""
    return datetime(2000, 1, 1, tzinfo=UTC)


@LAW
@given(sightings=SIGHTINGS, decisions=DECISIONS, random=RANDOM)
async def test_every_change_says_what_was_before(
    tight: Fixture,
    sightings: list[Sighted],
    decisions: list[Decided],
    random: Random,
) -> None:
    """An empty reader of the feed has, at each change, what it says was before, and in the end what is stored."""
    workspace = f"w{uuid4().hex}"
    calls: list[Callable[[], Awaitable[object]]] = [
        *(partial(seen, random.choice(tight.replicas), workspace, batch) for batch in batches(sightings, random)),
        *(partial(decide, random.choice(tight.replicas), workspace, each) for each in decisions),
    ]
    random.shuffle(calls)
    for call in calls:
        await attempted(call)
    feed = replayed(await tight.replicas[0].changes(workspace))
    stored = await tight.replicas[1].states(workspace, UNIVERSE)
    secret = tight.secret(workspace)
    assert feed == {(named.kind, identifier_key(secret, *named)): state for named, state in stored.items()}
    changes = await tight.replicas[1].changes(workspace)
    for named in stored:
        own = [change for change in changes if change.identifier.key == identifier_key(secret, *named)]
        assert await paged(tight.replicas[0], workspace, named) == own


async def paged(replica: Replica, workspace: str, subject: Named | str) -> list[pb.ProfileChange]:
    """All changes of an identifier or profile, listed two at a time."""
    page = await replica.list_changes(workspace, subject, 2)
    changes = [*page.changes]
    while page.next_page_token:
        page = await replica.list_changes(workspace, subject, 2, page.next_page_token)
        changes += page.changes
    return changes


async def test_the_past_of_a_profile_has_who_was_in_it_and_since_when(
    identity: Replica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """An id that was merged into another leads, as of before the merge, to its own people."""
    database = open_database("identity")
    await identity.resolve(workspace, [together(ADA, user("ada")), together(EVE, user("eve"))])
    before = await clock(database)
    ada, eve = [result.profile_id for result in await identity.lookup(workspace, [ADA, EVE])]
    await identity.resolve(workspace, [together(ADA, EVE)])
    [one] = {result.profile_id for result in await identity.lookup(workspace, [ADA, eve])}
    was, now = [
        (await identity.as_known(workspace, [eve], moment))[0] for moment in (before, before + timedelta(days=1))
    ]
    assert ({each.identifier.value for each in was.identifiers}, was.profile_id) == ({"eve", EVE.value}, eve)
    assert (len(now.identifiers), now.profile_id) == (4, one)
    assert {one.since.ToDatetime(UTC) < before for one in was.identifiers} == {True}
    assert [one.identifier.kind for one in was.identifiers] == ["user_id", "email"]  # the strongest first
    assert ada != eve


async def test_a_profile_id_is_not_known_before_it_was_given_out(
    identity: Replica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """A split gives out a new id; before it nobody had that, though the identifier was known."""
    await identity.resolve(workspace, [together(ADA, EVE)])
    before = await clock(open_database("identity"))
    await identity.split(workspace, [EVE], [ADA])
    [new] = {result.profile_id for result in await identity.lookup(workspace, [EVE, ADA])} - {
        result.profile_id for result in await identity.as_known(workspace, [ADA], before)
    }
    nobody, somebody = await identity.as_known(workspace, [new, EVE], before)
    assert (nobody.profile_id, len(nobody.identifiers)) == ("", 0)
    assert len(somebody.identifiers) == 2


async def test_a_change_names_who_decided_it_and_who_took_it_back(identity: Replica, workspace: str) -> None:
    """Evidence has no actor; of a decision that was taken back, each change has its own, and says which it is."""
    await identity.resolve(workspace, [together(ADA, EVE)])
    outcome = await identity.split(workspace, [EVE], [ADA], actor="ina")
    back = await identity.withdraw(workspace, outcome.decision.id, actor="omar")
    named = [(change.cause, change.actor, change.withdrawn) for change in await identity.changes(workspace)]
    assert named == [
        (pb.CHANGE_CAUSE_EVIDENCE, "", False),
        (pb.CHANGE_CAUSE_EVIDENCE, "", False),
        (pb.CHANGE_CAUSE_DECISION, "ina", False),
        (pb.CHANGE_CAUSE_DECISION, "omar", True),
    ]
    assert {(change.actor, change.withdrawn) for change in outcome.changes} == {("ina", False)}
    assert {(change.actor, change.withdrawn) for change in back.changes} == {("omar", True)}


async def test_a_change_names_who_set_the_policy_and_who_had_others_erased(identity: Replica, workspace: str) -> None:
    """Whoever reads the history knows whom to ask, and is not told of new evidence where there was none."""
    await identity.resolve(workspace, [together(ADA, TABLET), together(TABLET, EVE)])
    await identity.resolve(workspace, [together(user("ada"), mail("both")), together(user("eve"), mail("both"))])
    rules = pb.IdentityPolicy(blocked_values=[identifier(TABLET)])
    [erased] = (await identity.erase(workspace, [mail("both")], actor="dpo")).changes
    version = (await identity.set_policy(workspace, rules, actor="ina")).version
    await applied(identity, workspace)
    changes = (await identity.list_changes(workspace, TABLET)).changes
    told = [(one.cause, one.actor, one.policy_version) for one in (changes[-1], erased)]
    assert told == [(pb.CHANGE_CAUSE_POLICY, "ina", version), (pb.CHANGE_CAUSE_OTHERS_ERASED, "dpo", 0)]
    [gone] = (await identity.list_changes(workspace, mail("both"))).changes
    assert (gone.cause, gone.actor) == (pb.CHANGE_CAUSE_ERASURE, "dpo")
    moved = [one for one in await identity.changes(workspace) if one.cause == pb.CHANGE_CAUSE_OTHERS_ERASED]
    assert [(one.identifier.key, one.actor) for one in moved] == [(erased.identifier.key, "dpo")]


async def test_a_change_says_whether_it_was_shared_before(start_replica: StartReplica, workspace: str) -> None:
    """A tablet of two people is shared from the second on, and no longer once somebody says that the two are one."""
    identity = await start_replica()
    await identity.resolve(workspace, [together(ADA, TABLET)])
    await identity.resolve(workspace, [together(EVE, TABLET)])
    await identity.always(workspace, ADA, EVE)
    changes = (await identity.list_changes(workspace, TABLET)).changes
    assert [(each.previously_shared, each.shared) for each in changes] == [(False, False), (False, True), (True, False)]


async def test_what_lies_in_the_future_is_answered_as_now(identity: Replica, workspace: str) -> None:
    """And a cookie alone has a history, too."""
    await identity.resolve(workspace, [together(cookie("c"))])
    [result] = await identity.as_known(workspace, [cookie("c")], datetime(2200, 1, 1, tzinfo=UTC))
    assert [one.identifier.value for one in result.identifiers] == ["c"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.LookupAsKnownRequest(keys=[lookup_key(ADA)]), "known_at"),
        (pb.LookupAsKnownRequest(known_at=Timestamp(seconds=1)), "keys"),
        (pb.LookupAsKnownRequest(keys=[pb.LookupKey()], known_at=Timestamp(seconds=1)), "keys[0]"),
        (
            pb.LookupAsKnownRequest(
                keys=[pb.LookupKey(identifier=Identifier(kind="shoe", value="1"))], known_at=Timestamp(seconds=1)
            ),
            "keys[0].identifier.kind",
        ),
    ],
)
async def test_a_question_about_the_past_says_what_is_wrong_with_it(
    identity: Replica, workspace: str, request_: pb.LookupAsKnownRequest, field: str
) -> None:
    """By the name of the field."""
    with pytest.raises(InvalidFieldsError) as refused:
        await identity.client.call(identity.stub.LookupAsKnown, request_, workspace=workspace)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_profiles_that_had_too_many_identifiers_are_refused(
    identity: Replica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer has room for so many; those that came and went are looked at, too, and count."""
    monkeypatch.setattr(history, "MOST_MEMBERS", 2)
    await identity.resolve(workspace, [together(ADA, EVE)])
    future = datetime(2200, 1, 1, tzinfo=UTC)
    assert len((await identity.as_known(workspace, [ADA], future))[0].identifiers) == 2
    await identity.resolve(workspace, [together(ADA, CARD)])
    with pytest.raises(InvalidFieldsError):
        await identity.as_known(workspace, [ADA], future)


async def test_transactions_that_overlap_are_known_in_the_order_in_which_they_built_on_each_other(
    identity: Replica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """A call that began first and had to wait is known after the one that it waited for."""
    database = open_database("identity")
    await identity.resolve(workspace, [together(ADA)])
    async with database.transaction() as connection:  # holds up who wants the same identifier
        await execute(connection, "SELECT FROM identifiers WHERE workspace = %s FOR NO KEY UPDATE", (workspace,))
        waiting = asyncio.create_task(identity.resolve(workspace, [together(ADA, EVE)]))
        await asyncio.sleep(0.3)
        released = await clock(database)
    await waiting
    [known] = await identity.as_known(workspace, [ADA], released)
    assert [one.identifier.value for one in known.identifiers] == [ADA.value]


async def test_what_was_logged_before_is_told_with_the_standing_before(
    start_replica: StartReplica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """The migration finds for changes of older versions what newer ones store."""
    identity, database = await start_replica(), open_database("identity")
    await identity.resolve(workspace, [together(ADA, TABLET)])
    await identity.resolve(workspace, [together(EVE, TABLET)])
    await identity.always(workspace, ADA, EVE)
    before = await identity.changes(workspace)
    [backfill] = [one for one in migration("0006_history").STATEMENTS if one.startswith("UPDATE")]
    async with database.statement() as connection:
        forget = "UPDATE profile_changes SET previously_shared = false, previously_blocked = false WHERE workspace = %s"
        await execute(connection, forget, (workspace,))
        assert await identity.changes(workspace) != before
        await execute(connection, backfill)
    assert await identity.changes(workspace) == before


def migration(name: str) -> Any:
    """The module of a migration."""
    return importlib.import_module(f"sima_identity.migrations.versions.{name}")
