"""Facts come in: new, again, bad, or with another content."""

import asyncio
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from sima.profile.v1 import profile_service_pb2 as pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.type.v1.fact_pb2 import ConsentStatement, Event, Fact, TraitObservation
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value
from sima_identity.service import configured_policy
from sima_profile.facts import CheckedFact
from sima_profile.identity import Belonging, Identity
from sima_profile.validation import FactReader
from sima_runtime.database import execute
from sima_runtime.errors import InvalidFieldsError, NotFoundError
from sima_runtime.keys import Key

from .conftest import (
    Stack,
    at,
    by,
    email,
    identity_settings,
    identity_started,
    profile_settings,
    profile_started,
    replayed,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACCEPTED, DUPLICATE = pb.INGEST_OUTCOME_ACCEPTED, pb.INGEST_OUTCOME_DUPLICATE
REFUSED, CONFLICT = pb.INGEST_OUTCOME_REFUSED, pb.INGEST_OUTCOME_CONFLICT


def viewed(message_id: str, page: str = "/", name: str = "ada", seconds: float = 0) -> Fact:
    """A page view."""
    return Fact(
        source="web",
        message_id=message_id,
        identifiers=[email(name)],
        occurred_at=at(seconds),
        event=Event(name="page_viewed", properties=f'{{"page":"{page}"}}'.encode()),
        traits=[TraitObservation(trait="last_page", value=Value(text=page))],
    )


def outcomes(results: list[pb.IngestResult]) -> list["pb.IngestOutcome.ValueType"]:
    """Only what became of each fact."""
    return [result.outcome for result in results]


async def stored(stack: Stack) -> dict[str, int]:
    """How many rows a workspace has in each table of facts."""
    tables = ("facts", "observations", "consents")
    query = ", ".join(f"(SELECT count(*) FROM {table} WHERE workspace = %s)" for table in tables)
    return dict(zip(tables, (await stack.rows(f"SELECT {query}", *[stack.workspace] * 3))[0], strict=True))


async def test_a_fact_is_accepted_once_however_often_it_is_sent(stack: Stack) -> None:
    """Sending again, in another batch or twice in one, changes nothing and says so."""
    [first] = await stack.ingest(viewed("m1"))
    again = await stack.ingest(viewed("m2"), viewed("m1"), viewed("m2"))
    assert (first.outcome, outcomes(again)) == (ACCEPTED, [ACCEPTED, DUPLICATE, DUPLICATE])
    assert again[1].fact_id == first.fact_id
    assert again[1].profile_id == first.profile_id != ""
    assert await stored(stack) == {"facts": 2, "observations": 2, "consents": 0}


async def test_a_bad_fact_never_fails_its_batch(stack: Stack) -> None:
    """The others are accepted, each answer stands in its place, and the bad one hears everything that is wrong."""
    bad = Fact(source="web", identifiers=[email("ada"), Identifier(kind="email", value="?")], event=Event())
    results = await stack.ingest(viewed("m1"), bad, viewed("m2"))
    assert outcomes(results) == [ACCEPTED, REFUSED, ACCEPTED]
    assert {violation.field for violation in results[1].violations} == {"identifiers[1].value", "event.name"}
    assert not results[1].fact_id
    assert (await stored(stack))["facts"] == 2


async def test_a_batch_of_nothing_but_bad_facts_is_answered(stack: Stack) -> None:
    """Each is refused, and nothing is stored."""
    assert outcomes(await stack.ingest(Fact(), Fact())) == [REFUSED, REFUSED]
    assert (await stored(stack))["facts"] == 0


@pytest.mark.parametrize("count", [0, 10_001])
async def test_a_batch_has_one_to_ten_thousand_facts(stack: Stack, count: int) -> None:
    """Fewer or more are refused as a whole."""
    with pytest.raises(InvalidFieldsError, match="facts: expected 1 to 10000"):
        await stack.ingest(*[Fact()] * count)


async def test_a_batch_has_not_too_many_parts(stack: Stack) -> None:
    """Beyond a bound on all facts together the call is refused as a whole, however few facts there are."""
    wide = Fact(source="crm", identifiers=[email("ada")], consents=[ConsentStatement(purpose="x")] * 1_000)
    with pytest.raises(InvalidFieldsError, match="at most 200000 identifiers, traits and consents together"):
        await stack.ingest(*[wide] * 200)


async def test_a_large_batch_lets_other_calls_have_their_turn(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its facts are checked, others are answered."""
    order: list[str] = []
    check = FactReader.fact

    def slowly(reader: FactReader, message: Fact) -> CheckedFact:
        time.sleep(0.001)
        order.append("checked")
        return check(reader, message)

    async def ask() -> None:
        await asyncio.sleep(0.05)
        with suppress(NotFoundError):
            await stack.profile(by(email("nobody")))
        order.append("answered")

    monkeypatch.setattr(FactReader, "fact", slowly)
    facts = [Fact(source="web", message_id=f"m{n}", identifiers=[email("ada")]) for n in range(3_000)]
    await asyncio.gather(stack.ingest(*facts), ask())
    assert order[-1] == "checked"


async def test_a_fact_that_only_names_identifiers_is_evidence(stack: Stack) -> None:
    """It makes two identifiers one person, and is a duplicate the second time."""
    fact = Fact(source="web", message_id="m1", identifiers=[email("ada"), Identifier(kind="device_id", value="d1")])
    assert outcomes([*await stack.ingest(fact), *await stack.ingest(fact)]) == [ACCEPTED, DUPLICATE]
    profile = await stack.profile(by(Identifier(kind="device_id", value="d1")))
    assert [identifier.value for identifier in profile.identifiers] == ["ada@example.com", "d1"]


@pytest.mark.parametrize("order", [("/a", "/b", "/c"), ("/c", "/b", "/a"), ("/b", "/c", "/a")])
@pytest.mark.parametrize("together", [True, False])
async def test_of_two_contents_of_one_message_the_same_one_counts_in_any_order(
    stack: Stack, twin: Stack, order: tuple[str, ...], together: bool
) -> None:
    """Whichever came first; the others are kept as conflicts, and readers of the feed end with what is stored."""
    facts = [viewed("m1", page) for page in order]
    for page in ("/a", "/b", "/c"):
        await twin.ingest(viewed("m1", page))
    if together:
        results = await stack.ingest(*facts)
    else:
        results = [result for fact in facts for result in await stack.ingest(fact)]
    assert outcomes(results) == [ACCEPTED, CONFLICT, CONFLICT]
    here, there = await stack.events(by(email("ada"))), await twin.events(by(email("ada")))
    assert [event.event for event in here.events] == [event.event for event in there.events]
    assert (await stack.profile(by(email("ada")))).traits == (await twin.profile(by(email("ada")))).traits
    kept = "SELECT content, properties, traits FROM conflicts WHERE workspace = %s ORDER BY content"
    assert await stack.rows(kept, stack.workspace) == await twin.rows(kept, twin.workspace)
    assert len(await stack.rows(kept, stack.workspace)) == 2
    held = replayed(await stack.watch())
    assert [row["properties"] for row in held["events"].values()] == [here.events[0].event.properties]
    assert len(held["observations"]) == 1


async def test_a_reader_who_is_in_the_middle_hears_that_a_content_gave_way(stack: Stack) -> None:
    """What was delivered before is retracted, then the content that counts is delivered."""
    pages, cursor = [], ""
    for page in ("/a", "/b", "/c", "/d", "/e"):
        await stack.ingest(viewed("m1", page))
        pages += await stack.watch(cursor)
        cursor = pages[-1].cursor
    [event] = replayed(pages)["events"].values()
    assert event["properties"] == (await stack.events(by(email("ada")))).events[0].event.properties
    assert len(replayed(pages)["observations"]) == 1


async def test_a_losing_content_that_comes_again_is_still_one_conflict(stack: Stack) -> None:
    """Retries of the loser are reported as conflicts and kept once; retries of the winner are duplicates."""
    contents = [viewed("m1", "/a"), viewed("m1", "/b")]
    await stack.ingest(*contents)
    again = [*await stack.ingest(contents[0]), *await stack.ingest(contents[1])]
    assert sorted(outcomes(again)) == sorted([DUPLICATE, CONFLICT])
    assert len(await stack.rows("SELECT FROM conflicts WHERE workspace = %s", stack.workspace)) == 1


async def test_the_same_message_sent_at_once_is_stored_once(stack: Stack) -> None:
    """Concurrent batches with the same messages in other orders neither fail nor wait for each other for ever."""
    facts = [viewed(f"m{i}", "/") for i in range(50)]
    batches = [facts, facts[::-1], facts[10:] + facts[:10], facts]
    results = await asyncio.gather(*[stack.ingest(*batch) for batch in batches])
    assert sum(outcomes(answer).count(ACCEPTED) for answer in results) == 50
    assert await stored(stack) == {"facts": 50, "observations": 50, "consents": 0}


async def test_contents_that_contend_at_once_end_as_one_after_the_other(stack: Stack) -> None:
    """Many writers of one message: one content stands, all others are kept, readers agree."""
    await asyncio.gather(*[stack.ingest(viewed("m1", f"/{i}"), viewed("m2", f"/{9 - i}")) for i in range(10)])
    assert await stored(stack) == {"facts": 2, "observations": 2, "consents": 0}
    assert await stack.rows("SELECT count(*) FROM conflicts WHERE workspace = %s", stack.workspace) == [(18,)]
    smallest = """SELECT bool_and(fact.content < conflict.content) FROM conflicts AS conflict
        JOIN facts AS fact ON fact.workspace = conflict.workspace AND fact.id = fact_id WHERE fact.workspace = %s"""
    assert await stack.rows(smallest, stack.workspace) == [(True,)]
    assert len(replayed(await stack.watch())["events"]) == 2


async def smallest_first(stack: Stack, pages: str) -> list[str]:
    """Pages in the order of the contents of their views, as views with other message ids show it."""
    results = await stack.ingest(*[viewed(f"probe-{page}", page) for page in pages])
    contents = dict(await stack.rows("SELECT id, content FROM facts WHERE workspace = %s", stack.workspace))
    return [
        page
        for _, page in sorted((contents[result.fact_id], page) for result, page in zip(results, pages, strict=True))
    ]


async def test_who_was_overtaken_while_it_waited_is_told_after_who_overtook_it(stack: Stack) -> None:
    """A content that replaces one which came meanwhile stays with readers, however small their pages are."""
    small, middle, large = await smallest_first(stack, "abc")
    names = {(await stack.ingest(viewed(each, large)))[0].fact_id: each for each in ("m1", "m2", "m3")}
    _, held_up, last = sorted(names)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    async with stack.database.transaction() as connection:
        await execute(connection, "SELECT FROM facts WHERE id = %s FOR UPDATE", (Key(held_up),))
        overtaken = asyncio.create_task(stack.ingest(*[viewed(each, small) for each in names.values()]))
        while await stack.rows(waiting, connection.info.backend_pid) == [(0,)]:  # noqa: ASYNC110  # PostgreSQL gets there
            await asyncio.sleep(0.01)
        await stack.ingest(viewed(names[last], middle))
    assert outcomes(await overtaken) == [CONFLICT] * 3
    events = replayed(await stack.watch(page_size=1))["events"]
    assert {events[fact]["properties"] for fact in names} == {viewed("", small).event.properties}


async def test_a_message_without_time_keeps_the_time_of_its_first_arrival(stack: Stack) -> None:
    """A retry, also with another content, falls on the same row."""
    fact = viewed("m1")
    fact.ClearField("occurred_at")
    other = Fact.FromString(fact.SerializeToString())
    other.event.properties = b'{"page":"/other"}'
    [first], [again], [conflict] = await stack.ingest(fact), await stack.ingest(fact), await stack.ingest(other)
    assert outcomes([first, again, conflict]) == [ACCEPTED, DUPLICATE, CONFLICT]
    assert first.fact_id == again.fact_id == conflict.fact_id
    [event] = (await stack.events(by(email("ada")))).events
    assert event.occurred_at.ToMicroseconds() <= event.received_at.ToMicroseconds()


async def test_a_message_without_time_that_was_kept_elsewhere_happened_when_it_came_there(stack: Stack) -> None:
    """Until it is known; who has a clock that is ahead changes nothing, and an instant that is none is refused."""
    fact = viewed("m1")
    fact.ClearField("occurred_at")
    fact.received_at.CopyFrom(at(-3_600))
    [first] = await stack.ingest(fact)
    fact.received_at.CopyFrom(at(-60))
    [again] = await stack.ingest(fact)
    assert outcomes([first, again]) == [ACCEPTED, DUPLICATE]
    assert first.fact_id == again.fact_id
    ahead = viewed("m2", name="bob")
    ahead.ClearField("occurred_at")
    ahead.received_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    await stack.ingest(ahead)
    [ada], [bob] = [(await stack.events(by(email(name)))).events for name in ("ada", "bob")]
    assert ada.occurred_at == at(-3_600)
    assert bob.occurred_at.ToMicroseconds() <= bob.received_at.ToMicroseconds()
    fact.received_at.seconds = 1 << 40
    [refused] = await stack.ingest(fact)
    assert [violation.field for violation in refused.violations] == ["received_at"]


async def test_a_message_without_id_is_known_by_its_content(stack: Stack) -> None:
    """The same record again is a duplicate, any difference makes another message."""
    results = [*await stack.ingest(viewed("", "/a")), *await stack.ingest(viewed("", "/a"), viewed("", "/b"))]
    assert outcomes(results) == [ACCEPTED, DUPLICATE, ACCEPTED]


async def test_nothing_is_accepted_while_identity_is_away(twin_url: str, workspace_key_file: Path, twin: Stack) -> None:
    """The caller hears that identity does not answer, and nothing of the batch is stored."""
    async with identity_started(identity_settings(twin_url, workspace_key_file)) as identity_address:
        pass
    settings = profile_settings(twin_url, workspace_key_file, identity_address)
    async with profile_started(settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub = ProfileServiceStub(channel)  # without the retries of our own clients
        metadata = (("sima-workspace", twin.workspace),)
        with pytest.raises(grpc.aio.AioRpcError) as ingest:
            await stub.Ingest(pb.IngestRequest(facts=[viewed("m1")]), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as asked:
            await stub.GetProfile(pb.GetProfileRequest(key=by(email("ada"))), metadata=metadata)
    assert [error.value.code() for error in (ingest, asked)] == [grpc.StatusCode.UNAVAILABLE] * 2
    assert [error.value.details() for error in (ingest, asked)] == ["identity does not answer"] * 2
    assert (await stored(twin))["facts"] == 0


NAMED = Fact(source="crm", identifiers=[email("ada"), Identifier(kind="loyalty_card", value="1")])


async def ingested_beside_older(url: str, key_file: Path, workspace: str, *facts: Fact) -> list[pb.IngestResult]:
    """Send facts in one batch to a profile service whose identity service does not know of loyalty cards."""
    own = identity_settings(url, key_file)
    policy = configured_policy(own)
    older = replace(policy, kinds={name: kind for name, kind in policy.kinds.items() if name != "loyalty_card"})
    async with (
        identity_started(own, older) as identity_address,
        profile_started(profile_settings(url, key_file, identity_address)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        request = pb.IngestRequest(facts=facts)
        return list(
            (await ProfileServiceStub(channel).Ingest(request, metadata=(("sima-workspace", workspace),))).results
        )


async def test_what_only_identity_refuses_never_fails_its_batch(
    twin_url: str, workspace_key_file: Path, twin: Stack
) -> None:
    """An identity service of another version, which does not know a kind, costs the facts that name it and no other."""
    facts = [viewed("m1"), NAMED, viewed("m2"), Fact()]
    results = await ingested_beside_older(twin_url, workspace_key_file, twin.workspace, *facts)
    assert outcomes(results) == [ACCEPTED, REFUSED, ACCEPTED, REFUSED]
    assert [violation.field for violation in results[1].violations] == ["identifiers[1].kind"]


async def test_facts_about_the_erased_are_refused(stack: Stack) -> None:
    """What happened before somebody was erased is refused, alone and as often as it comes; others are kept."""
    erased, other = viewed("m1", name="erased"), viewed("m2", name="other")
    await stack.erase(*erased.identifiers)
    assert outcomes(await stack.ingest(erased)) == [REFUSED]
    for outcome in (ACCEPTED, DUPLICATE):
        results = await stack.ingest(erased, other)
        assert outcomes(results) == [REFUSED, outcome]
        assert [violation.field for violation in results[0].violations] == ["identifiers"]


async def test_however_many_facts_identity_refuses_the_others_are_accepted(
    twin_url: str, workspace_key_file: Path, twin: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than identity can name in one answer are refused one by one, and each is asked about a few times only."""
    asked: list[int] = []
    resolve = Identity.resolve

    async def counted(identity: Identity, facts: Collection[CheckedFact], times: Iterable[int]) -> list[Belonging]:
        asked.append(len(facts))
        return await resolve(identity, facts, times)

    monkeypatch.setattr(Identity, "resolve", counted)
    facts = [NAMED if number % 3 else viewed(f"m{number}") for number in range(1_000)]
    results = await ingested_beside_older(twin_url, workspace_key_file, twin.workspace, *facts)
    assert outcomes(results) == [REFUSED if number % 3 else ACCEPTED for number in range(1_000)]
    assert {violation.field for result in results for violation in result.violations} == {"identifiers[1].kind"}
    assert sum(asked) < 8_000
