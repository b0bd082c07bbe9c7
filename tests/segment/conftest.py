"""The segment service beside real identity and profile services, on real PostgreSQL, with a clock that tests set."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import orjson
import psycopg
import pyarrow as pa
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from psycopg import sql
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1 import segment_service_pb2 as pb
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1.fact_pb2 import CONSENT_STATUS_DENIED, CONSENT_STATUS_GRANTED, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.service import assembled as identity_assembled
from sima_identity.settings import IdentitySettings
from sima_profile.service import assembled as profile_assembled
from sima_profile.settings import ProfileSettings
from sima_runtime.clients import ServiceClient
from sima_runtime.migrations import migrate
from sima_runtime.server import served
from sima_runtime.settings import ClientSettings
from sima_segment.projection import ChangePage, FactPage
from sima_segment.projection.pages import CHANGES, CONSENTS, EVENTS, OBSERVATIONS, RETRACTIONS
from sima_segment.service import assembled
from sima_segment.settings import SegmentSettings

START = datetime(2026, 1, 10, tzinfo=UTC)
TRAITS: Mapping[str, Any] = {
    "declared": {"survivorship": "declared_first"},
    "trusted": {"survivorship": "most_trusted_source", "trusted_sources": ["crm", "shop"]},
    "interests": {"survivorship": "union"},
}
#: Answers within this are due; a test that waits longer has failed.
PATIENCE = 60.0
#: Readers of feeds are woken when there is something; looking all the time would only keep the machine busy.
SELDOM = 3.0


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


def fact(
    message_id: str,
    *identifiers: tuple[str, str],
    at: datetime = START,
    event: str = "",
    properties: Mapping[str, Any] | None = None,
    traits: Mapping[str, Any] | None = None,
    consents: Mapping[str, bool] | None = None,
    source: str = "shop",
) -> Fact:
    """A fact as a channel sends it."""
    message = Fact(source=source, message_id=message_id)
    for kind, value in identifiers:
        message.identifiers.add(kind=kind, value=value)
    message.occurred_at.FromDatetime(at)
    if event:
        message.event.name = event
        message.event.properties = orjson.dumps(properties or {})
    for name, value in (traits or {}).items():
        observation = message.traits.add(trait=name)
        match value:
            case bool():
                observation.value.boolean = value
            case str():
                observation.value.text = value
            case _:
                observation.value.number = value
    for purpose, granted in (consents or {}).items():
        message.consents.add(purpose=purpose, status=CONSENT_STATUS_GRANTED if granted else CONSENT_STATUS_DENIED)
    return message


def user(name: str) -> tuple[str, str]:
    """A user id."""
    return "user_id", name


def mail(name: str) -> tuple[str, str]:
    """An e-mail address."""
    return "email", f"{name}@mail.example.com"


def device(name: str) -> tuple[str, str]:
    """A device id."""
    return "device_id", name


class Moved(NamedTuple):
    """A row of the identity feed; keys and profiles are small numbers, profile 0 is none."""

    key: int
    profile: int
    shared: bool = False
    blocked: bool = False


class Happened(NamedTuple):
    """An event of the fact feed; `number` makes its id."""

    number: int
    keys: tuple[int, ...]
    name: str = "order"
    properties: Mapping[str, Any] | bytes = {}
    at: datetime = START


class Observed(NamedTuple):
    """An observation of the fact feed."""

    number: int
    keys: tuple[int, ...]
    trait: str
    value: Any
    at: datetime = START
    source: str = "shop"
    method: str = "observed"
    confidence: float = 1.0


class Stated(NamedTuple):
    """A statement of the fact feed."""

    number: int
    keys: tuple[int, ...]
    purpose: str
    granted: bool
    at: datetime = START


class Withdrawn(NamedTuple):
    """A retraction of the fact feed."""

    number: int


Row = Happened | Observed | Stated | Withdrawn


def key(number: int) -> bytes:
    """The key or id of a number."""
    return UUID(int=number).bytes


def change_page(*moved: Moved, cursor: str = "c") -> ChangePage:
    """A page of the identity feed."""
    rows = [
        {
            "key": key(each.key),
            "profile": key(each.profile).hex() if each.profile else "",
            "shared": each.shared,
            "blocked": each.blocked,
        }
        for each in moved
    ]
    return ChangePage(pa.Table.from_pylist(rows, CHANGES), cursor)


def fact_page(*rows: Row, cursor: str = "f") -> FactPage:
    """A page of the fact feed."""
    found: dict[type[Row], list[dict[str, Any]]] = {Happened: [], Observed: [], Stated: [], Withdrawn: []}
    for row in rows:
        found[type(row)].append(_columns(row))
    return FactPage(
        events=pa.Table.from_pylist(found[Happened], EVENTS),
        observations=pa.Table.from_pylist(found[Observed], OBSERVATIONS),
        consents=pa.Table.from_pylist(found[Stated], CONSENTS),
        retractions=pa.Table.from_pylist(found[Withdrawn], RETRACTIONS),
        cursor=cursor,
    )


def _columns(row: Row) -> dict[str, Any]:
    columns = row._asdict()
    columns["id"] = key(row.number)
    columns["keys"] = [key(number) for number in columns.get("keys", ())]
    match row:
        case Happened(properties=properties, at=at):
            raw = properties if isinstance(properties, bytes) else orjson.dumps(properties)
            columns |= {"occurred_at": at, "properties": raw}
        case Observed(value=value, at=at):
            columns |= {"observed_at": at, "type": type_of(value), "value": json_of(value)}
        case Stated(at=at):
            columns |= {"stated_at": at}
        case Withdrawn():
            columns |= {"relation": "events"}
    return columns


def type_of(value: Any) -> str:
    """The type of a trait's value, as the feed names it."""
    return {bool: "boolean", str: "text", datetime: "time"}.get(type(value), "number")


def json_of(value: Any) -> str:
    """A trait's value as the feed writes it."""
    if isinstance(value, datetime):
        return f'"{value.replace(tzinfo=None).isoformat(timespec="microseconds")}Z"'
    return orjson.dumps(value).decode()


@pytest.fixture
def clock() -> Clock:
    """The clock of a segment service."""
    return Clock()


@dataclass(frozen=True)
class Upstream:
    """Identity and profile services that run as long as the tests do."""

    identity_address: str
    profile_address: str
    profile: ServiceClient


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def upstream(migrated: Callable[[str], str], workspace_key_file: Path) -> AsyncIterator[Upstream]:
    """The services that the segment service reads from."""
    async with AsyncExitStack() as stack:
        identity = IdentitySettings(
            database_url=migrated("sima_identity"),
            workspace_key_file=workspace_key_file,
            settle_seconds=0.1,
            feed_poll_seconds=SELDOM,
            plugins=None,
            most_identifiers=5_000,
            neighbourhood_limit=10_000,
        )
        identity_address = await _serve(stack, identity, identity_assembled(identity))
        profile = ProfileSettings(
            database_url=migrated("sima_profile"),
            workspace_key_file=workspace_key_file,
            identity_address=identity_address,
            feed_poll_seconds=SELDOM,
            traits=TRAITS,
        )
        profile_address = await _serve(stack, profile, profile_assembled(profile))
        client = ServiceClient("profile", profile_address, ClientSettings())
        stack.push_async_callback(client.close)
        yield Upstream(identity_address, profile_address, client)


@asynccontextmanager
async def started(upstream: Upstream, clock: Clock, workspace: str, **given: Any) -> AsyncIterator[World]:
    """A segment service that runs while the block does."""
    given |= {"identity_address": upstream.identity_address, "profile_address": upstream.profile_address}
    settings = SegmentSettings(traits=TRAITS, **given)
    async with AsyncExitStack() as stack:
        address = await _serve(stack, settings, assembled(settings, clock))
        segment = ServiceClient("segment", address, ClientSettings())
        stack.push_async_callback(segment.close)
        yield World(upstream.profile, segment, workspace, settings.data_dir)


async def _serve(stack: AsyncExitStack, settings: Any, assembling: Any) -> str:
    service = await stack.enter_async_context(assembling)
    serving = served(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close])
    return await stack.enter_async_context(serving)


@contextmanager
def segment_database(server: str) -> Iterator[str]:
    """A database of its own: a segment service follows every workspace that it finds in one."""
    name = f"sima_{uuid4().hex}"
    address = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(address, "sima_segment")
        yield address
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lasting(
    postgres_server: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A segment service that runs as long as the tests do; its clock stands still."""
    directory = tmp_path_factory.mktemp("segment")
    with segment_database(postgres_server) as address:
        async with started(upstream, Clock(), "", database_url=address, data_dir=directory) as running:
            yield running


@pytest.fixture
def world(lasting: World, workspace: str) -> World:
    """All three services, and a workspace that no other test has."""
    return replace(lasting, workspace=workspace)


StartSegment = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def start_segment(
    postgres_server: str, upstream: Upstream, workspace: str, clock: Clock, tmp_path: Path
) -> Iterator[StartSegment]:
    """Starts segment services of the test's own; they share clock and database, and the directory unless told."""
    with segment_database(postgres_server) as address:
        given = {"database_url": address, "data_dir": tmp_path / "segment", "tick_seconds": 0.2}

        def start(**changed: Any) -> AbstractAsyncContextManager[World]:
            return started(upstream, clock, workspace, **given | changed)

        yield start


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not await check():  # noqa: ASYNC110  # it can be anything that is seen from outside
            await asyncio.sleep(0.02)
