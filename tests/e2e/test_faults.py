"""Whatever is killed: every accepted fact is there exactly once, and people and segments are as if nothing had been.

Real processes on a PostgreSQL of their own, killed with SIGKILL in turn while 50,000 events come in over HTTP.
"""

import asyncio
import io
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import yaml
from sima.identity.v1.identity_service_pb2 import WatchProfileChangesRequest
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1.profile_service_pb2 import WatchFactsRequest
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1.segment_service_pb2 import (
    CreateSegmentRequest,
    ListMembersRequest,
    PreviewSegmentRequest,
    Segment,
)
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima_cli import health
from sima_cli.postgres import PostgresHandle, start_postgres
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import SimaError
from sima_runtime.migrations import migrate
from sima_runtime.settings import ClientSettings

from tests.ports import free_port

EVENTS = 50_000
BATCH = 500
PEOPLE = 2_000
SENDERS = 4
TOKEN = "only-in-tests"
WORKSPACES = ("disturbed", "calm")
SERVICES = ("identity", "profile", "segment")
VICTIMS = ("postgres", *SERVICES, "collector")
RULES = {
    "buyers": 'events("order_completed").exists()',
    "regulars": 'events("order_completed").count() >= 3 && events("page_viewed").within("30d").count() > 5',
    "spenders": 'events("order_completed").within("60d").sum("total") > 600.0 && traits.city == "Tehran"',
}
People = frozenset[frozenset[str]]


class Machine:
    """All of Sima's processes, each of which can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in (*SERVICES, "collector")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._postgres: PostgresHandle | None = None

    def address(self, name: str) -> str:
        """Where a service listens."""
        return f"127.0.0.1:{self.ports[name]}"

    def start(self, name: str) -> None:
        """Start a process, or start it again."""
        if name == "postgres":
            self._postgres = start_postgres(self.folder / "postgres")
            return
        with (self.folder / f"{name}.log").open("ab") as log:
            environment = {**os.environ, **self._environment(name)}
            command = [sys.executable, "-m", f"sima_{name}"]
            self._processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def start_all(self) -> None:
        """Start everything from nothing."""
        (self.folder / "workspace.key").write_text("ab" * 32)
        sources = [
            {"name": name, "workspace": name, "connector": "api", "secrets": {"token": {"value": TOKEN}}}
            for name in WORKSPACES
        ]
        (self.folder / "sources.yaml").write_text(yaml.safe_dump({"sources": sources}))
        self.start("postgres")
        assert self._postgres is not None
        for service in SERVICES:
            migrate(self._postgres.url, f"sima_{service}")
        for name in (*SERVICES, "collector"):
            self.start(name)

    def kill(self, name: str) -> None:
        """End a process at once, without a word of warning."""
        if name == "postgres":
            pid = int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            return
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self) -> None:
        """End everything in good order."""
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            process.wait(timeout=60)
        if self._postgres is not None:
            self._postgres.stop()

    def _environment(self, name: str) -> dict[str, str]:
        assert self._postgres is not None
        settings = {
            "DATABASE_URL": self._postgres.url,
            "LISTEN_ADDRESS": self.address(name),
            "WORKSPACE_KEY_FILE": str(self.folder / "workspace.key"),
            "IDENTITY_ADDRESS": self.address("identity"),
            "PROFILE_ADDRESS": self.address("profile"),
            "DATA_DIR": str(self.folder / name),
            "SOURCES_FILE": str(self.folder / "sources.yaml"),
            "DRAIN_SECONDS": "5",
        }
        return {f"SIMA_{name.upper()}_{setting}": value for setting, value in settings.items()}


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of its own."""
    folder = tmp_path_factory.mktemp("faults")
    for shared in (folder, *folder.parents[:2]):
        shared.chmod(0o755)  # PostgreSQL runs as another user when root starts it
    machine = Machine(folder)
    machine.start_all()
    yield machine
    machine.stop()


def items() -> Iterator[dict[str, Any]]:
    """The load: people with an account and a browser each, who look, buy and say where they live."""
    chance = random.Random(7)
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(EVENTS):
        person = chance.randrange(PEOPLE)
        name = chance.choice(["page_viewed", "page_viewed", "page_viewed", "order_completed"])
        yield {
            "message_id": f"m{number}",
            # Half a day from every edge of a window, so that no time passing in the test moves anybody.
            "occurred_at": (now - timedelta(days=chance.randrange(90), hours=12)).isoformat(),
            "identifiers": [
                {"kind": "user_id", "value": f"u{person}"},
                {"kind": "anonymous_id", "value": f"b{person}.{chance.randrange(3)}"},
            ],
            "event": {"name": name, "properties": {"total": chance.randrange(1, 200)}},
            "traits": [{"name": "city", "value": ["Riyadh", "Tehran", "Berlin"][person % 3]}],
        }


async def send(machine: Machine, workspace: str, each: Callable[[int], None]) -> None:
    """Send the load over HTTP, again and again until each batch is accepted; calls `each` with how many are."""
    everything = list(items())
    batches = iter([everything[at : at + BATCH] for at in range(0, EVENTS, BATCH)])
    done = Counter[str]()
    url = f"http://{machine.address('collector')}/in/{workspace}/batch"

    async def sender(client: httpx.AsyncClient) -> None:
        for batch in batches:
            while not await accepted(client, url, batch):  # noqa: ASYNC110 - nobody tells when it is back
                await asyncio.sleep(0.2)
            done["batches"] += 1
            each(done["batches"])

    async with asyncio.timeout(300), httpx.AsyncClient(timeout=30) as client:
        await asyncio.gather(*(sender(client) for _ in range(SENDERS)))


async def ready(machine: Machine) -> None:
    """Wait until the collector takes requests."""
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.TransportError):
                if (await client.get(f"http://{machine.address('collector')}/readyz")).is_success:
                    return
            await asyncio.sleep(0.1)


async def accepted(client: httpx.AsyncClient, url: str, batch: list[dict[str, Any]]) -> bool:
    """Whether the collector answered for a batch; it may be away, or full."""
    try:
        response = await client.post(url, json={"batch": batch}, headers={"authorization": f"Bearer {TOKEN}"})
    except httpx.TransportError:
        return False
    assert response.status_code in (200, 202, 503), response.text
    return response.status_code != 503


async def disturb(machine: Machine, reached: dict[int, asyncio.Event]) -> None:
    """Kill one process after the other while the load comes in, and start each again a moment later."""
    for victim, event in zip(VICTIMS, reached.values(), strict=True):
        await event.wait()
        machine.kill(victim)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(machine.start, victim)


class Reader:
    """Asks the services what they know of a workspace."""

    def __init__(self, machine: Machine, workspace: str) -> None:
        self._workspace = workspace
        settings = ClientSettings(client_timeout_seconds=60)
        self._clients = {name: ServiceClient(name, machine.address(name), settings) for name in SERVICES}

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    async def facts(self) -> list[bytes]:
        """The ids of all events."""
        client = self._clients["profile"]
        stub: Any = ProfileServiceStub(client.channel)
        found: list[bytes] = []
        request = WatchFactsRequest(until_now=True)
        async for page in client.stream(stub.WatchFacts, request, workspace=self._workspace):
            if page.events:
                table = pa.ipc.open_stream(io.BytesIO(page.events)).read_all()
                found += table.column("id").to_pylist()
        return found

    async def people(self) -> dict[str, set[str]]:
        """The identifiers of each profile."""
        client = self._clients["identity"]
        stub: Any = IdentityServiceStub(client.channel)
        profile_of: dict[str, str] = {}
        request = WatchProfileChangesRequest(until_now=True)
        async for page in client.stream(stub.WatchProfileChanges, request, workspace=self._workspace):
            profile_of |= {f"{one.identifier.kind}:{one.identifier.value}": one.profile_id for one in page.changes}
        people: dict[str, set[str]] = defaultdict(set)
        for identifier, profile in profile_of.items():
            people[profile].add(identifier)
        return people

    async def create_segments(self) -> None:
        """Create the segments before the first fact."""
        client = self._clients["segment"]
        stub: Any = SegmentServiceStub(client.channel)
        for name, rule in RULES.items():
            request = CreateSegmentRequest(segment=Segment(name=name, rule=rule))
            await client.call(stub.CreateSegment, request, workspace=self._workspace)

    async def follow(self) -> None:
        """Return when the segments show all that was accepted before this call."""
        client = self._clients["segment"]
        stub: Any = SegmentServiceStub(client.channel)
        await client.call(stub.PreviewSegment, PreviewSegmentRequest(rule=RULES["buyers"]), workspace=self._workspace)

    async def members(self, segment: str) -> set[str]:
        """The profile ids of a segment's members."""
        client = self._clients["segment"]
        stub: Any = SegmentServiceStub(client.channel)
        request = ListMembersRequest(name=segment, page_size=10_000)
        response = await client.call(stub.ListMembers, request, workspace=self._workspace)
        return {member.profile_id for member in response.members}


@pytest.fixture
async def readers(machine: Machine) -> AsyncIterator[dict[str, Reader]]:
    """A reader for each workspace."""
    found = {workspace: Reader(machine, workspace) for workspace in WORKSPACES}
    yield found
    for reader in found.values():
        await reader.close()


async def state(reader: Reader) -> tuple[int, People, dict[str, People]]:
    """What can be compared between workspaces: how many facts, who is one person, and who is in each segment."""
    facts = await reader.facts()
    assert len(facts) == len(set(facts))
    people = await reader.people()
    await reader.follow()
    segments = {name: frozenset(frozenset(people[profile]) for profile in await reader.members(name)) for name in RULES}
    return len(facts), frozenset(map(frozenset, people.values())), segments


async def settled(reader: Reader) -> tuple[int, People, dict[str, People]]:
    """The state once the buffer has drained and the segments have followed: all facts, and the same twice in a row."""
    last = None
    for _ in range(120):
        await asyncio.sleep(1)
        with suppress(SimaError):  # a service may still be starting
            now = await state(reader)
            if now == last and now[0] >= EVENTS:
                return now
            last = now
    raise AssertionError(f"{last[0] if last else 'no'} facts of {EVENTS} after two minutes")


@pytest.mark.slow
async def test_no_kill_loses_or_doubles_anything(machine: Machine, readers: dict[str, Reader]) -> None:
    """Every process is killed once during the load; facts, people and segments equal those of an undisturbed run."""
    await ready(machine)
    for service in SERVICES:
        await health.serves(machine.address(service))
    for reader in readers.values():
        await reader.create_segments()
    at = {(number + 1) * EVENTS // BATCH // (len(VICTIMS) + 1): asyncio.Event() for number in range(len(VICTIMS))}

    def reached(batches: int) -> None:
        if batches in at:
            at[batches].set()

    await asyncio.gather(send(machine, "disturbed", reached), disturb(machine, at))
    disturbed = await settled(readers["disturbed"])
    await send(machine, "calm", lambda _: None)
    calm = await settled(readers["calm"])
    assert disturbed[0] == EVENTS
    assert len(disturbed[1]) == PEOPLE
    assert all(calm[2].values())
    assert disturbed == calm
