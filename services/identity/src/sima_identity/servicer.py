"""The contract `sima.identity.v1`: protobuf ⇄ domain calls."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Any

import grpc.aio
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceServicer
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime import context
from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Database
from sima_runtime.errors import InvalidFieldsError, PageTokenError, Violation
from sima_runtime.feeds import Feed, Rows
from sima_runtime.paging import next_page_token, page_position, page_size
from sima_runtime.wire import datetime_to_timestamp, optional_timestamp
from sima_sdk.identifiers import IdentifierKinds

from sima_identity.requests import RequestReader
from sima_identity.resolving import Answer, Resolver
from sima_identity.store import log, lookups

_WORKSPACES = 1024
_PAGE_ROWS = 2_000
_INTEGER, _BIGINT, _XID = range(1 << 31), range(1 << 63), range(1 << 64)  # of places in feeds

_Context = grpc.aio.ServicerContext[Any, Any]


class IdentityServicer(IdentityServiceServicer):
    """Serves identity for the workspace of each call."""

    def __init__(
        self,
        resolver: Resolver,
        database: Database,
        feeds: Mapping[str, Feed],
        kinds: IdentifierKinds,
        secrets: Callable[[str], bytes],
    ) -> None:
        """Set up.

        Args:
            resolver: Records and groups.
            database: The schema `identity`.
            feeds: The feed of changes, and that of standings only, by name.
            kinds: The known kinds of identifiers.
            secrets: Gives the secret of a workspace.
        """
        self._resolver, self._database, self._feeds = resolver, database, feeds
        self._strength = {name: -kind.priority for name, kind in kinds.items()}
        self._reader = lru_cache(_WORKSPACES)(lambda workspace: RequestReader(kinds, secrets(workspace)))

    async def Resolve(self, request: pb.ResolveRequest, _: _Context) -> pb.ResolveResponse:  # noqa: N802
        """Record which identifiers were seen together and say whom they belong to."""
        workspace = context.current().workspace
        sightings = await self._reader(workspace).sightings(request)
        answers = await self._resolver.resolve(workspace, sightings)
        return pb.ResolveResponse(results=map(_resolved, answers))

    async def Lookup(self, request: pb.LookupRequest, _: _Context) -> pb.LookupResponse:  # noqa: N802
        """Find profiles by identifiers or ids."""
        workspace = context.current().workspace
        wanted = self._reader(workspace).wanted(request)
        async with self._database.statement() as connection:
            found = await lookups.lookup(connection, workspace, wanted)
        _check_size(found.values())
        return pb.LookupResponse(results=[self._profile(found.get(number)) for number in range(len(wanted))])

    async def ListProfileChanges(  # noqa: N802
        self, request: pb.ListProfileChangesRequest, _: _Context
    ) -> pb.ListProfileChangesResponse:
        """List the changes of a profile or an identifier."""
        workspace = context.current().workspace
        subject = self._reader(workspace).subject(request)
        size, after = page_size(request.page_size), _place_before(request)
        async with self._database.statement() as connection:
            changes = await log.list_changes(connection, workspace, subject, after, size + 1)
        response = pb.ListProfileChangesResponse(changes=map(_change, changes[:size]))
        if len(changes) > size:
            place = changes[size - 1].place
            response.next_page_token = next_page_token((place.epoch, place.xid, place.seq), request)
        return response

    async def WatchProfileChanges(  # noqa: N802
        self, request: pb.WatchProfileChangesRequest, _: _Context
    ) -> AsyncIterator[pb.WatchProfileChangesResponse]:
        """Stream the feed."""
        workspace = context.current().workspace
        feed = self._feeds[log.STANDINGS if request.standings_only else log.FEED]
        read = partial(self._read_page, feed.name, workspace)
        pages = feed.pages(request.cursor, read, workspace=workspace, until_now=request.until_now)
        async with aclosing(pages):
            async for page in pages:
                yield pb.WatchProfileChangesResponse(
                    changes=map(_change, page.items),
                    cursor=page.cursor,
                    complete_until=optional_timestamp(page.complete_until),
                )

    async def _read_page(self, feed: str, workspace: str, after: Cursor, horizon: Horizon) -> Rows[list[log.Change]]:
        async with self._database.statement() as connection:
            return await log.read_page(connection, feed, workspace, after, horizon, limit=_PAGE_ROWS)

    def _profile(self, found: lookups.Found | None) -> pb.LookupResult:
        if found is None:
            return pb.LookupResult()
        members = sorted(found.members, key=lambda member: (self._strength.get(member.kind, 0), member.key))
        return pb.LookupResult(profile_id=_profile_id(found.profile_id), identifiers=map(_known, members))


def _place_before(request: pb.ListProfileChangesRequest) -> Cursor | None:
    match page_position(request):
        case None:
            return None
        case [int() as epoch, int() as xid, int() as seq] if epoch in _INTEGER and xid in _XID and seq in _BIGINT:
            return Cursor(epoch, xid, seq)
    raise PageTokenError


def _check_size(found: Iterable[lookups.Found]) -> None:
    if sum(len(profile.members) for profile in found) > lookups.MOST_MEMBERS:
        expected = f"expected profiles that have at most {lookups.MOST_MEMBERS} identifiers together"
        raise InvalidFieldsError([Violation("keys", expected)])


def _resolved(answer: Answer) -> pb.ResolvedSet:
    keys, owner_key, profile_id, pending = answer
    return pb.ResolvedSet(keys=keys, owner_key=owner_key or b"", profile_id=_profile_id(profile_id), pending=pending)


def _known(member: lookups.Member) -> pb.KnownIdentifier:
    return pb.KnownIdentifier(
        identifier=Identifier(kind=member.kind, value=member.value or "", key=member.key),
        shared=member.shared,
        blocked=member.blocked,
        first_seen_at=datetime_to_timestamp(member.first_seen_at),
    )


def _change(change: log.Change) -> pb.ProfileChange:
    return pb.ProfileChange(
        identifier=Identifier(kind=change.kind, value=change.value or "", key=change.key),
        previous_profile_id=_profile_id(change.previous_profile_id),
        profile_id=_profile_id(change.profile_id),
        shared=change.shared,
        blocked=change.blocked,
        changed_at=datetime_to_timestamp(change.changed_at),
        cause=pb.CHANGE_CAUSE_EVIDENCE,
    )


def _profile_id(profile_id: bytes | None) -> str:
    return "" if profile_id is None else profile_id.hex()
