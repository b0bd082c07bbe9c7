"""A servicer whose methods a test chooses, served for real over loopback; and a schema with one feed."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from sima.identity.v1.identity_service_pb2 import (
    DESCRIPTOR,
    ListProfileChangesRequest,
    ListProfileChangesResponse,
    LookupRequest,
    LookupResponse,
    ResolveRequest,
    ResolveResponse,
    WatchProfileChangesRequest,
    WatchProfileChangesResponse,
)
from sima.identity.v1.identity_service_pb2_grpc import (
    IdentityServiceServicer,
    IdentityServiceStub,
    add_IdentityServiceServicer_to_server,
)
from sima_runtime.clients import ServiceClient
from sima_runtime.context import current
from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Database, Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH, FEED_TABLES, begin_epoch
from sima_runtime.feeds import FEED_COLUMNS, FEED_ORDER, FEED_RANGE, Feed, Rows, feed_parameters
from sima_runtime.logs import configure_logs
from sima_runtime.server import Servicer, served
from sima_runtime.settings import ClientSettings, DatabaseSettings, FeedSettings, ServiceSettings
from sima_runtime.wakeups import Wakeups

LONG = 60.0  # seconds after which a test that waits has failed
SERVICE = DESCRIPTOR.services_by_name["IdentityService"].full_name


@dataclass
class Told(IdentityServiceServicer):
    """Does what a test told it to: `resolve` is called for Resolve, `watch` yields the cursors of a stream."""

    resolve: Callable[[], Awaitable[None]] | None = None
    watch: Callable[[], AsyncIterator[str]] | None = None
    workspaces: list[str] = field(default_factory=list)

    async def Resolve(self, request: ResolveRequest, context: Any) -> ResolveResponse:  # noqa: N802
        """Do as told."""
        self.workspaces.append(current().workspace)
        if self.resolve is not None:
            await self.resolve()
        return ResolveResponse()

    async def Lookup(self, request: LookupRequest, context: Any) -> LookupResponse:  # noqa: N802
        """Answer nothing."""
        self.workspaces.append(current().workspace)
        return LookupResponse()

    async def ListProfileChanges(self, request: ListProfileChangesRequest, context: Any) -> ListProfileChangesResponse:  # noqa: N802
        """Answer nothing."""
        self.workspaces.append(current().workspace)
        return ListProfileChangesResponse()

    async def WatchProfileChanges(  # noqa: N802
        self, request: WatchProfileChangesRequest, context: Any
    ) -> AsyncIterator[WatchProfileChangesResponse]:
        """Yield as told."""
        self.workspaces.append(current().workspace)
        assert self.watch is not None
        async for cursor in self.watch():
            yield WatchProfileChangesResponse(cursor=cursor)

    async def Split(self, request: Any, context: Any) -> Any:  # noqa: N802
        """No test asks for this, nor for the others."""
        raise NotImplementedError

    NeverLink = AlwaysLink = WithdrawDecision = ListDecisions = ExplainLink = GetProfileGraph = Split
    GetIdentityPolicy = SetIdentityPolicy = EraseIdentifiers = ListErasures = Split

    async def PreviewIdentityPolicy(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """No test asks for this."""
        for never in list[str]():
            yield never

    LookupAsKnown = LookupAsOf = ListShared = ListHubs = ListGrowth = ListAffiliations = Split


@dataclass
class Served:
    """A served `Told`: its address, and a client of it."""

    told: Told
    address: str
    client: ServiceClient
    stub: Any


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `check` holds; a test that waits too long has failed."""
    async with asyncio.timeout(LONG):
        while True:
            if await check():
                return
            await asyncio.sleep(0.01)


ServeTold = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve_told() -> AsyncIterator[ServeTold]:
    """Serve a `Told` with given server and client settings; drained and closed after the test."""
    async with AsyncExitStack() as stack:

        async def serve(
            told: Told | None = None, settings: ServiceSettings | None = None, client: ClientSettings | None = None
        ) -> Served:
            told = told or Told()
            servicers = [Servicer(SERVICE, add_IdentityServiceServicer_to_server, told)]
            settings = settings or ServiceSettings(drain_seconds=0.1)
            address = await stack.enter_async_context(served(settings, servicers))
            connection = ServiceClient("identity", address, client or ClientSettings(client_timeout_seconds=60))
            stack.push_async_callback(connection.close)
            return Served(told, address, connection, IdentityServiceStub(connection.channel))

        yield serve


@dataclass
class Numbers:
    """A schema with one feed of numbers."""

    database: Database
    wakeups: Wakeups
    feed: Feed
    page_size: int = 100

    def tune(self, **settings: float) -> None:
        """Read the feed with other settings."""
        self.feed = Feed("numbers", self.database, self.wakeups, FeedSettings(**settings))

    async def write(self, connection: Driver, workspace: str, *numbers: int) -> None:
        """Append numbers in the transaction of `connection`, and wake the readers when it commits."""
        for number in numbers:
            statement = f"INSERT INTO numbers (workspace, number, epoch) VALUES (%s, %s, {CURRENT_EPOCH})"
            await execute(connection, statement, (workspace, number))
        await execute(connection, "SELECT pg_notify('numbers', %s)", (workspace,))

    def read(self, workspace: str) -> Callable[[Cursor, Horizon], Awaitable[Rows[list[int]]]]:
        """The query of a reader of one workspace."""

        async def page(after: Cursor, horizon: Horizon) -> Rows[list[int]]:
            query = f"""SELECT number, epoch, xid, seq FROM numbers WHERE workspace = %(workspace)s AND {FEED_RANGE}
                ORDER BY {FEED_ORDER} LIMIT {self.page_size}"""
            async with self.database.statement() as connection:
                rows = await fetch(connection, query, {"workspace": workspace, **feed_parameters(after, horizon)})
            last = Cursor(*rows[-1][1:]) if rows else None
            return Rows([row[0] for row in rows], last, full=len(rows) == self.page_size)

        return page

    async def until_now(self, workspace: str, cursor: str = "") -> tuple[list[int], str]:
        """Everything committed so far behind a cursor, and the cursor behind it."""
        numbers: list[int] = []
        async for page in self.feed.pages(cursor, self.read(workspace), workspace=workspace, until_now=True):
            numbers += page.items
            cursor = page.cursor
        return numbers, cursor


@pytest.fixture
async def numbers(postgres_url: str) -> AsyncIterator[Numbers]:
    """A schema of this test alone, with an empty feed of numbers; its epoch is the first."""
    schema = f"numbers_{uuid.uuid4().hex}"
    database = Database(DatabaseSettings(database_url=postgres_url), schema)
    async with database.transaction() as connection:
        await execute(connection, f"CREATE SCHEMA {schema}")
        for statement in FEED_TABLES:
            await execute(connection, statement)
        await execute(connection, f"CREATE TABLE numbers (workspace text, number integer, {FEED_COLUMNS})")
        await execute(connection, "CREATE INDEX ON numbers (workspace, epoch, xid, seq)")
    await begin_epoch(database)
    wakeups = Wakeups(database, ["numbers"])
    numbers = Numbers(database, wakeups, Feed("numbers", database, wakeups, FeedSettings()))
    numbers.tune(feed_poll_seconds=0.05, feed_heartbeat_seconds=60)
    yield numbers
    await database.close()


LogLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_lines(capsys: pytest.CaptureFixture[str]) -> Iterator[LogLines]:
    """Log as in production, and read what was logged since the last time."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("info", "test")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    configure_logs("warning", "tests")
    root.handlers[:], root.level = handlers, level
