"""Identifiers are erased with all that was seen of them, and what comes late is refused."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.store import decisions, erasures, graph, hubs
from sima_runtime.database import Database, execute, fetch
from sima_runtime.errors import AlreadyExistsError, ContradictionError, InvalidFieldsError, NotFoundError
from sima_sdk.identifiers import identifier_key

from .conftest import (
    Named,
    OpenDatabase,
    Replica,
    Secret,
    StartReplica,
    State,
    cookie,
    deciding,
    device,
    identifier,
    mail,
    together,
    user,
)
from .laws import LAW, Fixture, until_settled
from .test_hubs import until_counted

CARD = Named("loyalty_card", "4711")


def now(*named: Named) -> pb.IdentifierSet:
    """What a message shows now."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC))
    return pb.IdentifierSet(identifiers=map(identifier, named), observed_at=at, source="shop")


_TABLES = """SELECT table_name FROM information_schema.columns
    WHERE table_schema = current_schema() AND column_name = 'workspace'"""


async def everything(database: Database, workspace: str) -> str:
    """All that is stored of a workspace, as text."""
    async with database.statement() as connection:
        tables = [name for (name,) in await fetch(connection, _TABLES, {})]
        rows = [await fetch(connection, f"SELECT * FROM {name} WHERE workspace = %s", (workspace,)) for name in tables]
    return repr(rows)


async def test_nothing_of_the_values_remains(identity: Replica, open_database: OpenDatabase, workspace: str) -> None:
    """Neither value nor message ids; a keyed tombstone, and one change in the log that names a key and a kind."""
    company = Named("domain", "acme.example.com")
    sightings = [together(mail("ada"), CARD), together(mail("ada"), company)]
    await identity.resolve(workspace, [each._replace(message_id="order 17 of ada") for each in sightings])
    done = await identity.erase(workspace, [mail("ada")])
    assert done.identifiers_erased == 1
    left = await everything(open_database("identity"), workspace)
    assert "ada" not in left
    assert "4711" in left
    erased = [change for change in await identity.changes(workspace) if change.cause == pb.CHANGE_CAUSE_ERASURE]
    assert [(change.identifier.kind, change.identifier.value, change.profile_id) for change in erased] == [
        ("email", "", "")
    ]


async def test_the_rest_is_grouped_anew(identity: Replica, workspace: str) -> None:
    """Two people whom only the erased identifier joined are two again; the answer says who moved."""
    await identity.resolve(workspace, [together(user("ada"), mail("both")), together(user("eve"), mail("both"))])
    done = await identity.erase(workspace, [mail("both")])
    states = await identity.states(workspace, [user("ada"), user("eve"), mail("both")])
    assert mail("both") not in states
    assert states[user("ada")].profile_id != states[user("eve")].profile_id
    assert len(done.changes) == 1


async def test_a_whole_profile_is_erased(identity: Replica, workspace: str) -> None:
    """By its id: all identifiers that it has."""
    await identity.resolve(workspace, [together(user("ada"), mail("ada"), CARD)])
    [found] = await identity.lookup(workspace, [CARD])
    assert (await identity.erase(workspace, profile_id=found.profile_id)).identifiers_erased == 3
    assert not any(result.identifiers for result in await identity.lookup(workspace, [found.profile_id, mail("ada")]))


async def test_a_former_profile_id_leads_to_who_it_is_now(identity: Replica, workspace: str) -> None:
    """All of the profile that it was merged into is erased; an id that never was is told as such."""
    first, second = await identity.resolve(workspace, [together(mail("ada")), together(user("u1"))])
    [merged] = await identity.resolve(workspace, [together(mail("ada"), user("u1"), minute=1)])
    [former] = {first.profile_id, second.profile_id} - {merged.profile_id}
    assert (await identity.erase(workspace, profile_id=former)).identifiers_erased == 2
    assert not any(result.identifiers for result in await identity.lookup(workspace, [mail("ada"), user("u1")]))
    with pytest.raises(NotFoundError):
        await identity.erase(workspace, profile_id="0" * 32)


async def test_who_was_kept_apart_need_not_be_looked_at(identity: Replica, workspace: str) -> None:
    """Nothing changes for somebody of whom it was only decided that the erased is somebody else."""
    await identity.resolve(workspace, [together(mail("ada")), together(mail("eve"))])
    await identity.never(workspace, mail("ada"), mail("eve"))
    assert not (await identity.erase(workspace, [mail("ada")])).pending


async def test_a_request_id_stands_for_one_erasure(identity: Replica, workspace: str) -> None:
    """The same again answers the same; another with that id is refused, and nothing of it is erased."""
    await identity.resolve(workspace, [together(mail("ada")), together(mail("eve"))])
    done = await identity.erase(workspace, [mail("ada")], request_id="r1")
    assert (await identity.erase(workspace, [mail("ada")], request_id="r1")) == done
    with pytest.raises(AlreadyExistsError):
        await identity.erase(workspace, [mail("eve")], request_id="r1")
    assert (await identity.lookup(workspace, [mail("eve")]))[0].identifiers


async def test_a_policy_forgets_the_value_that_it_blocks(
    identity: Replica, open_database: OpenDatabase, workspace: str
) -> None:
    """In all versions; the key is left, and it stays blocked. Saying the same again says nothing new."""
    rules = pb.IdentityPolicy(blocked_values=[identifier(mail("ada")), identifier(mail("eve"))])
    await identity.set_policy(workspace, rules, request_id="p1")
    await identity.resolve(workspace, [together(mail("ada"))])
    await identity.erase(workspace, [mail("ada")])
    assert "ada@" not in await everything(open_database("identity"), workspace)
    told = list((await identity.policy(workspace, 1)).policy.blocked_values)
    assert sorted(one.value for one in told) == ["", "eve@mail.example.com"]
    assert (await identity.set_policy(workspace, rules, request_id="p1")).version == 1
    once = pb.SetIdentityPolicyRequest(policy=rules, deciding=deciding(), unless_in_force=True)
    again = await identity.client.call(identity.stub.SetIdentityPolicy, once, workspace=workspace)
    assert again.policy.version == 1
    as_told = (await identity.policy(workspace)).policy
    assert (await identity.set_policy(workspace, as_told)).policy.blocked_values == told
    late = pb.ResolveRequest(sets=[now(mail("ada"))])
    await identity.client.call(identity.stub.Resolve, late, workspace=workspace)
    assert (await identity.lookup(workspace, [mail("ada")]))[0].identifiers[0].blocked


async def test_what_an_erasure_notes_is_no_policy(identity: Replica, workspace: str) -> None:
    """Where nothing was ever said about the rules, version 0 has no author and no times."""
    phone = Named("phone", "+4930901820")
    await identity.resolve(workspace, [together(phone, mail(str(number))) for number in range(25)])
    await identity.erase(workspace, [mail("1")])
    told = await identity.policy(workspace)
    assert (told.version, told.HasField("set_at"), told.HasField("applied_at")) == (0, False, False)


async def test_a_hub_that_is_none_any_more_joins_again(identity: Replica, workspace: str) -> None:
    """What was shared only because of the erased belongs to somebody again."""
    phone = Named("phone", "+966551000001")
    people = [mail(str(number)) for number in range(21)]
    await identity.resolve(workspace, [together(one, phone) for one in people])
    assert (await identity.states(workspace, [phone]))[phone].shared
    await identity.erase(workspace, people[:1])
    async with asyncio.timeout(30):
        while (await identity.states(workspace, [phone]))[phone].shared:  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.05)
    states = await identity.states(workspace, [phone, *people[1:]])
    assert len(set(states.values())) == 1
    assert (await identity.list_changes(workspace, phone)).changes[-1].cause == pb.CHANGE_CAUSE_OTHERS_ERASED


async def test_of_what_was_seen_with_a_hub_only_hubs_are_read_when_it_is_erased(
    identity: Replica, open_database: OpenDatabase, workspace: str
) -> None:
    """For the others, perhaps millions, nothing changes; for another hub it does, and for who is seen with a person."""
    phones = [Named("phone", f"+96655100000{number}") for number in (1, 2)]
    people = [mail(str(number)) for number in range(21)]
    await identity.resolve(workspace, [together(one, *phones) for one in people])
    async with open_database("identity").statement() as connection:
        found = await fetch(connection, "SELECT key, hub FROM identifiers WHERE workspace = %s", (workspace,))
        rows = await graph.read_identifiers(connection, workspace, [key for key, _ in found])
        one, other = (row for row in rows if row.hub)
        assert await erasures.touched(connection, workspace, [one]) == {other.key: True}
        person = next(row for row in rows if not row.hub)
        assert await erasures.touched(connection, workspace, [person]) == {one.key: True, other.key: True}


async def test_what_comes_late_is_refused_and_what_is_new_is_not(identity: Replica, workspace: str) -> None:
    """A message from before the erasure leaves no trace of the erased, as often as it comes; one from after does."""
    old = together(mail("ada"), CARD)
    await identity.resolve(workspace, [old])
    await identity.erase(workspace, [mail("ada")])
    [late, other] = await identity.resolve(workspace, [old, together(CARD)])
    assert late.erased
    assert not other.erased
    assert late.keys == other.keys
    assert not (await identity.lookup(workspace, [mail("ada")]))[0].identifiers
    request = pb.ResolveRequest(sets=[now(mail("ada"), CARD)])
    response = await identity.client.call(identity.stub.Resolve, request, workspace=workspace)
    assert not response.results[0].erased
    assert len(set((await identity.states(workspace, [mail("ada"), CARD])).values())) == 1


async def test_who_was_never_seen_can_be_erased(identity: Replica, workspace: str) -> None:
    """So that what a channel still holds back of them is refused when it comes."""
    assert (await identity.erase(workspace, [cookie("c")])).identifiers_erased == 0
    [late] = await identity.resolve(workspace, [together(cookie("c"))])
    assert late.erased
    assert not late.keys


async def test_a_call_that_comes_again_erases_nothing_more(identity: Replica, workspace: str) -> None:
    """Whoever came back in between stays."""
    await identity.resolve(workspace, [together(mail("ada"), CARD)])
    first = await identity.erase(workspace, [mail("ada")], request_id="r1")
    request = pb.ResolveRequest(sets=[now(mail("ada"))])
    await identity.client.call(identity.stub.Resolve, request, workspace=workspace)
    again = await identity.erase(workspace, [mail("ada")], request_id="r1")
    assert (again.erased_at, again.identifiers_erased) == (first.erased_at, 1)
    assert (await identity.lookup(workspace, [mail("ada")]))[0].identifiers


async def test_who_had_whom_erased_is_told_without_whom(identity: Replica, workspace: str) -> None:
    """When, by whom, why, in which call, and how many were known; a call that comes again is no second erasure."""
    await identity.resolve(workspace, [together(mail("ada"), CARD)])
    by = {"actor": "dpo", "reason": "case 17", "request_id": "r1"}
    done = [await identity.erase(workspace, [mail("ada"), CARD, cookie("c")], **by) for _ in range(2)]
    [told] = await identity.erasures(workspace)
    assert told == pb.Erasure(erased_at=done[0].erased_at, identifiers_erased=2, **by)
    assert await identity.erasures(f"{workspace}-2") == []


@pytest.mark.parametrize("at_once", [False, True])
async def test_pages_give_each_erasure_once_and_the_newest_first(
    identity: Replica, open_database: OpenDatabase, workspace: str, at_once: bool
) -> None:
    """However long a page is, and also of those that have the same time."""
    made = [f"r{number}" for number in range(7)]
    for request_id in made:
        await identity.erase(workspace, [cookie("c")], request_id=request_id)
    if at_once:
        async with open_database("identity").statement() as connection:
            await execute(connection, "UPDATE erasures SET erased_at = now() WHERE workspace = %s", (workspace,))
    whole = await identity.erasures(workspace)
    found = [one.request_id for one in whole]
    assert sorted(found) == made
    assert at_once or found == made[::-1]
    for size in range(1, 9):
        assert await identity.erasures(workspace, size) == whole


ADA, EVE = mail("ada"), mail("eve")
TABLET, JUNK = device("t"), mail("info")


class Told:
    """What a reader of the feed holds, who comes from time to time and goes on where it was."""

    def __init__(self, identity: Replica, workspace: str, *, standings_only: bool = False) -> None:
        self.states: dict[bytes, State] = {}
        self._identity, self._workspace = identity, workspace
        self._request = pb.WatchProfileChangesRequest(until_now=True, standings_only=standings_only)

    async def read(self) -> None:
        """Take in what there is by now."""
        client, watch = self._identity.client, self._identity.stub.WatchProfileChanges
        async for page in client.stream(watch, self._request, workspace=self._workspace, deadline=60):
            for change in page.changes:
                self.states[change.identifier.key] = State(change.profile_id, change.shared, change.blocked)
            self._request.cursor = page.cursor

    def standings(self) -> dict[bytes, tuple[bool, bool]]:
        """Which identifiers are shared or blocked."""
        return {key: state[1:] for key, state in self.states.items() if any(state[1:])}


async def seen_now(identity: Replica, workspace: str, *named: Named) -> None:
    """Have a message resolved that shows identifiers now."""
    request = pb.ResolveRequest(sets=[now(*named)])
    await identity.client.call(identity.stub.Resolve, request, workspace=workspace)


async def test_a_reader_of_standings_hears_of_one_that_ended_before_it_was_erased(
    identity: Replica, workspace: str
) -> None:
    """Shared when it last read, then somebody's, then erased: when it comes back it is shared for no reader."""
    await identity.resolve(workspace, [together(ADA, TABLET), together(EVE, TABLET)])
    reader = Told(identity, workspace, standings_only=True)
    await reader.read()
    assert list(reader.standings().values()) == [(True, False)]
    await identity.always(workspace, ADA, EVE)
    await identity.erase(workspace, [TABLET])
    await seen_now(identity, workspace, TABLET)
    await reader.read()
    assert reader.standings() == {}


async def test_an_erased_identifier_keeps_its_standing_until_it_comes_back(identity: Replica, workspace: str) -> None:
    """So nobody loses a fact to it; whoever comes back is plain, and every reader hears that."""
    await identity.resolve(workspace, [together(ADA, TABLET), together(EVE, TABLET), together(JUNK)])
    reader = Told(identity, workspace, standings_only=True)
    await identity.erase(workspace, [TABLET, JUNK])
    await reader.read()
    assert sorted(reader.standings().values()) == [(False, True), (True, False)]
    await seen_now(identity, workspace, TABLET)
    await seen_now(identity, workspace, JUNK)
    await reader.read()
    assert list(reader.standings().values()) == [(False, True)]


@pytest.mark.parametrize("tomorrow", [False, True])
async def test_who_comes_back_amidst_the_erasure_is_told_of(  # noqa: PLR0917  # mostly fixtures
    start_replica: StartReplica,
    open_database: OpenDatabase,
    secret: Secret,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
    tomorrow: bool,
) -> None:
    """A call that began before the erasure, and is dated behind it, may record somebody again: no reader misses it."""
    identity, other = [await start_replica(settle_seconds=0.01) for _ in range(2)]

    async def shared_and_erased() -> None:
        await other.resolve(workspace, [together(ADA, TABLET), together(EVE, TABLET)])
        await other.erase(workspace, [TABLET])

    erasing_before(monkeypatch, graph, "insert_identifiers", shared_and_erased)
    late = now(TABLET)
    late.observed_at.seconds += 86_400 * tomorrow
    await identity.client.call(identity.stub.Resolve, pb.ResolveRequest(sets=[late]), workspace=workspace)
    await until_settled(open_database("identity"), workspace)
    readers = [Told(identity, workspace, standings_only=only) for only in (False, True)]
    for reader in readers:
        await reader.read()
    states = await identity.states(workspace, [TABLET])
    profiles = [state.profile_id for state in states.values()]
    assert len(profiles) == tomorrow
    assert [reader.standings() for reader in readers] == [{}, {}]
    key = identifier_key(secret(workspace), *TABLET)
    assert [reader.states[key].profile_id for reader in readers] == 2 * (profiles or [""])


# What may happen, in any order: a message, a decision, an erasure; who reads meanwhile goes on where it was.
PLAYERS = [ADA, EVE, user("u"), TABLET, cookie("c"), JUNK, CARD]
SOME = st.lists(st.sampled_from(PLAYERS), min_size=1, max_size=3, unique=True)
TWO = st.lists(st.sampled_from([each for each in PLAYERS if each != JUNK]), min_size=2, max_size=2, unique=True)
DEEDS: st.SearchStrategy[tuple[str, list[Named]]] = st.one_of(
    st.tuples(st.just("seen"), SOME),
    st.tuples(st.sampled_from(["always", "never"]), TWO),
    st.tuples(st.just("erase"), SOME),
    st.tuples(st.just("read"), st.just([])),
    st.sampled_from([("always", [ADA, EVE]), ("erase", [TABLET])]),  # what is shared, and then is not, and then is gone
)
BEGINNING = [[("seen", [ADA, TABLET])], [("seen", [EVE, TABLET])], [("read", list[Named]())]]


async def do(identity: Replica, workspace: str, deed: tuple[str, list[Named]], readers: Sequence[Told]) -> None:
    """Do one of the deeds, unless there is a reason not to."""
    what, named = deed
    with suppress(ContradictionError, InvalidFieldsError, NotFoundError):
        match what:
            case "seen":
                await seen_now(identity, workspace, *named)
            case "read":
                await asyncio.gather(*(reader.read() for reader in readers))
            case "erase":
                await identity.erase(workspace, named)
            case _:
                await getattr(identity, what)(workspace, *named)


@LAW
@given(steps=st.lists(st.lists(DEEDS, min_size=1, max_size=3), min_size=3, max_size=10))
async def test_a_reader_ends_with_what_is_stored_wherever_it_was(
    tight: Fixture,  # the fixture
    steps: list[list[tuple[str, list[Named]]]],
) -> None:
    """Across erasures, of all changes or of standings alone: the same as who reads from the beginning, and `Lookup`."""
    workspace, identity = f"w{uuid4().hex}", tight.replicas[0]
    readers = [Told(identity, workspace), Told(identity, workspace, standings_only=True)]
    for deeds in [*BEGINNING, *steps, [("seen", [each]) for each in (TABLET, JUNK)]]:
        await asyncio.gather(*(do(identity, workspace, deed, readers) for deed in deeds))
    await until_settled(tight.database, workspace)
    fresh = [Told(identity, workspace), Told(identity, workspace, standings_only=True)]
    for reader in (*readers, *fresh):
        await reader.read()
    assert readers[0].states == fresh[0].states
    assert readers[0].standings() == readers[1].standings() == fresh[1].standings()
    key = partial(identifier_key, tight.secret(workspace))
    stored = {key(*named): state for named, state in (await identity.states(workspace, PLAYERS)).items()}
    assert {each: held for each, held in readers[0].states.items() if each in stored} == stored
    assert {held.profile_id for each, held in readers[0].states.items() if each not in stored} <= {""}


def erasing_before(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, erase: Callable[[], Awaitable[object]]
) -> None:
    """Have something erased just before a query, once."""
    query = getattr(module, name)

    async def erased_before(*arguments: Any) -> Any:
        monkeypatch.setattr(module, name, query)
        await erase()
        return await query(*arguments)

    monkeypatch.setattr(module, name, erased_before)


@pytest.mark.parametrize("rpc", ["never", "always", "split", "withdraw", "decisions", "graph"])
async def test_who_is_erased_while_a_call_answers_is_left_out(
    identity: Replica, workspace: str, monkeypatch: pytest.MonkeyPatch, rpc: str
) -> None:
    """What was decided is answered without them."""
    await identity.resolve(workspace, [together(ADA, cookie("c")), together(EVE)])
    made = await identity.never(workspace, EVE, cookie("c"))
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "never": lambda: identity.never(workspace, ADA, EVE),
        "always": lambda: identity.always(workspace, ADA, EVE),
        "split": lambda: identity.split(workspace, [cookie("c")], [ADA]),
        "withdraw": lambda: identity.withdraw(workspace, made.decision.id),
        "decisions": lambda: identity.decisions(workspace, EVE),
        "graph": lambda: identity.graph(workspace, cookie("c")),
    }
    erased = [ADA] if rpc in {"never", "always", "split"} else [EVE]
    erasing_before(monkeypatch, decisions, "values", lambda: identity.erase(workspace, erased))
    answer = str(await calls[rpc]())
    assert answer
    assert erased[0].value not in answer


async def test_a_way_is_explained_as_it_is_when_somebody_on_it_was_erased(
    identity: Replica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is that of after the erasure, not half a way."""
    await identity.resolve(workspace, [together(ADA, user("u")), together(user("u"), EVE)])
    erasing_before(monkeypatch, decisions, "values", lambda: identity.erase(workspace, [user("u")]))
    explained = await identity.explain(workspace, ADA, EVE)
    assert (explained.linked, len(explained.chain)) == (False, 0)
    await identity.erase(workspace, [ADA])
    with pytest.raises(NotFoundError):
        await identity.explain(workspace, ADA, EVE)


async def test_a_decision_that_is_sent_again_is_the_same_when_somebody_was_erased(
    identity: Replica, workspace: str
) -> None:
    """A retry hears that it was made, with what is left of it; something else under its id is refused as always."""
    await identity.resolve(workspace, [together(ADA, user("u")), together(EVE)])
    both = [ADA, user("u")]
    made = (await identity.split(workspace, both, [EVE], request_id="r1")).decision
    await identity.erase(workspace, [ADA])
    again = (await identity.split(workspace, both, [EVE], request_id="r1")).decision
    assert (again.id, [one.value for one in again.identifiers]) == (made.id, ["u"])
    with pytest.raises(AlreadyExistsError):
        await identity.split(workspace, [ADA], [EVE], request_id="r1")
    await identity.erase(workspace, [EVE])
    again = (await identity.split(workspace, both, [EVE], request_id="r1")).decision
    assert (again.id, len(again.identifiers), len(again.others)) == (made.id, 0, 0)
    with pytest.raises(AlreadyExistsError):
        await identity.never(workspace, user("u"), EVE, request_id="r1")


async def test_who_is_erased_while_being_counted_leaves_no_count(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a degree nor that it grew: it is looked at once more."""
    identity, database = await start_replica(count_seconds=0.01, growth_per_identifier=1), open_database("identity")
    write, tablet = hubs.write, device("tablet")

    async def erase_and_write(*arguments: Any) -> None:
        if arguments[2]:  # it is counted
            monkeypatch.setattr(hubs, "write", write)
            await identity.erase(workspace, [tablet])
        await write(*arguments)

    monkeypatch.setattr(hubs, "write", erase_and_write)
    request = pb.ResolveRequest(sets=[now(tablet, user("1")), now(tablet, user("2"))])
    await identity.client.call(identity.stub.Resolve, request, workspace=workspace)
    async with asyncio.timeout(30):
        while hubs.write is not write:  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.01)
    await until_counted(database, workspace)
    async with database.statement() as connection:
        for table in ("degrees", "growth"):
            assert await fetch(connection, f"SELECT FROM {table} WHERE workspace = %s", (workspace,)) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.EraseIdentifiersRequest(), "identifiers"),
        (pb.EraseIdentifiersRequest(profile_id="4711"), "profile_id"),
        (pb.EraseIdentifiersRequest(identifiers=[identifier(Named("email", "nobody"))]), "identifiers[0].value"),
    ],
)
async def test_what_is_wrong_is_named(
    identity: Replica, workspace: str, request_: pb.EraseIdentifiersRequest, field: str
) -> None:
    """Every bad field is named, and nothing is erased."""
    request_.deciding.MergeFrom(pb.Deciding(actor="a", reason="b", request_id="c"))
    with pytest.raises(InvalidFieldsError) as raised:
        await identity.client.call(identity.stub.EraseIdentifiers, request_, workspace=workspace)
    assert [violation.field for violation in raised.value.violations] == [field]
