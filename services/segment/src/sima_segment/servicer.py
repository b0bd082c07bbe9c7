"""The contract `sima.segment.v1`: protobuf ⇄ domain calls."""

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from sima.identity.v1.identity_service_pb2 import LookupKey
from sima.segment.v1 import segment_service_pb2 as pb
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceServicer
from sima_runtime.context import current
from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Database
from sima_runtime.errors import InvalidFieldsError, PageTokenError, Violation, Violations
from sima_runtime.feeds import Feed, Rows
from sima_runtime.paging import next_page_token, page_position, page_size
from sima_runtime.wire import datetime_to_timestamp, optional_timestamp

from sima_segment import store
from sima_segment.inputs import Grouping
from sima_segment.previews import Preview
from sima_segment.rules import Problem, RuleError, normal_name
from sima_segment.segments import Segments

_DEFAULT_SAMPLE, _LARGEST_SAMPLE = 10, 100
_LARGEST_MEMBER_PAGE = 10_000
_WATCH_ROWS = 2_000
_CHANGEABLE = ("rule", "description")

_Context = grpc.aio.ServicerContext[Any, Any]


class SegmentServicer(SegmentServiceServicer):
    """Serves segments for the workspace of each call."""

    def __init__(self, segments: Segments, grouping: Grouping, database: Database, feed: Feed) -> None:
        """Set up.

        Args:
            segments: The domain.
            grouping: Knows who is who.
            database: The schema `segment`.
            feed: The feed of memberships.
        """
        self._segments = segments
        self._grouping = grouping
        self._database = database
        self._feed = feed

    async def CreateSegment(self, request: pb.CreateSegmentRequest, _: _Context) -> pb.CreateSegmentResponse:  # noqa: N802
        """See the contract."""
        wanted = request.segment
        created = await self._segments.create(current().workspace, wanted.name, wanted.rule, wanted.description)
        return pb.CreateSegmentResponse(segment=_segment(created))

    async def GetSegment(self, request: pb.GetSegmentRequest, _: _Context) -> pb.GetSegmentResponse:  # noqa: N802
        """See the contract."""
        return pb.GetSegmentResponse(segment=_segment(await self._segments.get(current().workspace, request.name)))

    async def ListSegments(self, request: pb.ListSegmentsRequest, _: _Context) -> pb.ListSegmentsResponse:  # noqa: N802
        """See the contract."""
        size = page_size(request.page_size)
        found = await self._segments.page(current().workspace, _name_before(request), size + 1)
        response = pb.ListSegmentsResponse(segments=map(_segment, found[:size]))
        if len(found) > size:
            response.next_page_token = next_page_token([found[size - 1].name], request)
        return response

    async def UpdateSegment(self, request: pb.UpdateSegmentRequest, _: _Context) -> pb.UpdateSegmentResponse:  # noqa: N802
        """See the contract."""
        wanted, fields = request.segment, _changed_fields(request)
        rule = wanted.rule if "rule" in fields else None
        description = wanted.description if "description" in fields else None
        changed = await self._segments.update(current().workspace, wanted.name, rule, description)
        return pb.UpdateSegmentResponse(segment=_segment(changed))

    async def DeleteSegment(self, request: pb.DeleteSegmentRequest, _: _Context) -> pb.DeleteSegmentResponse:  # noqa: N802
        """See the contract."""
        await self._segments.delete(current().workspace, request.name)
        return pb.DeleteSegmentResponse()

    async def PreviewSegment(self, request: pb.PreviewSegmentRequest, _: _Context) -> pb.PreviewSegmentResponse:  # noqa: N802
        """See the contract."""
        try:
            found = await self._segments.preview(current().workspace, request.rule, _sample_size(request))
        except RuleError as error:
            return pb.PreviewSegmentResponse(problems=map(_problem, error.problems))
        return _preview(found)

    async def ListMembers(self, request: pb.ListMembersRequest, _: _Context) -> pb.ListMembersResponse:  # noqa: N802
        """See the contract."""
        size = page_size(request.page_size, largest=_LARGEST_MEMBER_PAGE)
        found = await self._segments.members(current().workspace, request.name, _member_before(request), size + 1)
        response = pb.ListMembersResponse(members=[_member(who, when) for who, when in found[:size]])
        if len(found) > size:
            response.next_page_token = next_page_token([found[size - 1][0].hex()], request)
        return response

    async def GetMemberships(self, request: pb.GetMembershipsRequest, _: _Context) -> pb.GetMembershipsResponse:  # noqa: N802
        """See the contract."""
        workspace = current().workspace
        person = await self._grouping.profile_id(workspace, _lookup_key(request))
        found = await self._segments.memberships(workspace, person)
        return pb.GetMembershipsResponse(
            profile_id=person.hex(),
            memberships=[
                pb.Membership(segment=name, entered_at=datetime_to_timestamp(when)) for name, when in found.segments
            ],
            as_of=None if found.as_of is None else datetime_to_timestamp(found.as_of),
        )

    async def WatchMemberships(  # noqa: N802
        self, request: pb.WatchMembershipsRequest, _: _Context
    ) -> AsyncIterator[pb.WatchMembershipsResponse]:
        """See the contract."""
        workspace = current().workspace
        wanted = await self._segments.named(workspace, request.segments, deleted_too=request.cursor != "")
        read = partial(self._read_page, workspace, wanted)
        pages = self._feed.pages(request.cursor, read, workspace=workspace, until_now=request.until_now)
        async with aclosing(pages):
            async for page in pages:
                yield pb.WatchMembershipsResponse(
                    changes=map(_change, page.items),
                    cursor=page.cursor,
                    complete_until=optional_timestamp(page.complete_until),
                )

    async def _read_page(
        self, workspace: str, segments: frozenset[str], after: Cursor, horizon: Horizon
    ) -> Rows[list[store.Changed]]:
        async with self._database.statement() as connection:
            return await store.read_page(connection, workspace, after, horizon, limit=_WATCH_ROWS, segments=segments)


def _name_before(request: pb.ListSegmentsRequest) -> str:
    match page_position(request):
        case None:
            return ""
        case [str() as name] if normal_name(name) == name:
            return name
    raise PageTokenError


def _member_before(request: pb.ListMembersRequest) -> bytes | None:
    match page_position(request):
        case None:
            return None
        case [str() as person]:
            with suppress(ValueError):
                return UUID(hex=person).bytes
    raise PageTokenError


def _changed_fields(request: pb.UpdateSegmentRequest) -> tuple[str, ...]:
    found = Violations()
    for path in request.update_mask.paths:
        found.require(path in _CHANGEABLE, "update_mask", f"expected of {' and '.join(_CHANGEABLE)} those to change")
    found.check()
    return tuple(request.update_mask.paths) or _CHANGEABLE


def _sample_size(request: pb.PreviewSegmentRequest) -> int:
    if request.sample_size < 0:
        raise InvalidFieldsError([Violation("sample_size", "must not be negative")])
    return min(request.sample_size or _DEFAULT_SAMPLE, _LARGEST_SAMPLE)


def _lookup_key(request: pb.GetMembershipsRequest) -> LookupKey:
    match request.WhichOneof("by"):
        case "identifier":
            return LookupKey(identifier=request.identifier, default_region=request.default_region)
        case "profile_id":
            return LookupKey(profile_id=request.profile_id)
    raise InvalidFieldsError([Violation("by", "expected a profile id or an identifier")])


def _segment(segment: store.Segment) -> pb.Segment:
    return pb.Segment(
        name=segment.name,
        rule=segment.rule,
        description=segment.description,
        size=segment.size,
        created_at=datetime_to_timestamp(segment.created_at),
        updated_at=datetime_to_timestamp(segment.updated_at),
        frozen=segment.frozen,
    )


def _preview(found: Preview) -> pb.PreviewSegmentResponse:
    took = Duration()
    took.FromTimedelta(found.took)
    sample = [person.hex() for person in found.sample]
    return pb.PreviewSegmentResponse(size=found.size, sample_profile_ids=sample, took=took)


def _problem(problem: Problem) -> pb.RuleProblem:
    return pb.RuleProblem(
        message=problem.message, line=problem.line, column=problem.column, suggestion=problem.suggestion
    )


def _member(person: bytes, entered_at: datetime) -> pb.Member:
    return pb.Member(profile_id=person.hex(), entered_at=datetime_to_timestamp(entered_at))


def _change(change: store.Changed) -> pb.MembershipChange:
    kind = pb.MEMBERSHIP_CHANGE_KIND_ENTERED if change.entered else pb.MEMBERSHIP_CHANGE_KIND_LEFT
    return pb.MembershipChange(
        segment=change.segment,
        profile_id=change.profile_id.hex(),
        kind=kind,
        changed_at=datetime_to_timestamp(change.changed_at),
    )
