"""Identifiers are erased with all that was seen of them, and what comes late is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.store import decisions, erasures, graph, hubs
from sima_runtime.database import Database, fetch
from sima_runtime.errors import AlreadyExistsError, InvalidFieldsError, NotFoundError

from .conftest import Named, Replica, StartReplica, cookie, device, identifier, mail, together, user
from .test_hubs import until_counted
from .test_laws import OpenDatabase

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


ADA, EVE = mail("ada"), mail("eve")


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
