"""Starts the real profile service beside the real identity service, on loopback."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as identity_pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1 import profile_service_pb2 as pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.type.v1.fact_pb2 import Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.policy import Policy
from sima_identity.service import assembled as identity_assembled
from sima_identity.service import configured_policy
from sima_identity.settings import IdentitySettings
from sima_profile import following
from sima_profile.service import assembled
from sima_profile.settings import ProfileSettings
from sima_profile.survivorship import Survivorship, TraitPolicy
from sima_runtime.clients import ServiceClient
from sima_runtime.database import Database, fetch
from sima_runtime.migrations import migrate
from sima_runtime.server import served
from sima_runtime.settings import DatabaseSettings

#: Readers are woken; what they look for by themselves is a safety net, and each test leaves readers behind.
from tests.databases import fresh_database

SELDOM = 30.0
RELATIONS = ("events", "observations", "consents")
POLICIES = {
    "trusted": TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm", "shop")),
    "declared": TraitPolicy(Survivorship.DECLARED_FIRST),
    "interests": TraitPolicy(Survivorship.UNION),
}


class Stack:
    """An identity and a profile service over one database, as a caller of one workspace sees them."""

    def __init__(self, profile: ServiceClient, identity: ServiceClient, database: Database, workspace: str) -> None:
        self.client = profile
        self.identity = identity
        self.database = database
        self.workspace = workspace
        self.stub = ProfileServiceStub(profile.channel)

    def of(self, workspace: str) -> "Stack":
        """The same services for another workspace."""
        return Stack(self.client, self.identity, self.database, workspace)

    async def ingest(self, *facts: Fact) -> list[pb.IngestResult]:
        """Send facts in one batch."""
        response = await self.client.call(self.stub.Ingest, pb.IngestRequest(facts=facts), workspace=self.workspace)
        return list(response.results)

    async def profile(self, key: pb.ProfileKey) -> pb.Profile:
        """Ask for one profile."""
        request = pb.GetProfileRequest(key=key)
        return (await self.client.call(self.stub.GetProfile, request, workspace=self.workspace)).profile

    async def profiles(self, *keys: pb.ProfileKey) -> list[pb.BatchGetProfilesResult]:
        """Ask for many profiles."""
        request = pb.BatchGetProfilesRequest(keys=keys)
        response = await self.client.call(self.stub.BatchGetProfiles, request, workspace=self.workspace)
        return list(response.results)

    async def events(self, key: pb.ProfileKey, **fields: Any) -> pb.ListEventsResponse:
        """Ask for one page of a timeline."""
        request = pb.ListEventsRequest(key=key, **fields)
        return await self.client.call(self.stub.ListEvents, request, workspace=self.workspace)

    async def watch(self, cursor: str = "", page_size: int = 0) -> list[pb.WatchFactsResponse]:
        """Read the feed from a cursor until now."""
        request = pb.WatchFactsRequest(cursor=cursor, page_size=page_size, until_now=True)
        pages = self.client.stream(self.stub.WatchFacts, request, workspace=self.workspace)
        return [page async for page in pages]

    async def erase(self, *identifiers: Identifier) -> None:
        """Have identity erase identifiers."""
        deciding = identity_pb.Deciding(actor="ops", reason="asked for", request_id=uuid.uuid4().hex)
        request = identity_pb.EraseIdentifiersRequest(identifiers=identifiers, deciding=deciding)
        stub = IdentityServiceStub(self.identity.channel)
        await self.identity.call(stub.EraseIdentifiers, request, workspace=self.workspace)

    async def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Look into the database of the profile service; parameters are in order, or one mapping."""
        named = parameters[0] if parameters and isinstance(parameters[0], dict) else parameters
        async with self.database.statement() as connection:
            return await fetch(connection, query, named)

    async def settled(self) -> None:
        """Wait until the owners of facts have followed all that identity changed by now."""
        stub = IdentityServiceStub(self.identity.channel)
        request = identity_pb.WatchProfileChangesRequest(until_now=True, standings_only=True)
        pages = self.identity.stream(stub.WatchProfileChanges, request, workspace=self.workspace)
        last = [page.cursor async for page in pages][-1]
        query = """SELECT identity_cursor = %(last)s AND NOT EXISTS (
                SELECT FROM non_owners WHERE workspace = %(workspace)s AND rewritten_to IS NOT NULL)
            FROM workspaces WHERE workspace = %(workspace)s"""
        parameters = {"last": last, "workspace": self.workspace}
        while await self.rows(query, parameters) != [(True,)]:  # noqa: ASYNC110  # it is done beside
            await asyncio.sleep(0.01)


def email(name: str) -> Identifier:
    """An e-mail address."""
    return Identifier(kind="email", value=f"{name}@example.com")


def by(identifier: Identifier) -> pb.ProfileKey:
    """Ask by an identifier."""
    return pb.ProfileKey(identifier=identifier)


def at(seconds: float) -> Timestamp:
    """So many seconds after a day in 2026."""
    timestamp = Timestamp()
    timestamp.FromMicroseconds(1_770_000_000_000_000 + round(seconds * 1_000_000))
    return timestamp


def replayed(pages: list[pb.WatchFactsResponse]) -> dict[str, dict[bytes, dict[str, Any]]]:
    """What a reader holds who works off pages: first the retractions of a page, then its rows."""
    held: dict[str, dict[bytes, dict[str, Any]]] = {relation: {} for relation in RELATIONS}
    for page in pages:
        for retraction in records(page.retractions):
            held[retraction["relation"]].pop(retraction["id"], None)
        for relation in RELATIONS:
            for record in records(getattr(page, relation)):
                assert record["id"] not in held[relation], "a row came twice without being retracted"
                held[relation][record["id"]] = record
    return held


def records(data: bytes) -> list[dict[str, Any]]:
    """The rows of one Arrow stream."""
    rows: list[dict[str, Any]] = pa.ipc.open_stream(data).read_all().to_pylist() if data else []
    return rows


@asynccontextmanager
async def identity_started(settings: IdentitySettings, policy: Policy | None = None) -> AsyncIterator[str]:
    """An identity service that serves while the block runs; gives its address."""
    async with (
        identity_assembled(settings, policy or configured_policy(settings)) as service,
        served(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close]) as address,
    ):
        yield address


@asynccontextmanager
async def profile_started(settings: ProfileSettings) -> AsyncIterator[str]:
    """A profile service that serves while the block runs; gives its address."""
    async with (
        assembled(settings) as service,
        served(settings, [service.servicer], background=service.background, on_stop=[service.wakeups.close]) as address,
    ):
        yield address


@asynccontextmanager
async def client_of(service: str, address: str, settings: ProfileSettings) -> AsyncIterator[ServiceClient]:
    """A client of a service."""
    client = ServiceClient(service, address, settings)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def database_of(url: str) -> AsyncIterator[Database]:
    """The profile schema of a database."""
    database = Database(DatabaseSettings(database_url=url), "profile")
    try:
        yield database
    finally:
        await database.close()


def identity_settings(url: str, key_file: Path) -> IdentitySettings:
    """Settings of an identity service on a free port."""
    return IdentitySettings.model_validate(
        {"database_url": url, "workspace_key_file": key_file, "settle_seconds": 0.05, "feed_poll_seconds": SELDOM}
    )


def profile_settings(url: str, key_file: Path, identity_address: str) -> ProfileSettings:
    """Settings of a profile service on a free port."""
    return ProfileSettings(
        database_url=url,
        workspace_key_file=key_file,
        identity_address=identity_address,
        feed_poll_seconds=SELDOM,
        workspace_poll_seconds=0.1,
        owner_portion=3,
        client_timeout_seconds=60,
        traits=POLICIES,
    )


@asynccontextmanager
async def stack_started(url: str, key_file: Path, workspace: str) -> AsyncIterator[Stack]:
    """Both services over a migrated database."""
    async with identity_started(identity_settings(url, key_file)) as identity_address:
        settings = profile_settings(url, key_file, identity_address)
        async with (
            profile_started(settings) as address,
            client_of("profile", address, settings) as profile,
            client_of("identity", identity_address, settings) as identity,
            database_of(url) as database,
        ):
            yield Stack(profile, identity, database, workspace)


@pytest.fixture(scope="session")
def database_url(lasting_migrated: Callable[[str], str]) -> str:
    """Address of a database with the schemas of both services."""
    lasting_migrated("sima_identity")
    return lasting_migrated("sima_profile")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def installation(database_url: str, workspace_key_file: Path) -> AsyncIterator[Stack]:
    """Both services, for all tests: each has a workspace of its own."""
    async with stack_started(database_url, workspace_key_file, "nobody") as started:
        yield started


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shares the server may hold identity's feed back for a while; no test is about how long profile waits."""
    monkeypatch.setattr(following, "CATCH_UP_SECONDS", 60)
    monkeypatch.setattr(following, "_MOST_CATCH_UP_SECONDS", 60)


@pytest.fixture
def stack(installation: Stack, workspace: str) -> Stack:
    """Both services, in a workspace of its own."""
    return installation.of(workspace)


@pytest.fixture(scope="session")
def twin_url(postgres_server: str) -> Iterator[str]:
    """Address of a second database, for the same facts in another order."""
    with fresh_database(postgres_server) as url:
        for service in ("identity", "profile"):
            migrate(url, f"sima_{service}")
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def twin_installation(twin_url: str, workspace_key_file: Path) -> AsyncIterator[Stack]:
    """A second installation with the same secrets."""
    async with stack_started(twin_url, workspace_key_file, "nobody") as started:
        yield started


@pytest.fixture
def twin(twin_installation: Stack, workspace: str) -> Stack:
    """The same workspace, with the same secret, on a second installation."""
    return twin_installation.of(workspace)
