"""One more purchase: by webhook in, and out again as somebody's entry into a segment."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sima.segment.v1.segment_service_pb2 import (
    MEMBERSHIP_CHANGE_KIND_ENTERED,
    GetMembershipsRequest,
    MembershipChange,
    WatchMembershipsRequest,
)
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1.identifier_pb2 import Identifier

from sima_cli.calls import Calls
from sima_cli.connection import Connection
from sima_cli.demo.segments import BIG_SPENDERS
from sima_cli.errors import CommandError
from sima_cli.report.findings import Live
from sima_cli.sample.generator import Sample
from sima_cli.sample.last import PAID, candidates, purchase
from sima_cli.sample.people import Person
from sima_cli.sending import Sender

if TYPE_CHECKING:
    from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceAsyncStub

    SegmentCalls = Calls[SegmentServiceAsyncStub]

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Buyer:
    person: Person
    profile_id: str


async def buy_once_more(connection: Connection, collector: str, sample: Sample) -> Live:
    """Send the purchase and wait until the buyer is said to have entered the segment.

    Raises:
        CommandError: Nobody heard of it in half a minute.
    """
    async with connection.calls("segment", SegmentServiceStub) as service:
        buyer = await _somebody_outside(service, sample)
        changes = _changes(service, await _cursor_now(service))
        waiting = asyncio.create_task(_entry(changes, buyer.profile_id))
        delivery = purchase(sample.plan, buyer.person, datetime.now(UTC))
        begun = time.perf_counter()
        await asyncio.to_thread(Sender(collector).send, delivery)
        try:
            entered = await asyncio.wait_for(waiting, _SECONDS)
        except TimeoutError:
            raise CommandError(f"Nobody entered {BIG_SPENDERS} within {_SECONDS:.0f} seconds.") from None
    milliseconds = (entered - begun) * 1000
    return Live(buyer.person.full_name, BIG_SPENDERS, f"{PAID:,.2f} EUR", delivery.source, milliseconds)


async def _somebody_outside(service: "SegmentCalls", sample: Sample) -> _Buyer:
    for person in candidates(sample.people):
        email = Identifier(kind="email", value=person.email or "")
        answer = await service.call(service.stub.GetMemberships, GetMembershipsRequest(identifier=email))
        if all(one.segment != BIG_SPENDERS for one in answer.memberships):
            return _Buyer(person, answer.profile_id)
    raise CommandError(f"Everybody is in {BIG_SPENDERS} already.")


async def _cursor_now(service: "SegmentCalls") -> str:
    cursor = ""
    request = WatchMembershipsRequest(segments=[BIG_SPENDERS], until_now=True)
    async for page in service.stream(service.stub.WatchMemberships, request):
        cursor = page.cursor
    return cursor


async def _changes(service: "SegmentCalls", cursor: str) -> AsyncIterator[MembershipChange]:
    request = WatchMembershipsRequest(segments=[BIG_SPENDERS], cursor=cursor)
    async for page in service.stream(service.stub.WatchMemberships, request):
        for change in page.changes:
            yield change


async def _entry(changes: AsyncIterator[MembershipChange], profile_id: str) -> float:
    """Return the instant at which the entry was heard of."""
    async for change in changes:
        if change.profile_id == profile_id and change.kind == MEMBERSHIP_CHANGE_KIND_ENTERED:
            return time.perf_counter()
    raise CommandError("The stream of memberships ended.")
