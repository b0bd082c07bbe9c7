"""What the segment service reads of the others: the feed of facts, the feed of the grouping, and who somebody is."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa
from sima.identity.v1 import identity_service_pb2 as identity_pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import InvalidFieldsError, NotFoundError, Violation

from sima_segment.projection import ChangePage, FactPage
from sima_segment.projection.pages import CHANGES, CONSENTS, EVENTS, OBSERVATIONS, RETRACTIONS

_PAGE_ROWS = 10_000


class Page(Protocol):
    """A page of any feed: it says where to go on."""

    @property
    def cursor(self) -> str:
        """The cursor behind this page."""

    @property
    def complete_until(self) -> datetime | None:
        """Everything of before this instant was delivered with this page and those before it. None: not known."""

    def rows(self) -> int:
        """How many rows it has."""

    def size(self) -> int:
        """How many bytes it has."""


class Facts:
    """The feed of facts."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._stub = ProfileServiceStub(client.channel)

    async def pages(
        self, workspace: str, cursor: str, *, until_now: bool, seconds: float | None = None
    ) -> AsyncGenerator[FactPage, None]:
        """Yield what lies behind a cursor.

        Args:
            workspace: Whose facts.
            cursor: Where to begin; empty for the start.
            until_now: End when everything accepted before this call has been yielded, rather than go on.
            seconds: How long it may take. None: for ever.

        Raises:
            CursorExpiredError: The feed must be read from the start.
            DeadlineExceededError: It took longer.
            SimaError: What else `ServiceClient.stream` raises.
        """
        request = profile_pb.WatchFactsRequest(cursor=cursor, page_size=_PAGE_ROWS, until_now=until_now)
        stream = self._client.stream(self._stub.WatchFacts, request, workspace=workspace, deadline=seconds)
        async with aclosing(stream):
            async for page in stream:
                yield _facts(page)


class Grouping:
    """The feed of the grouping, and look-ups in it."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._stub = IdentityServiceStub(client.channel)

    async def pages(
        self, workspace: str, cursor: str, *, until_now: bool, seconds: float | None = None
    ) -> AsyncGenerator[ChangePage, None]:
        """Yield what lies behind a cursor. Arguments and exceptions as of `Facts.pages`."""
        request = identity_pb.WatchProfileChangesRequest(cursor=cursor, until_now=until_now)
        stream = self._client.stream(self._stub.WatchProfileChanges, request, workspace=workspace, deadline=seconds)
        async with aclosing(stream):
            async for page in stream:
                yield ChangePage(_changes(page), page.cursor, _complete_until(page))

    async def profile_id(self, workspace: str, key: identity_pb.LookupKey) -> bytes:
        """Return the profile id of today that an identifier or a former id leads to.

        Raises:
            NotFoundError: Nobody is known so.
            InvalidFieldsError: The identifier has no normal form.
        """
        request = identity_pb.LookupRequest(keys=[key])
        try:
            response = await self._client.call(self._stub.Lookup, request, workspace=workspace)
        except InvalidFieldsError as error:
            raise InvalidFieldsError(map(_own, error.violations)) from None
        if not (found := response.results[0].profile_id):
            raise NotFoundError("profile", key.WhichOneof("by") or "")
        return bytes.fromhex(found)


def _own(violation: Violation) -> Violation:
    """Name a field as our caller knows it."""
    return Violation(violation.field.removeprefix("keys[0]."), violation.description)


def _facts(page: profile_pb.WatchFactsResponse) -> FactPage:
    return FactPage(
        events=_table(page.events, EVENTS),
        observations=_table(page.observations, OBSERVATIONS),
        consents=_table(page.consents, CONSENTS),
        retractions=_table(page.retractions, RETRACTIONS),
        cursor=page.cursor,
        complete_until=_complete_until(page),
    )


def _complete_until(page: profile_pb.WatchFactsResponse | identity_pb.WatchProfileChangesResponse) -> datetime | None:
    return page.complete_until.ToDatetime(UTC) if page.HasField("complete_until") else None


def _table(stream: bytes, schema: pa.Schema) -> pa.Table:
    if not stream:
        return schema.empty_table()
    return pa.ipc.open_stream(stream).read_all().select(schema.names).cast(schema)


def _changes(page: identity_pb.WatchProfileChangesResponse) -> pa.Table:
    found = page.changes
    columns = [
        [change.identifier.key for change in found],
        ["" if change.account else change.profile_id for change in found],  # segments are of people
        [change.shared for change in found],
        [change.blocked for change in found],
        [change.account for change in found],
    ]
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, CHANGES, strict=True)], CHANGES)
