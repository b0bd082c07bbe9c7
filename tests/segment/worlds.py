"""The segment service beside the services that it reads from, and a client that knows what tests ask for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1 import segment_service_pb2 as pb
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1.fact_pb2 import Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.clients import ServiceClient
from sima_runtime.migrations import migrate
from sima_runtime.server import served
from sima_runtime.settings import ClientSettings
from sima_segment.service import assembled
from sima_segment.settings import SegmentSettings

from tests.databases import fresh_database

from .builders import START

TRAITS: Mapping[str, Any] = {
    "declared": {"survivorship": "declared_first"},
    "trusted": {"survivorship": "most_trusted_source", "trusted_sources": ["crm", "shop"]},
    "interests": {"survivorship": "union"},
}
#: Answers within this are due; a test that waits longer has failed.
PATIENCE = 60.0


@dataclass
class Clock:
    """The instant of evaluation, as the test wants it."""

    instant: datetime = START

    def __call__(self) -> datetime:
        """Tell it."""
        return self.instant

    def pass_by(self, **duration: float) -> None:
        """Let time pass."""
        self.instant += timedelta(**duration)


@dataclass
class World:
    """Clients of the three services, for one workspace."""

    profile: ServiceClient
    segment: ServiceClient
    workspace: str
    data_dir: Path
    segments: Any = field(init=False)

    def __post_init__(self) -> None:
        self.segments = SegmentServiceStub(self.segment.channel)

    async def ingest(self, *facts: Fact) -> None:
        """Have facts accepted."""
        stub = ProfileServiceStub(self.profile.channel)
        request = profile_pb.IngestRequest(facts=facts)
        response = await self.profile.call(stub.Ingest, request, workspace=self.workspace, deadline=PATIENCE)
        refused = [result for result in response.results if result.outcome == profile_pb.INGEST_OUTCOME_REFUSED]
        assert not refused

    async def create(self, name: str, rule: str, description: str = "") -> pb.Segment:
        """Create a segment."""
        request = pb.CreateSegmentRequest(segment=pb.Segment(name=name, rule=rule, description=description))
        created: pb.CreateSegmentResponse = await self.call("CreateSegment", request)
        return created.segment

    async def update(self, name: str, *fields: str, **values: Any) -> pb.Segment:
        """Change fields of a segment; without names, all that are given."""
        request = pb.UpdateSegmentRequest(segment=pb.Segment(name=name, **values))
        if fields:
            request.update_mask.CopyFrom(FieldMask(paths=fields))
        updated: pb.UpdateSegmentResponse = await self.call("UpdateSegment", request)
        return updated.segment

    async def delete(self, name: str) -> None:
        """Delete a segment."""
        await self.call("DeleteSegment", pb.DeleteSegmentRequest(name=name))

    async def get(self, name: str) -> pb.Segment:
        """Ask for a segment."""
        found: pb.GetSegmentResponse = await self.call("GetSegment", pb.GetSegmentRequest(name=name))
        return found.segment

    async def names(self) -> list[str]:
        """The names of the first segments that there are."""
        listed: pb.ListSegmentsResponse = await self.call("ListSegments", pb.ListSegmentsRequest())
        return [segment.name for segment in listed.segments]

    async def preview(self, rule: str, sample_size: int = 0) -> pb.PreviewSegmentResponse:
        """Try a rule."""
        request = pb.PreviewSegmentRequest(rule=rule, sample_size=sample_size)
        shown: pb.PreviewSegmentResponse = await self.call("PreviewSegment", request)
        return shown

    async def members(self, name: str) -> set[str]:
        """All members of a segment, page by page."""
        found: list[str] = []
        token = ""
        while True:
            page = await self.call("ListMembers", pb.ListMembersRequest(name=name, page_size=3, page_token=token))
            found += [member.profile_id for member in page.members]
            if not (token := page.next_page_token):
                assert len(set(found)) == len(found)
                return set(found)

    async def memberships(self, kind: str, value: str) -> pb.GetMembershipsResponse:
        """Ask for the segments of a person."""
        request = pb.GetMembershipsRequest(identifier=Identifier(kind=kind, value=value))
        found: pb.GetMembershipsResponse = await self.call("GetMemberships", request)
        return found

    async def who(self, kind: str, value: str) -> str:
        """The profile id of today of an identifier."""
        return (await self.memberships(kind, value)).profile_id

    async def settle(self) -> None:
        """Wait until the memberships show everything accepted before, at the clock's instant."""
        await self.preview("true")

    async def changes(self, cursor: str = "", segments: Sequence[str] = ()) -> list[pb.MembershipChange]:
        """The feed from a cursor until now."""
        request = pb.WatchMembershipsRequest(cursor=cursor, segments=segments, until_now=True)
        pages = self.segment.stream(self.segments.WatchMemberships, request, workspace=self.workspace)
        return [change async for page in pages for change in page.changes]

    async def cursor(self) -> str:
        """The end of the feed."""
        request = pb.WatchMembershipsRequest(until_now=True)
        stream = self.segment.stream(self.segments.WatchMemberships, request, workspace=self.workspace)
        cursors: list[str] = [page.cursor async for page in stream]
        return cursors[-1]

    async def replayed(self) -> dict[str, set[str]]:
        """The members of each segment, as a reader of the feed knows them."""
        members: dict[str, set[str]] = {}
        for change in await self.changes():
            of_segment = members.setdefault(change.segment, set())
            if change.kind == pb.MEMBERSHIP_CHANGE_KIND_ENTERED:
                assert change.profile_id not in of_segment
                of_segment.add(change.profile_id)
            else:
                of_segment.remove(change.profile_id)
        return members

    async def call(self, method: str, request: Any) -> Any:
        """Call the segment service."""
        rpc = getattr(self.segments, method)
        return await self.segment.call(rpc, request, workspace=self.workspace, deadline=PATIENCE)


@dataclass(frozen=True)
class Upstream:
    """Identity and profile services that run as long as the tests do."""

    identity_address: str
    profile_address: str
    profile: ServiceClient


#: Starts a segment service, with other settings if told.
StartSegment = Callable[..., AbstractAsyncContextManager[World]]


@asynccontextmanager
async def started(upstream: Upstream, clock: Clock, workspace: str, **given: Any) -> AsyncIterator[World]:
    """A segment service that runs while the block does."""
    given |= {"identity_address": upstream.identity_address, "profile_address": upstream.profile_address}
    settings = SegmentSettings(traits=TRAITS, **given)
    async with AsyncExitStack() as stack:
        address = await serve(stack, settings, assembled(settings, clock))
        segment = ServiceClient("segment", address, ClientSettings(client_timeout_seconds=60))
        stack.push_async_callback(segment.close)
        yield World(upstream.profile, segment, workspace, settings.data_dir)


async def serve(stack: AsyncExitStack, settings: Any, assembling: Any) -> str:
    """Serve what is being assembled until the stack is left; gives the address."""
    service = await stack.enter_async_context(assembling)
    serving = served(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close])
    return await stack.enter_async_context(serving)


@contextmanager
def segment_database(server: str) -> Iterator[str]:
    """A database of its own: a segment service follows every workspace that it finds in one."""
    with fresh_database(server) as address:
        migrate(address, "sima_segment")
        yield address


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not await check():  # noqa: ASYNC110  # it can be anything that is seen from outside
            await asyncio.sleep(0.02)
