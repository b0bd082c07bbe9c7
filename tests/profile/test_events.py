"""Timelines."""

import pytest
import pytest_asyncio
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import Event, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.errors import InvalidFieldsError, NotFoundError, PageTokenError
from sima_runtime.paging import next_page_token

from .conftest import Stack, at, by, email

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADA = by(email("ada"))
BROWSER = Identifier(kind="anonymous_id", value="b1")


def happened(number: int, seconds: float, name: str = "page_viewed") -> Fact:
    """An event of Ada, known by her address or by her browser."""
    identifier = email("ada") if number % 2 else BROWSER
    return Fact(
        source="web",
        message_id=f"m{number}",
        identifiers=[identifier],
        occurred_at=at(seconds),
        event=Event(name=name, properties=b'{"n":%d}' % number),
    )


async def walk(stack: Stack, size: int, **fields: object) -> list[pb.TimelineEvent]:
    """All pages of a timeline."""
    events: list[pb.TimelineEvent] = []
    token = ""
    while True:
        page = await stack.events(ADA, page_size=size, page_token=token, **fields)
        assert len(page.events) <= size
        events += page.events
        token = page.next_page_token
        if not token:
            return events


@pytest_asyncio.fixture(loop_scope="session")
async def history(stack: Stack) -> Stack:
    """Ada's thirty events over four years, three at each instant, in no order; and a fact that is no event."""
    year = 365 * 86_400
    facts = [happened(i, -(i // 3) * year * 0.4, "order_completed" if i % 5 == 0 else "page_viewed") for i in range(30)]
    evidence = Fact(source="crm", identifiers=[email("ada"), BROWSER], occurred_at=at(0))
    await stack.ingest(*facts[::2], evidence)
    await stack.ingest(*facts[1::2])
    return stack


@pytest.mark.parametrize("size", [1, 4, 30, 1000])
async def test_pages_hold_every_event_once_newest_first(history: Stack, size: int) -> None:
    """Whatever their size, over all identifiers and all partitions, also among events of one instant."""
    events = await walk(history, size)
    assert sorted(event.event.properties for event in events) == sorted(b'{"n":%d}' % i for i in range(30))
    times = [event.occurred_at.ToMicroseconds() for event in events]
    assert times == sorted(times, reverse=True)
    assert (await history.profile(ADA)).event_count == 30


async def test_a_timeline_may_show_some_names_only(history: Stack) -> None:
    """Events of other names neither appear nor shorten a page."""
    orders = await walk(history, 4, names=["order_completed", "unheard_of"])
    assert len(orders) == 6
    assert {event.event.name for event in orders} == {"order_completed"}


async def test_a_page_token_is_good_for_its_own_list_only(history: Stack) -> None:
    """Another person's or another filter's token is refused."""
    token = (await history.events(ADA, page_size=1)).next_page_token
    with pytest.raises(PageTokenError):
        await history.events(ADA, page_token=token, names=["order_completed"])
    with pytest.raises(PageTokenError):
        await history.events(ADA, page_token="nonsense")


@pytest.mark.parametrize("position", [[], ["x"], [7], [7, "no id"], ["7", "00" * 16], [10**30, "00" * 16], [7, 7]])
async def test_a_place_in_no_timeline_is_no_token(history: Stack, position: list[object]) -> None:
    """A token that was not given is the caller's mistake, whatever it says."""
    request = pb.ListEventsRequest(key=ADA)
    with pytest.raises(PageTokenError):
        await history.events(ADA, page_token=next_page_token(position, request))


async def test_all_that_is_wrong_with_a_request_is_said_at_once(stack: Stack) -> None:
    """The key, the size of a page, and the names of events."""
    with pytest.raises(InvalidFieldsError) as refused:
        await stack.events(pb.ProfileKey(profile_id="no id"), page_size=-1, names=["viewed", "a\0"])
    assert [violation.field for violation in refused.value.violations] == ["key.profile_id", "page_size", "names[1]"]


async def test_nobody_has_no_timeline(stack: Stack) -> None:
    """Who is not known is not found."""
    with pytest.raises(NotFoundError):
        await stack.events(ADA)
