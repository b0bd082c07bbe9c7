"""The identity service on real PostgreSQL and real gRPC, with any policy and any number of replicas."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity import applying, closing
from sima_identity.policy import Policy
from sima_identity.service import assembled
from sima_identity.settings import IdentitySettings
from sima_runtime.clients import ServiceClient
from sima_runtime.context import workspace_secret
from sima_runtime.database import Database
from sima_runtime.server import served
from sima_sdk.identifiers import BUILT_IN_KINDS

if TYPE_CHECKING:
    from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

    from .laws import Fixture

pytest.register_assert_rewrite("tests.identity.laws")

START = datetime(2026, 1, 1, tzinfo=UTC)
ANY = pb.SHARED_REASON_UNSPECIFIED
OpenDatabase = Callable[[str], Database]
Reason: TypeAlias = "pb.SharedReason.ValueType"


class Named(NamedTuple):
    """An identifier as a test writes it."""

    kind: str
    value: str


class Sighted(NamedTuple):
    """Identifiers that one message of a test shows."""

    identifiers: Sequence[Named]
    minute: int = 0
    source: str = "shop"
    message_id: str = ""


class State(NamedTuple):
    """What a reader of the feed knows of an identifier."""

    profile_id: str
    shared: bool
    blocked: bool


@dataclass
class Replica:
    """A running service, called as one workspace after the other."""

    client: ServiceClient
    stub: "IdentityServiceAsyncStub" = field(init=False)

    def __post_init__(self) -> None:
        self.stub = IdentityServiceStub(self.client.channel)

    async def resolve(self, workspace: str, sightings: Iterable[Sighted]) -> list[pb.ResolvedSet]:
        """Resolve what messages show."""
        request = pb.ResolveRequest(sets=map(identifier_set, sightings))
        response = await self.client.call(self.stub.Resolve, request, workspace=workspace, deadline=60)
        return list(response.results)

    async def lookup(self, workspace: str, wanted: Iterable[Named | str]) -> list[pb.LookupResult]:
        """Look up identifiers and profile ids."""
        request = pb.LookupRequest(keys=map(lookup_key, wanted))
        response = await self.client.call(self.stub.Lookup, request, workspace=workspace)
        return list(response.results)

    async def changes(
        self, workspace: str, cursor: str = "", *, standings_only: bool = False
    ) -> list[pb.ProfileChange]:
        """Everything in the feed behind a cursor."""
        request = pb.WatchProfileChangesRequest(cursor=cursor, until_now=True, standings_only=standings_only)
        pages = self.client.stream(self.stub.WatchProfileChanges, request, workspace=workspace, deadline=60)
        return [change async for page in pages for change in page.changes]

    async def list_changes(
        self, workspace: str, subject: Named | str, page_size: int = 0, page_token: str = ""
    ) -> pb.ListProfileChangesResponse:
        """One page of the changes of an identifier or a profile."""
        by = {"profile_id": subject} if isinstance(subject, str) else {"identifier": identifier(subject)}
        request = pb.ListProfileChangesRequest(**by, page_size=page_size, page_token=page_token)
        return await self.client.call(self.stub.ListProfileChanges, request, workspace=workspace)

    async def split(
        self, workspace: str, named: Iterable[Named], others: Iterable[Named] = (), **by: Any
    ) -> pb.Outcome:
        """Decide that identifiers are somebody else."""
        request = pb.SplitRequest(
            identifiers=map(identifier, named), others=map(identifier, others), deciding=deciding(**by)
        )
        return (await self.client.call(self.stub.Split, request, workspace=workspace, deadline=60)).outcome

    async def never(self, workspace: str, one: Named, other: Named, **by: Any) -> pb.Outcome:
        """Decide that two are not one person."""
        request = pb.NeverLinkRequest(identifier=identifier(one), other=identifier(other), deciding=deciding(**by))
        return (await self.client.call(self.stub.NeverLink, request, workspace=workspace, deadline=60)).outcome

    async def always(self, workspace: str, one: Named, other: Named, **by: Any) -> pb.Outcome:
        """Decide that two are one person."""
        request = pb.AlwaysLinkRequest(identifier=identifier(one), other=identifier(other), deciding=deciding(**by))
        return (await self.client.call(self.stub.AlwaysLink, request, workspace=workspace, deadline=60)).outcome

    async def withdraw(self, workspace: str, decision_id: str, **by: Any) -> pb.Outcome:
        """Take a decision back."""
        request = pb.WithdrawDecisionRequest(decision_id=decision_id, deciding=deciding(**by))
        return (await self.client.call(self.stub.WithdrawDecision, request, workspace=workspace, deadline=60)).outcome

    async def decisions(
        self, workspace: str, subject: Named | str, page_size: int = 0, page_token: str = ""
    ) -> pb.ListDecisionsResponse:
        """One page of the decisions about an identifier or a profile."""
        by = {"profile_id": subject} if isinstance(subject, str) else {"identifier": identifier(subject)}
        request = pb.ListDecisionsRequest(**by, page_size=page_size, page_token=page_token)
        return await self.client.call(self.stub.ListDecisions, request, workspace=workspace)

    async def explain(self, workspace: str, one: Named, other: Named) -> pb.ExplainLinkResponse:
        """Ask why two are one person, or are not."""
        request = pb.ExplainLinkRequest(identifier=identifier(one), other=identifier(other))
        return await self.client.call(self.stub.ExplainLink, request, workspace=workspace)

    async def graph(self, workspace: str, subject: Named | str) -> pb.GetProfileGraphResponse:
        """Ask for all that is known around a profile."""
        by = {"profile_id": subject} if isinstance(subject, str) else {"identifier": identifier(subject)}
        request = pb.GetProfileGraphRequest(**by)
        return await self.client.call(self.stub.GetProfileGraph, request, workspace=workspace)

    async def set_policy(self, workspace: str, rules: pb.IdentityPolicy, **by: Any) -> pb.PolicyVersion:
        """Set the policy."""
        own = {field: by.pop(field) for field in ("expected_version", "unless_in_force") if field in by}
        request = pb.SetIdentityPolicyRequest(policy=rules, deciding=deciding(**by), **own)
        return (await self.client.call(self.stub.SetIdentityPolicy, request, workspace=workspace)).policy

    async def policy(self, workspace: str, version: int = 0) -> pb.PolicyVersion:
        """Ask for the policy in force, or for an earlier one."""
        request = pb.GetIdentityPolicyRequest(version=version)
        return (await self.client.call(self.stub.GetIdentityPolicy, request, workspace=workspace)).policy

    async def preview_policy(
        self, workspace: str, rules: pb.IdentityPolicy, **how: Any
    ) -> list[pb.PreviewIdentityPolicyResponse]:
        """Try a policy out."""
        request = pb.PreviewIdentityPolicyRequest(policy=rules, **how)
        steps = self.client.stream(self.stub.PreviewIdentityPolicy, request, workspace=workspace, deadline=60)
        return [step async for step in steps]

    async def erase(
        self, workspace: str, named: Iterable[Named] = (), profile_id: str = "", **by: Any
    ) -> pb.EraseIdentifiersResponse:
        """Have identifiers erased."""
        request = pb.EraseIdentifiersRequest(
            identifiers=map(identifier, named), profile_id=profile_id, deciding=deciding(**by)
        )
        return await self.client.call(self.stub.EraseIdentifiers, request, workspace=workspace, deadline=60)

    async def erasures(self, workspace: str, size: int = 0) -> list[pb.Erasure]:
        """Who had identifiers erased, listed so many at a time."""
        pages = await self._pages(workspace, "ListErasures", pb.ListErasuresRequest(page_size=size))
        return [one for page in pages for one in page.erasures]

    async def as_known(
        self, workspace: str, wanted: Iterable[Named | str], moment: datetime
    ) -> list[pb.LookupAsKnownResult]:
        """Ask what a lookup would have answered at a moment."""
        known_at = Timestamp()
        known_at.FromDatetime(moment)
        request = pb.LookupAsKnownRequest(keys=map(lookup_key, wanted), known_at=known_at)
        response = await self.client.call(self.stub.LookupAsKnown, request, workspace=workspace, deadline=60)
        return list(response.results)

    async def as_of(self, workspace: str, wanted: Iterable[Named | str], moment: datetime) -> list[pb.LookupResult]:
        """Ask who was one person at a moment."""
        as_of = Timestamp()
        as_of.FromDatetime(moment)
        request = pb.LookupAsOfRequest(keys=map(lookup_key, wanted), as_of=as_of)
        response = await self.client.call(self.stub.LookupAsOf, request, workspace=workspace, deadline=60)
        return list(response.results)

    async def shared(self, workspace: str, reason: Reason = ANY, size: int = 0) -> list[pb.SharedIdentifier]:
        """All shared identifiers, listed so many at a time."""
        request = pb.ListSharedRequest(reason=reason, page_size=size)
        return [one for page in await self._pages(workspace, "ListShared", request) for one in page.identifiers]

    async def hubs(self, workspace: str, size: int = 0) -> list[pb.Hub]:
        """All hubs and those that may become some, listed so many at a time."""
        pages = await self._pages(workspace, "ListHubs", pb.ListHubsRequest(page_size=size))
        return [one for page in pages for one in page.hubs]

    async def growth(self, workspace: str, size: int = 0) -> list[pb.NoticedGrowth]:
        """Everything that grew suspiciously, listed so many at a time."""
        pages = await self._pages(workspace, "ListGrowth", pb.ListGrowthRequest(page_size=size))
        return [one for page in pages for one in page.growth]

    async def affiliations(self, workspace: str, subject: Named | str, size: int = 0) -> list[pb.Affiliation]:
        """What ties a person to companies, or a company to its people, listed so many at a time."""
        by = {"profile_id": subject} if isinstance(subject, str) else {"identifier": identifier(subject)}
        pages = await self._pages(workspace, "ListAffiliations", pb.ListAffiliationsRequest(page_size=size, **by))
        return [one for page in pages for one in page.affiliations]

    async def _pages(self, workspace: str, rpc: str, request: Any) -> list[Any]:
        pages: list[Any] = []
        while not pages or request.page_token:
            pages.append(await self.client.call(getattr(self.stub, rpc), request, workspace=workspace))
            request.page_token = pages[-1].next_page_token
        return pages

    async def states(self, workspace: str, named: Sequence[Named]) -> dict[Named, State]:
        """What lookups say about identifiers; unknown ones are absent."""
        found = await self.lookup(workspace, named) if named else []
        states = {}
        for wanted, result in zip(named, found, strict=True):
            own = [known for known in result.identifiers if same(known.identifier, wanted)]
            if own:
                states[wanted] = State(result.profile_id, own[0].shared, own[0].blocked)
        return states


StartServer = Callable[..., Awaitable[str]]
StartReplica = Callable[..., Awaitable[Replica]]
OpenClient = Callable[[str, str], ServiceClient]
Deploy = Callable[..., Awaitable["Deployed"]]
Secret = Callable[[str], bytes]


@pytest.fixture
def secret(workspace_key_file: Path) -> Callable[[str], bytes]:
    """Gives the secret of a workspace."""
    master = bytes.fromhex(workspace_key_file.read_text())
    return lambda workspace: workspace_secret(master, workspace)


@pytest.fixture
async def start_server(migrated: Callable[[str], str], workspace_key_file: Path) -> AsyncIterator[StartServer]:
    """Start a server with a policy and settings, and give its address; all servers of a test share one database."""
    async with AsyncExitStack() as stack:

        async def start(policy: Policy | None = None, **settings: object) -> str:
            given = {"database_url": migrated("sima_identity"), "workspace_key_file": workspace_key_file, **settings}
            configured = IdentitySettings(**given)  # type: ignore[arg-type]
            service = await stack.enter_async_context(assembled(configured, policy))
            serving = served(
                configured, [service.servicer], background=service.background, on_stop=[service.wakeups.close]
            )
            return await stack.enter_async_context(serving)

        yield start


@dataclass
class Deployed:
    """The service as it is deployed: one process, configured by its environment."""

    process: asyncio.subprocess.Process
    replica: Replica

    async def end(self, number: int) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return await self.process.wait()


@pytest.fixture
async def deploy(
    migrated: Callable[[str], str], workspace_key_file: Path, tmp_path: Path, open_client: OpenClient
) -> AsyncIterator[Deploy]:
    """Start processes `python -m sima_identity` with settings; what still runs after the test is killed."""
    deployed: list[Deployed] = []
    address_file = tmp_path / "address"
    common: dict[str, object] = {"database_url": migrated("sima_identity"), "workspace_key_file": workspace_key_file}
    common |= {"address_file": address_file, "metrics_address": "127.0.0.1:0"}

    async def start(**settings: object) -> Deployed:
        address_file.unlink(missing_ok=True)
        given = {f"SIMA_IDENTITY_{name.upper()}": str(value) for name, value in (common | settings).items()}
        environment = os.environ | given
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sima_identity", env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60):
            while not address_file.exists():  # noqa: ASYNC110  # a file rings no bell
                await asyncio.sleep(0.05)
        deployed.append(Deployed(process, Replica(open_client("identity", address_file.read_text()))))
        return deployed[-1]

    yield start
    for one in deployed:
        if one.process.returncode is None:
            await one.end(signal.SIGKILL)


@pytest.fixture
async def start_replica(start_server: StartServer, open_client: OpenClient) -> StartReplica:
    """Start a server and give a caller."""

    async def start(policy: Policy | None = None, **settings: object) -> Replica:
        return Replica(open_client("identity", await start_server(policy, **settings)))

    return start


@pytest.fixture
async def tight(
    start_replica: StartReplica, open_database: OpenDatabase, secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> "Fixture":
    """Two replicas that apply policies to two identifiers at a time."""
    from .laws import TIGHT, Fixture

    monkeypatch.setattr(applying, "_PORTION", 2)
    for name in ("_AT_FIRST", "_AT_ONCE"):  # neighbours of hubs are read one after the other
        monkeypatch.setattr(closing, name, 1)
    replicas = [await start_replica(TIGHT, settle_seconds=0.01) for _ in range(2)]
    return Fixture(replicas, open_database("identity"), secret)


@pytest.fixture
async def tiny(start_replica: StartReplica, open_database: OpenDatabase, secret: Secret) -> "Fixture":
    """Two replicas that leave all but the smallest neighbourhoods to the background."""
    from .laws import TIGHT, Fixture

    limits = {"neighbourhood_limit": 2, "settle_seconds": 0.01}
    replicas = [await start_replica(TIGHT, **limits), await start_replica(TIGHT, **limits)]
    return Fixture(replicas, open_database("identity"), secret)


@pytest.fixture
async def identity(start_replica: StartReplica) -> Replica:
    """One replica with the default policy."""
    return await start_replica()


def policy(most_identifiers: int = 5000, **limits: dict[str, int]) -> Policy:
    """The default policy, with other limits for some kinds."""
    kinds = {name: replace(kind, **limits.get(name, {})) for name, kind in BUILT_IN_KINDS.items()}  # type: ignore[arg-type]
    return Policy(kinds=kinds, most_identifiers=most_identifiers)


def mail(name: str) -> Named:
    """An e-mail address."""
    return Named("email", f"{name}@mail.example.com")


def user(name: str) -> Named:
    """A user id."""
    return Named("user_id", name)


def cookie(name: str) -> Named:
    """An anonymous id."""
    return Named("anonymous_id", name)


def device(name: str) -> Named:
    """A device id."""
    return Named("device_id", name)


def together(*identifiers: Named, minute: int = 0) -> Sighted:
    """What one message shows."""
    return Sighted(identifiers, minute)


def at(minute: int) -> datetime:
    """A minute of the test's calendar."""
    return START + timedelta(minutes=minute)


def deciding(
    actor: str = "ops", reason: str = "seen to be so", request_id: str = "", preview: bool = False
) -> pb.Deciding:
    """Who decides, by default in a call of its own."""
    return pb.Deciding(actor=actor, reason=reason, request_id=request_id or uuid4().hex, preview=preview)


def same(message: Identifier, named: Named) -> bool:
    """Whether an answered identifier is the named one; of a protected kind there is at most one in a profile."""
    return message.kind == named.kind and message.value in ("", named.value)


def identifier(named: Named) -> Identifier:
    """The message of an identifier."""
    return Identifier(kind=named.kind, value=named.value)


def identifier_set(sighted: Sighted) -> pb.IdentifierSet:
    """The message of what was seen together."""
    observed_at = Timestamp()
    observed_at.FromDatetime(at(sighted.minute))
    return pb.IdentifierSet(
        identifiers=map(identifier, sighted.identifiers),
        observed_at=observed_at,
        source=sighted.source,
        message_id=sighted.message_id,
    )


def lookup_key(wanted: Named | str) -> pb.LookupKey:
    """The message of what is looked up: an identifier, or a profile id."""
    if isinstance(wanted, str):
        return pb.LookupKey(profile_id=wanted)
    return pb.LookupKey(identifier=identifier(wanted))
