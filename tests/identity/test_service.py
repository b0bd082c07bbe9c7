"""What callers of the contract can rely on, through real gRPC on real PostgreSQL."""

import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.batch import Batch
from sima_identity.grouping import Grouping, Transaction
from sima_identity.planning import Plan, Situation
from sima_identity.records import Wanted
from sima_identity.store import graph, lookups
from sima_runtime.database import Database, Driver, execute, fetch
from sima_runtime.errors import InvalidFieldsError, PageTokenError
from sima_runtime.paging import next_page_token
from sima_sdk.identifiers import BUILT_IN_KINDS, identifier_key

from .conftest import (
    START,
    Named,
    Replica,
    Secret,
    Sighted,
    StartReplica,
    State,
    cookie,
    device,
    identifier,
    identifier_set,
    mail,
    policy,
    together,
    user,
)

PASSPORT = Named("passport", "X1234567")


async def test_identifiers_seen_together_are_one_profile(identity: Replica, workspace: str) -> None:
    """Resolve answers the same profile for all identifiers of a message, and Lookup finds it by each of them."""
    [answer] = await identity.resolve(workspace, [together(mail("ada"), user("u1"), cookie("c1"))])
    found = await identity.lookup(workspace, [mail("ada"), user("u1"), cookie("c1"), answer.profile_id])
    assert {result.profile_id for result in found} == {answer.profile_id}
    known = [(item.identifier.kind, item.identifier.value) for item in found[0].identifiers]
    assert known == [user("u1"), mail("ada"), cookie("c1")]
    assert list(answer.keys) == [item.identifier.key for item in found[0].identifiers]
    assert answer.owner_key == answer.keys[0]
    assert not answer.pending


async def test_answers_come_in_the_order_of_the_request(identity: Replica, workspace: str) -> None:
    """Also of sets and keys that are the same, unknown or mixed."""
    answers = await identity.resolve(workspace, [together(mail(name)) for name in "abcab"])
    assert [answer.profile_id for answer in answers[3:]] == [answer.profile_id for answer in answers[:2]]
    assert len({answer.profile_id for answer in answers}) == 3
    found = await identity.lookup(workspace, [mail("c"), mail("unknown"), answers[0].profile_id, mail("c"), "0" * 32])
    expected = [answers[2].profile_id, "", answers[0].profile_id, answers[2].profile_id, ""]
    assert [result.profile_id for result in found] == expected


async def test_values_are_normalised_on_arrival(identity: Replica, workspace: str) -> None:
    """Case, local numbers and Persian digits do not make another person."""
    seen = pb.IdentifierSet(
        identifiers=[identifier(Named("phone", "۰۹۱۲ ۳۴۵ ۶۷۰۱")), identifier(Named("email", "Ada@Mail.Example.com"))],
        source="shop",
        default_region="ir",
    )
    seen.observed_at.seconds = 1
    response = await identity.client.call(identity.stub.Resolve, pb.ResolveRequest(sets=[seen]), workspace=workspace)
    [by_phone, by_mail] = await identity.lookup(workspace, [Named("phone", "+989123456701"), mail("ada")])
    assert by_phone.profile_id == by_mail.profile_id == response.results[0].profile_id


async def test_an_identifier_keeps_when_it_was_seen_first(identity: Replica, workspace: str) -> None:
    """Whichever message came first, the earliest time counts: alone or with others, of shared and blocked ones too."""
    junk = Named("email", "test@test.com")
    for sighted in (
        together(mail("a"), device("d"), junk, cookie("c"), minute=9),
        together(mail("a"), device("d"), minute=5),
        together(cookie("c"), junk, minute=7),
        together(junk, minute=2),
        together(cookie("c"), minute=3),
        together(mail("b"), device("d"), minute=4),
        together(mail("a"), minute=8),
    ):
        await identity.resolve(workspace, [sighted])
    named = [mail("a"), cookie("c"), device("d"), junk]
    found = await identity.lookup(workspace, named)
    minutes = {
        Named(item.identifier.kind, item.identifier.value): item.first_seen_at.ToDatetime(UTC) - START
        for result in found
        for item in result.identifiers
    }
    assert [minutes[each].total_seconds() / 60 for each in named] == [5, 3, 4, 2]


# Owners, shared and blocked identifiers.


async def test_the_owner_is_the_strongest_that_is_nobody_elses(identity: Replica, workspace: str) -> None:
    """A shared tablet owns only what nothing better owns, junk owns nothing."""
    await identity.resolve(workspace, [together(mail("a"), device("tablet")), together(mail("b"), device("tablet"))])
    junk = Named("email", "noreply@example.com")
    answers = await identity.resolve(
        workspace, [together(device("tablet"), cookie("c")), together(device("tablet"), junk), together(junk)]
    )
    by_name = await identity.states(workspace, [cookie("c"), device("tablet"), junk])
    assert [answer.profile_id for answer in answers] == [
        by_name[cookie("c")].profile_id,
        by_name[device("tablet")].profile_id,
        "",
    ]
    assert answers[2].owner_key == b""
    assert by_name[device("tablet")].shared
    assert by_name[junk] == State("", shared=False, blocked=True)


async def test_an_installation_has_junk_of_its_own(start_replica: StartReplica, workspace: str) -> None:
    """What matches a configured pattern as a whole joins nobody; what only contains it does."""
    identity = await start_replica(blocked={"email": r"till-\d+@mail\.example\.com"})
    till, near = mail("till-12"), mail("my-till-12")
    named_with = {till: [cookie("a"), cookie("b")], near: [cookie("c"), cookie("d")]}
    for address, cookies in named_with.items():
        await identity.resolve(workspace, [together(each, address) for each in cookies])
    states = await identity.states(workspace, [till, *named_with[till], *named_with[near]])
    assert states[till] == State("", shared=False, blocked=True)
    assert states[cookie("a")].profile_id != states[cookie("b")].profile_id
    assert states[cookie("c")].profile_id == states[cookie("d")].profile_id


async def test_a_family_tablet_leaves_everybody_their_profile(identity: Replica, workspace: str) -> None:
    """When a second person signs in, the first keeps the profile id, and the tablet gets one of its own."""
    [first] = await identity.resolve(workspace, [together(mail("a"), device("tablet"))])
    [second] = await identity.resolve(workspace, [together(mail("b"), device("tablet"))])
    states = await identity.states(workspace, [mail("a"), mail("b"), device("tablet")])
    assert states[mail("a")] == State(first.profile_id, shared=False, blocked=False)
    assert states[mail("b")] == State(second.profile_id, shared=False, blocked=False)
    assert states[device("tablet")].shared
    assert len({state.profile_id for state in states.values()}) == 3


async def test_a_kiosk_stays_a_hub(start_replica: StartReplica, workspace: str) -> None:
    """Beyond the number that its kind allows a device is shared for good, and joins nobody afterwards."""
    identity = await start_replica(policy(device_id={"shared_above": 3}))
    for number in range(5):
        await identity.resolve(workspace, [together(mail(f"m{number}"), device("kiosk"), cookie(f"c{number}"))])
    people = [mail(f"m{number}") for number in range(5)]
    states = await identity.states(workspace, [*people, device("kiosk"), cookie("c4")])
    assert states[device("kiosk")].shared
    assert states[cookie("c4")] == states[mail("m4")]
    assert len({states[person].profile_id for person in people}) == 5


# Profile ids.


async def test_former_profile_ids_keep_resolving(identity: Replica, workspace: str) -> None:
    """Of two profiles that become one the older id stays, and the younger one leads to it."""
    [older] = await identity.resolve(workspace, [together(mail("a"))])
    [younger] = await identity.resolve(workspace, [together(mail("b"))])
    [merged] = await identity.resolve(workspace, [together(mail("a"), mail("b"))])
    found = await identity.lookup(workspace, [older.profile_id, younger.profile_id])
    assert {result.profile_id for result in found} == {merged.profile_id} == {older.profile_id}


async def test_a_chain_of_merges_is_followed_to_its_end(identity: Replica, workspace: str) -> None:
    """An id that was merged several times leads to today's profile, which has the oldest id of all."""
    first = [(await identity.resolve(workspace, [together(mail(name))]))[0].profile_id for name in "abcd"]
    for link in (("c", "d"), ("b", "c"), ("a", "b")):
        await identity.resolve(workspace, [together(*map(mail, link))])
    found = await identity.lookup(workspace, first)
    assert {result.profile_id for result in found} == {first[0]}


async def test_a_profile_id_is_never_reused_for_other_people(identity: Replica, workspace: str) -> None:
    """The id that a cookie founded comes back to the cookie, and never to a person it once was joined with."""
    [anonymous] = await identity.resolve(workspace, [together(device("d"))])
    [known] = await identity.resolve(workspace, [together(device("d"), mail("a"))])
    assert known.profile_id == anonymous.profile_id
    [other] = await identity.resolve(workspace, [together(device("d"), mail("b"))])
    states = await identity.states(workspace, [device("d"), mail("a"), mail("b")])
    assert states[device("d")] == State(anonymous.profile_id, shared=True, blocked=False)
    assert len({states[mail("a")].profile_id, other.profile_id, anonymous.profile_id}) == 3


# Protected kinds.


async def test_the_value_of_a_protected_kind_is_stored_nowhere(
    identity: Replica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """A passport is known by its key alone: no table, no answer and no feed has its number."""
    [answer] = await identity.resolve(workspace, [together(PASSPORT, mail("ada"))])
    [found] = await identity.lookup(workspace, [PASSPORT])
    changes = await identity.changes(workspace)
    assert found.profile_id == answer.profile_id
    assert "X1234567" not in f"{found} {changes}"
    assert [item.identifier.value for item in found.identifiers if item.identifier.kind == "passport"] == [""]
    async with open_database("identity").statement() as connection:
        for table in ("identifiers", "edges", "profile_changes", "pending"):
            query = f"SELECT count(*) FROM {table} AS stored WHERE stored::text LIKE '%%X1234567%%'"
            assert await fetch(connection, query) == [(0,)]


async def test_a_protected_kind_is_accepted_by_its_key_alone(identity: Replica, workspace: str, secret: Secret) -> None:
    """Who holds the workspace's secret need not send the number, and junk among keys is recognised all the same."""
    [by_value] = await identity.resolve(workspace, [together(PASSPORT)])
    for value, expected in ((PASSPORT.value, by_value.profile_id), ("0000000000", "")):
        seen = identifier_set(together(mail("unused")))
        seen.ClearField("identifiers")
        seen.identifiers.add(kind="passport", key=identifier_key(secret(workspace), "passport", value))
        response = await identity.client.call(
            identity.stub.Resolve, pb.ResolveRequest(sets=[seen]), workspace=workspace
        )
        assert response.results[0].profile_id == expected


# The feed and the list of changes.


async def test_the_feed_goes_on_behind_a_cursor(identity: Replica, workspace: str) -> None:
    """A reader that comes back gets what it has not seen, each change once."""
    await identity.resolve(workspace, [together(mail("a"))])
    request = pb.WatchProfileChangesRequest(until_now=True)
    pages = identity.client.stream(identity.stub.WatchProfileChanges, request, workspace=workspace, deadline=60)
    cursor = [page.cursor async for page in pages][-1]
    await identity.resolve(workspace, [together(mail("a"), cookie("b"))])
    assert [change.identifier.value for change in await identity.changes(workspace, cursor)] == ["b"]


async def test_the_feed_goes_on_while_it_is_watched(identity: Replica, workspace: str) -> None:
    """A reader that waits is told what changes meanwhile: who moved, from where, to where."""
    answers = await identity.resolve(workspace, [together(mail("a")), together(mail("b"))])
    request = pb.WatchProfileChangesRequest()
    pages = identity.client.stream(identity.stub.WatchProfileChanges, request, workspace=workspace, deadline=60)
    seen: list[pb.ProfileChange] = []
    merging = None
    async for page in pages:
        seen += page.changes
        if len(seen) == 2 and merging is None:
            merging = asyncio.create_task(identity.resolve(workspace, [together(mail("a"), mail("b"))]))
        if len(seen) == 3:
            break
    moved = seen[-1]
    assert {moved.previous_profile_id, moved.profile_id} == {answer.profile_id for answer in answers}
    assert moved.cause == pb.CHANGE_CAUSE_EVIDENCE
    assert merging is not None
    await merging


async def test_a_reader_of_standings_hears_of_what_is_shared_or_blocked_only(identity: Replica, workspace: str) -> None:
    """Most identifiers are their owners' alone, and who only decides about owners need not hear of them."""
    first = [together(mail("a"), device("d"), minute=1), together(Named("email", "test@test.com"), minute=1)]
    await identity.resolve(workspace, first)
    await identity.resolve(workspace, [together(mail("b"), device("d"), minute=2)])
    told = await identity.changes(workspace, standings_only=True)
    assert [(one.identifier.value, one.shared, one.blocked) for one in told] == [
        ("test@test.com", False, True),
        ("d", True, False),
    ]


async def test_nothing_new_writes_nothing(identity: Replica, workspace: str) -> None:
    """What is known already leaves no trace in the feed."""
    sets = [together(mail("a"), device("d"), minute=1), together(mail("b"), device("d"), minute=2)]
    await identity.resolve(workspace, sets)
    before = len(await identity.changes(workspace))
    await identity.resolve(workspace, sets)
    await identity.resolve(workspace, [together(mail("a"), device("d"), minute=8)])
    assert len(await identity.changes(workspace)) == before


async def test_changes_are_listed_by_profile_and_by_identifier(identity: Replica, workspace: str) -> None:
    """A profile's list names whom it gained and whom it lost; an identifier's list every profile that it had."""
    [a, b] = await identity.resolve(workspace, [together(mail("a")), together(mail("b"))])
    await identity.resolve(workspace, [together(mail("a"), mail("b"))])
    [kept] = {result.profile_id for result in await identity.lookup(workspace, [mail("a")])}
    left = ({a.profile_id, b.profile_id} - {kept}).pop()
    gone = await identity.list_changes(workspace, left)
    assert [(change.previous_profile_id, change.profile_id) for change in gone.changes] == [("", left), (left, kept)]
    moved = mail("b") if kept == a.profile_id else mail("a")
    of_identifier = await identity.list_changes(workspace, moved)
    assert list(of_identifier.changes) == list(gone.changes)
    assert len((await identity.list_changes(workspace, kept)).changes) == 2


async def test_long_lists_come_in_pages(identity: Replica, workspace: str) -> None:
    """Pages walk through the list, the oldest change first, without gap or repetition."""
    [answer] = await identity.resolve(workspace, [together(mail("a"), *(cookie(f"c{i}") for i in range(9)))])
    whole = await identity.list_changes(workspace, answer.profile_id)
    walked: list[pb.ProfileChange] = []
    token = ""
    for _ in range(4):
        page = await identity.list_changes(workspace, answer.profile_id, page_size=3, page_token=token)
        walked += page.changes
        token = page.next_page_token
    assert walked == list(whole.changes)
    assert (len(walked), token, whole.next_page_token) == (10, "", "")


@pytest.mark.parametrize("position", [[], ["x"], [1, 2], ["a", {}, None], [1, 2, -1], [1, 1 << 64, 3]])
async def test_a_place_in_no_list_is_no_token(identity: Replica, workspace: str, position: list[object]) -> None:
    """A token that was not given is the caller's mistake, whatever it says."""
    [answer] = await identity.resolve(workspace, [together(mail("a"))])
    token = next_page_token(position, pb.ListProfileChangesRequest(profile_id=answer.profile_id))
    with pytest.raises(PageTokenError):
        await identity.list_changes(workspace, answer.profile_id, page_token=token)


async def test_a_page_token_is_good_for_its_list_only(identity: Replica, workspace: str) -> None:
    """A token of one profile does not open the list of another."""
    [a, b] = await identity.resolve(workspace, [together(mail("a"), cookie("a")), together(mail("b"), cookie("b"))])
    page = await identity.list_changes(workspace, a.profile_id, page_size=1)
    with pytest.raises(PageTokenError):
        await identity.list_changes(workspace, b.profile_id, page_token=page.next_page_token)


async def test_a_transaction_does_not_tell_its_changes_before_what_they_build_upon(
    identity: Replica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """Who began earlier, but got the identifiers later, is told to begin again: else readers would end wrong."""
    database = open_database("identity")
    [answer] = await identity.resolve(workspace, [together(mail("a"))])
    key = answer.keys[0]
    async with database.transaction() as connection:
        assert (await graph.lock_identifiers(connection, workspace, [key]))[1] is False
    async with database.transaction() as connection:
        await execute(connection, "SELECT pg_current_xact_id()")
        await identity.resolve(workspace, [together(mail("a"), mail("b")), together(mail("b"), user("u"))])
        keys = [
            identifier.identifier.key for identifier in (await identity.lookup(workspace, [mail("a")]))[0].identifiers
        ]
        assert (await graph.lock_identifiers(connection, workspace, keys))[1] is True
        await execute(connection, "UPDATE identifiers SET changed_epoch = 0 WHERE workspace = %s", (workspace,))
        assert (await graph.lock_identifiers(connection, workspace, keys))[1] is False
        await connection.rollback()


# Large and bad input.


async def test_large_neighbourhoods_are_answered_as_pending(start_replica: StartReplica, workspace: str) -> None:
    """What is too large for a call is answered at once, said to be pending, and right a moment later."""
    identity = await start_replica(neighbourhood_limit=3, settle_seconds=0.01)
    await identity.resolve(workspace, [together(mail("a"), *(cookie(f"c{i}") for i in range(5)))])
    sets = [together(mail("a"), user("late"))]
    [answer] = await identity.resolve(workspace, sets)
    assert answer.pending
    async with asyncio.timeout(30):
        pending = True
        while pending:
            [answer] = await identity.resolve(workspace, sets)
            pending = answer.pending
    states = await identity.states(workspace, [mail("a"), user("late"), cookie("c4")])
    assert len(set(states.values())) == 1


async def one_profile(identity: Replica, workspace: str, *named: Named) -> None:
    """Wait until all of these are one profile."""
    async with asyncio.timeout(60):
        while len(set((await identity.states(workspace, named)).values())) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_keeps_growing_is_grouped_as_far_as_it_was_read(
    start_replica: StartReplica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New evidence between the reading and the locking does not make the background begin anew for ever."""
    caller = await start_replica(neighbourhood_limit=3, settle_seconds=3_600)
    await caller.resolve(workspace, [together(mail("a"), *(cookie(f"c{i}") for i in range(5)))])
    await caller.resolve(workspace, [together(mail("a"), user("late"))])
    lock, grown = graph.lock_identifiers, itertools.count()

    async def grow_and_lock(connection: Driver, *arguments: Any) -> Any:
        if len(arguments[1]) > 3:  # more than calls load: it is the background
            monkeypatch.setattr(graph, "lock_identifiers", lock)
            await caller.resolve(workspace, [together(mail("a"), cookie(f"new{next(grown)}"))])
            monkeypatch.setattr(graph, "lock_identifiers", grow_and_lock)
        return await lock(connection, *arguments)

    monkeypatch.setattr(graph, "lock_identifiers", grow_and_lock)
    await start_replica(neighbourhood_limit=3, settle_seconds=0.01)
    await one_profile(caller, workspace, mail("a"), user("late"))
    assert next(grown) > 0
    monkeypatch.setattr(graph, "lock_identifiers", lock)
    await one_profile(caller, workspace, mail("a"), cookie("new0"))


async def test_what_takes_long_to_group_is_grouped_all_the_same(
    start_replica: StartReplica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits that the transactions of calls have do not hold in the background."""
    plan = Grouping.plan

    async def plan_slowly(self: Grouping, transaction: Transaction, batch: Batch, situation: Situation) -> Plan:
        await asyncio.sleep(0 if batch.identifiers else 1)
        return await plan(self, transaction, batch, situation)

    monkeypatch.setattr(Grouping, "plan", plan_slowly)
    identity = await start_replica(
        neighbourhood_limit=3, settle_seconds=0.01, database_idle_transaction_seconds=0.5, database_statement_seconds=5
    )
    await identity.resolve(workspace, [together(mail("a"), *(cookie(f"c{i}") for i in range(5)))])
    sets = [together(mail("a"), user("late"))]
    async with asyncio.timeout(60):
        while (await identity.resolve(workspace, sets))[0].pending:  # noqa: ASYNC110  # the background gets there
            await asyncio.sleep(0.05)
    states = await identity.states(workspace, [mail("a"), user("late")])
    assert len(set(states.values())) == 1


async def test_many_large_sets_are_taken_in_one_call(identity: Replica, workspace: str) -> None:
    """Fifty identifiers a set, more pairs than one transaction takes: still one answer for each."""
    chain = [together(*(cookie(f"c{i}") for i in range(n * 10, n * 10 + 50))) for n in range(40)]
    answers = await identity.resolve(workspace, chain)
    [again] = {answer.profile_id for answer in await identity.resolve(workspace, chain)}
    assert len(answers) == 40
    assert answers[-1].profile_id == again


async def test_an_identifier_named_twice_counts_once(identity: Replica, workspace: str) -> None:
    """Also in two spellings."""
    [answer] = await identity.resolve(workspace, [together(mail("a"), mail("A"), mail("a"))])
    assert len(answer.keys) == 1


async def test_a_message_id_that_cannot_be_stored_does_not_refuse_the_evidence(
    identity: Replica, workspace: str
) -> None:
    """The trace suffers, the evidence counts."""
    seen = Sighted([mail("a"), mail("b")], message_id="a\0b")
    [answer] = await identity.resolve(workspace, [seen])
    assert len((await identity.lookup(workspace, [answer.profile_id]))[0].identifiers) == 2


async def test_all_that_is_wrong_with_sets_is_said_at_once(identity: Replica, workspace: str) -> None:
    """Every bad field is named by its path, and no value is repeated."""
    good = identifier_set(together(mail("ada")))
    request = pb.ResolveRequest(
        sets=[
            good,
            pb.IdentifierSet(source="shop\n", default_region="DEU"),
            pb.IdentifierSet(
                identifiers=[
                    Identifier(kind="email", value="secret-value"),
                    Identifier(kind="wrong", value="secret-value"),
                    Identifier(kind="email", value="ada@example.com", key=bytes(16)),
                    Identifier(kind="email", key=bytes(16)),
                    Identifier(kind="user_id", value="secret\x00value"),
                    Identifier(kind="user_id", value="v" * 513),
                ],
                observed_at=good.observed_at,
            ),
            pb.IdentifierSet(
                identifiers=[identifier(user(str(n))) for n in range(51)],
                source="s" * 201,
                observed_at=good.observed_at,
            ),
        ]
    )
    request.sets[3].observed_at.seconds = int(time.time()) + 3 * 86_400
    with pytest.raises(InvalidFieldsError) as refused:
        await identity.client.call(identity.stub.Resolve, request, workspace=workspace)
    assert [violation.field for violation in refused.value.violations] == [
        "sets[1].identifiers", "sets[1].source", "sets[1].default_region", "sets[1].observed_at",
        "sets[2].source", "sets[2].identifiers[0].value", "sets[2].identifiers[1].kind",
        "sets[2].identifiers[2].key", "sets[2].identifiers[3].key", "sets[2].identifiers[4].value",
        "sets[2].identifiers[5].value",
        "sets[3].identifiers", "sets[3].source", "sets[3].observed_at",
    ]  # fmt: skip
    assert "secret" not in str(refused.value)
    assert await identity.changes(workspace) == []


async def test_beside_a_wrong_region_only_what_does_not_hang_on_it_is_named(identity: Replica, workspace: str) -> None:
    """A number may well be right in the region that was meant."""
    given = identifier_set(together(mail("ada")))
    given.default_region = "UK"
    given.identifiers.extend([Identifier(kind="phone", value="020 7946 0958"), Identifier(kind="wrong", value="x")])
    with pytest.raises(InvalidFieldsError) as refused:
        await identity.client.call(identity.stub.Resolve, pb.ResolveRequest(sets=[given]), workspace=workspace)
    assert [(violation.field, violation.description) for violation in refused.value.violations] == [
        ("sets[0].default_region", "expected a region of ISO 3166 that has phone numbers, such as GB or SA"),
        ("sets[0].identifiers[2].kind", f"expected a known kind of identifier: {', '.join(sorted(BUILT_IN_KINDS))}"),
    ]


@pytest.mark.parametrize("count", [0, 10_001])
async def test_a_call_has_at_least_one_set_and_at_most_ten_thousand(
    identity: Replica, workspace: str, count: int
) -> None:
    """Other numbers are refused as a whole."""
    with pytest.raises(InvalidFieldsError, match="sets"):
        await identity.resolve(workspace, [together(mail("a"))] * count)


async def test_a_call_has_not_too_many_identifiers(identity: Replica, workspace: str) -> None:
    """Beyond a bound on all sets together the call is refused as a whole, before anything is read."""
    sets = [together(*(cookie(f"c{n}") for n in range(45)))] * 5_000
    with pytest.raises(InvalidFieldsError, match="at most 200000 identifiers together"):
        await identity.resolve(workspace, sets)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (pb.LookupKey(), "keys[1]"),
        (pb.LookupKey(profile_id="short"), "keys[1].profile_id"),
        (pb.LookupKey(identifier=Identifier(kind="email", value="x")), "keys[1].identifier.value"),
        (pb.LookupKey(identifier=Identifier(kind="e", value="x")), "keys[1].identifier.kind"),
        (pb.LookupKey(identifier=Identifier(kind="user_id", value="x"), default_region="1"), "keys[1].default_region"),
        (pb.LookupKey(identifier=Identifier(kind="phone", value="1"), default_region="UK"), "keys[1].default_region"),
    ],
)
async def test_what_cannot_be_looked_up_is_named(
    identity: Replica, workspace: str, key: pb.LookupKey, field: str
) -> None:
    """A bad key refuses the call, with its path."""
    good = pb.LookupKey(profile_id="0" * 32)
    with pytest.raises(InvalidFieldsError) as refused:
        await identity.client.call(identity.stub.Lookup, pb.LookupRequest(keys=[good, key]), workspace=workspace)
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_lookup_has_at_least_one_key_and_at_most_a_thousand(
    identity: Replica, workspace: str, count: int
) -> None:
    """Other numbers are refused."""
    with pytest.raises(InvalidFieldsError, match="keys"):
        await identity.lookup(workspace, [mail("a")] * count)


async def test_an_answer_that_would_be_too_large_is_refused(identity: Replica, workspace: str) -> None:
    """Many keys of one large profile do not make the service answer without bound."""
    await identity.resolve(
        workspace, [together(mail("a"), *(cookie(f"c{n}-{i}") for i in range(49))) for n in range(3)]
    )
    assert len((await identity.lookup(workspace, [mail("a")]))[0].identifiers) == 148
    with pytest.raises(InvalidFieldsError, match="keys"):
        await identity.lookup(workspace, [mail("a")] * 1_000)


async def test_of_an_answer_that_would_be_too_large_no_more_is_read_than_shows_it(
    identity: Replica, open_database: Callable[[str], Database], workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the service nor its database hold all of it before it is refused."""
    monkeypatch.setattr(lookups, "MOST_MEMBERS", 20)
    [answer] = await identity.resolve(workspace, [together(*(cookie(f"c{i}") for i in range(50)))])
    async with open_database("identity").statement() as connection:
        found = await lookups.lookup(connection, workspace, [Wanted(answer.keys[0], None)])
    assert len(found[0].members) == 21
    with pytest.raises(InvalidFieldsError, match="at most 20 identifiers"):
        await identity.lookup(workspace, [answer.profile_id])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListProfileChangesRequest(), "identifier"),
        (pb.ListProfileChangesRequest(profile_id="x"), "profile_id"),
        (pb.ListProfileChangesRequest(profile_id="0" * 32, page_size=-1), "page_size"),
        (pb.ListProfileChangesRequest(identifier=Identifier(kind="email", value="x")), "identifier.value"),
    ],
)
async def test_what_cannot_be_listed_is_named(
    identity: Replica, workspace: str, request_: pb.ListProfileChangesRequest, field: str
) -> None:
    """A list says what is wrong with its request."""
    with pytest.raises(InvalidFieldsError) as refused:
        await identity.client.call(identity.stub.ListProfileChanges, request_, workspace=workspace)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_cursor_that_no_feed_gave_out_is_refused(identity: Replica, workspace: str) -> None:
    """It is a bad field, not a surprise."""
    with pytest.raises(InvalidFieldsError, match="cursor"):
        await identity.changes(workspace, "nonsense")
