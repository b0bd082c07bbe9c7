"""The feed of facts."""

import asyncio
from collections.abc import AsyncGenerator
from unittest.mock import Mock

import pytest
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import CONSENT_STATUS_GRANTED, Event, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value
from sima_profile.servicer import ProfileServicer
from sima_profile.store.feed import PAGE_BYTES, FactRows
from sima_profile.validation import MAX_PROPERTIES
from sima_profile.watching import FactFeed
from sima_runtime.context import CallContext, enter
from sima_runtime.errors import InvalidFieldsError
from sima_runtime.feeds import FeedPage
from sima_runtime.settings import FeedSettings

from .conftest import RELATIONS, Stack, at, by, email, records, replayed

pytestmark = pytest.mark.asyncio(loop_scope="session")


def said(number: int) -> Fact:
    """A fact with an event, two traits and a consent."""
    fact = Fact(
        source="web",
        message_id=f"m{number}",
        identifiers=[Identifier(kind="anonymous_id", value=f"b{number}"), email(f"p{number}")],
        occurred_at=at(number),
        event=Event(name="e", properties=b'{"n":%d}' % number),
    )
    fact.traits.add(trait="city", value=Value(text="الرياض"))
    fact.traits.add(trait="n", value=Value(number=number), confidence=0.5)
    fact.consents.add(purpose="news", status=CONSENT_STATUS_GRANTED)
    return fact


def large(number: int) -> Fact:
    """An event of Ada with properties as large as may be."""
    properties = b'{"n":"%d%s"}' % (number, b"x" * (MAX_PROPERTIES - 10))
    event = Event(name="e", properties=properties)
    return Fact(source="web", message_id=f"l{number}", identifiers=[email("ada")], occurred_at=at(number), event=event)


async def test_the_feed_replays_to_what_is_stored(stack: Stack) -> None:
    """Every row comes once, whatever the size of a page, with all its columns."""
    for start in range(0, 30, 10):
        await stack.ingest(*[said(number) for number in range(start, start + 10)])
    whole = replayed(await stack.watch())
    for size in (1, 7, 100_001):
        assert replayed(await stack.watch(page_size=size)) == whole
    assert [len(whole[relation]) for relation in RELATIONS] == [30, 60, 30]
    keys = dict(await stack.rows("SELECT id, keys FROM facts WHERE workspace = %s", stack.workspace))
    assert {row["id"]: row["keys"] for row in whole["events"].values()} == keys
    assert {row["properties"] for row in whole["events"].values()} == {b'{"n":%d}' % n for n in range(30)}
    cities = [row for row in whole["observations"].values() if row["trait"] == "city"]
    assert {(row["value"], row["type"], row["method"], row["confidence"]) for row in cities} == {
        ('"الرياض"', "text", "observed", 1.0)
    }
    assert all(row["granted"] and row["purpose"] == "news" for row in whole["consents"].values())


async def test_keys_come_strongest_first(stack: Stack) -> None:
    """So a reader can find the owner of a row."""
    [result] = await stack.ingest(said(1))
    [event] = replayed(await stack.watch())["events"].values()
    strongest = await stack.rows(
        "SELECT owner FROM facts WHERE workspace = %s AND id = %s::uuid", stack.workspace, result.fact_id.hex()
    )
    assert (event["keys"][0],) == strongest[0]
    assert len(event["keys"]) == 2


async def test_a_reader_goes_on_behind_its_cursor(stack: Stack) -> None:
    """Pages read before are not sent again, and none is left out."""
    await stack.ingest(*[said(number) for number in range(5)])
    first = await stack.watch(page_size=3)
    await stack.ingest(*[said(number) for number in range(5, 8)])
    rest = await stack.watch(first[1].cursor, page_size=4)
    assert replayed([*first[:2], *rest]) == replayed(await stack.watch())


async def test_a_waiting_reader_gets_new_facts(stack: Stack) -> None:
    """The stream goes on with what is accepted after it began."""
    pages = stack.client.stream(stack.stub.WatchFacts, pb.WatchFactsRequest(), workspace=stack.workspace)
    read: list[pb.WatchFactsResponse] = []
    async with asyncio.timeout(20):
        async for page in pages:
            read.append(page)
            held = len(replayed(read)["events"])
            if held == 3:
                break
            if not page.events or held:
                await stack.ingest(said(held))
    await pages.aclose()


async def test_an_empty_workspace_has_an_empty_feed(stack: Stack) -> None:
    """A reader gets a cursor to go on from, and nothing else."""
    pages = await stack.watch()
    assert replayed(pages) == {relation: {} for relation in RELATIONS}
    await stack.ingest(said(1))
    assert len(replayed(await stack.watch(pages[-1].cursor))["events"]) == 1


async def test_facts_without_event_are_no_events_in_the_feed(stack: Stack) -> None:
    """Their traits are there all the same."""
    fact = said(1)
    fact.ClearField("event")
    await stack.ingest(fact, Fact(source="web", identifiers=[email("ada")]))
    held = replayed(await stack.watch())
    assert (len(held["events"]), len(held["observations"])) == (0, 2)


async def test_columns_are_those_of_the_contract(stack: Stack) -> None:
    """In their order."""
    await stack.ingest(said(1))
    [page] = [page for page in await stack.watch() if page.events]
    assert list(records(page.events)[0]) == [
        *("id", "keys", "name", "source", "occurred_at", "received_at", "properties")
    ]
    assert list(records(page.observations)[0]) == [
        *("id", "keys", "trait", "value", "type", "source", "method", "observed_at", "received_at", "confidence")
    ]
    assert list(records(page.consents)[0]) == [
        *("id", "keys", "purpose", "granted", "source", "stated_at", "received_at")
    ]


async def test_a_cursor_that_is_none_is_refused(stack: Stack) -> None:
    """So is a negative page size."""
    with pytest.raises(InvalidFieldsError, match="cursor"):
        await stack.watch("nonsense")
    with pytest.raises(InvalidFieldsError, match="page_size"):
        await stack.watch(page_size=-1)


async def test_pages_of_large_events_end_before_they_are_too_large_for_a_message(stack: Stack) -> None:
    """However many rows are asked for; each page has at least one, and none is left out."""
    for start in range(0, 90, 30):
        await stack.ingest(*[large(number) for number in range(start, start + 30)])
    pages = await stack.watch(page_size=100_000)
    assert max(page.ByteSize() for page in pages) < 1.1 * PAGE_BYTES
    assert len(replayed(pages)["events"]) == 90
    first = await stack.events(by(email("ada")), page_size=1_000)
    rest = await stack.events(by(email("ada")), page_size=1_000, page_token=first.next_page_token)
    assert first.ByteSize() < 1.1 * PAGE_BYTES
    assert (len(first.events) + len(rest.events), rest.next_page_token) == (90, "")


class Endless(FactFeed):
    """A feed that goes on until it is closed."""

    closed = False

    async def pages(self, *_: object, **__: object) -> AsyncGenerator[FeedPage[FactRows], None]:
        """Empty pages."""
        try:
            while True:
                yield FeedPage(FactRows([], [], [], []), "", complete_until=None)
        finally:
            self.closed = True


async def test_who_stops_watching_stops_the_feed(stack: Stack) -> None:
    """It ends with the call, not some time after."""
    feed = Endless(stack.database, Mock(), FeedSettings())

    async def watch_a_moment() -> bool:
        enter(CallContext(stack.workspace, "request"))
        stream = ProfileServicer(Mock(), Mock(), feed, Mock()).WatchFacts(pb.WatchFactsRequest(), Mock())
        assert isinstance(stream, AsyncGenerator)
        await anext(stream)
        await stream.aclose()
        return feed.closed

    assert await asyncio.create_task(watch_a_moment())
