"""A plugin with connectors for tests, a profile service that keeps facts in memory, and collectors over both."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from sima.error.v1.field_violation_pb2 import FieldViolation
from sima.profile.v1.profile_service_pb2 import (
    INGEST_OUTCOME_ACCEPTED,
    INGEST_OUTCOME_DUPLICATE,
    INGEST_OUTCOME_REFUSED,
    IngestRequest,
    IngestResponse,
    IngestResult,
)
from sima.type.v1.fact_pb2 import Fact
from sima_collector.app import make_app
from sima_collector.service import Collector, running_collector
from sima_collector.settings import CollectorSettings

from tests.ports import free_port

CHANNELS = Path(__file__).parent / "channels" / "sima_test_channels.py"


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin for tests as an installed distribution."""
    folder = tmp_path_factory.mktemp("channels")
    shutil.copy(CHANNELS, folder)
    info = folder / "sima_test_channels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sima-test-channels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sima]\ntest_channels = sima_test_channels\n")
    return folder


@pytest.fixture
def installed(channels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin, installed for the processes that the test starts."""
    monkeypatch.setenv("PYTHONPATH", str(channels))
    return channels


@dataclass(eq=False)
class MemoryProfile:
    """Keeps facts in memory, each once, as the profile service does; and fails as it may.

    Attributes:
        facts: How often each message was accepted, by workspace and message id.
        calls: How many facts each call brought.
        refuse: Message ids of facts to refuse.
        erased: Message ids of facts about somebody who was erased.
        poison: Message ids of facts at which a call fails as a whole.
        odd: Message ids of facts of which no outcome is told.
        stuck: Message ids of facts at which a call never ends.
        most: Calls with more facts than these fail as too large; None: none does.
        failure: A code with which every call fails; None: none does.
        hold: While not set, calls wait.
        waiting: How many facts wait so.
    """

    facts: Counter[tuple[str, str]] = field(default_factory=Counter)
    received: list[Fact] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    most: int | None = None
    failure: grpc.StatusCode | None = None
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.hold.set()

    async def ingest(self, request: IngestRequest, context: Any) -> IngestResponse:
        """Store the facts."""
        self.waiting += len(request.facts)
        await self.hold.wait()
        self.waiting -= len(request.facts)
        if self.failure is not None:
            await context.abort(self.failure, "")
        if any(fact.message_id in self.poison for fact in request.facts):
            await context.abort(grpc.StatusCode.INTERNAL, "")
        if any(fact.message_id in self.stuck for fact in request.facts):
            await asyncio.Event().wait()
        if self.most is not None and len(request.facts) > self.most:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "")
        workspace = dict(context.invocation_metadata())["sima-workspace"]
        self.calls.append(len(request.facts))
        return IngestResponse(results=[self._store(workspace, fact) for fact in request.facts])

    def _store(self, workspace: str, fact: Fact) -> IngestResult:
        if fact.message_id in self.odd:
            return IngestResult()
        if fact.message_id in self.refuse:
            violation = FieldViolation(field="occurred_at", description="must not lie ahead")
            return IngestResult(outcome=INGEST_OUTCOME_REFUSED, violations=[violation])
        if fact.message_id in self.erased:
            violation = FieldViolation(field="identifiers", description="expected none that was erased")
            return IngestResult(outcome=INGEST_OUTCOME_REFUSED, violations=[violation], erased=True)
        known = (workspace, fact.message_id) in self.facts
        if not known:
            self.facts[workspace, fact.message_id] += 1
            self.received.append(fact)
        return IngestResult(outcome=INGEST_OUTCOME_DUPLICATE if known else INGEST_OUTCOME_ACCEPTED)

    def ids(self) -> list[str]:
        """The message ids of all stored facts, in the order in which they came."""
        return [fact.message_id for fact in self.received]


class ProfileSwitch:
    """A profile service that can be unplugged and plugged in again at the same address."""

    def __init__(self, servicer: MemoryProfile) -> None:
        self._servicer = servicer
        self._server: grpc.aio.Server | None = None
        self.address = f"127.0.0.1:{free_port()}"  # nobody else is given it while nothing is plugged in

    async def plug_in(self) -> None:
        """Serve."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(
            self._servicer.ingest, IngestRequest.FromString, IngestResponse.SerializeToString
        )
        service = grpc.method_handlers_generic_handler("sima.profile.v1.ProfileService", {"Ingest": handler})
        self._server.add_generic_rpc_handlers((service,))
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def unplug(self) -> None:
        """Stop serving at once."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None


@pytest.fixture
def profile() -> MemoryProfile:
    """What the profile service was told."""
    return MemoryProfile()


@pytest.fixture
async def switch(profile: MemoryProfile) -> AsyncIterator[ProfileSwitch]:
    """The profile service, plugged in."""
    switch = ProfileSwitch(profile)
    await switch.plug_in()
    yield switch
    await switch.unplug()


SOURCES: list[dict[str, Any]] = [
    {"name": "web", "workspace": "main", "connector": "lines"},
    {"name": "signed", "workspace": "main", "connector": "lines", "secrets": {"signing": {"value": "s3cret"}}},
    {"name": "closed", "workspace": "main", "connector": "lines", "keep_rejected": False},
    {"name": "branch", "workspace": "other", "connector": "lines", "default_region": "SA"},
    {"name": "files", "workspace": "main", "connector": "rows", "secrets": {"import_token": {"value": "let-me"}}},
]


@pytest.fixture
def settings(
    switch: ProfileSwitch, installed: Path, workspace_key_file: Path, tmp_path: Path
) -> Callable[..., CollectorSettings]:
    """Make settings of a collector on a fresh directory; keyword arguments replace single ones."""
    (tmp_path / "sources.json").write_text(json.dumps({"sources": SOURCES}))

    def make(**changed: Any) -> CollectorSettings:
        values: dict[str, Any] = {
            "profile_address": switch.address,
            "sources_file": tmp_path / "sources.json",
            "workspace_key_file": workspace_key_file,
            "data_dir": tmp_path / "data",
            "payload_seconds": 10.0,  # a machine that stands still for a moment must refuse nothing
            "workers": 2,
            "drain_seconds": 5.0,
            **changed,
        }
        return CollectorSettings(**values)

    return make


@dataclass(frozen=True)
class Door:
    """A collector within the test's process, and a client of its HTTP side."""

    collector: Collector
    client: httpx.AsyncClient

    async def send(self, body: str | bytes, source: str = "web", **headers: str) -> httpx.Response:
        """Post a payload to a source."""
        return await self.client.post(f"/in/{source}", content=body, headers=headers)

    async def refusals(self, **query: str) -> list[dict[str, Any]]:
        """What was refused, newest first."""
        answer = await self.client.get("/refusals", params=query)
        assert answer.status_code == 200
        return list(answer.json()["refusals"])


OpenDoor = Callable[[CollectorSettings], Awaitable[Door]]


@pytest.fixture
async def open_door() -> AsyncIterator[OpenDoor]:
    """Start a collector within the test's process; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(settings: CollectorSettings) -> Door:
            return await stack.enter_async_context(opened(settings))

        yield start


@asynccontextmanager
async def opened(settings: CollectorSettings) -> AsyncIterator[Door]:
    """A collector for the time of a block."""
    async with running_collector(settings) as collector:
        transport = httpx.ASGITransport(make_app(collector), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            yield Door(collector, client)


@pytest.fixture
async def door(settings: Callable[..., CollectorSettings], open_door: OpenDoor) -> Door:
    """A collector with the usual settings."""
    return await open_door(settings())


@dataclass(eq=False)
class CollectorProcess:
    """A collector as a process of its own.

    Attributes:
        settings: What it is told.
        errors: Where its log is written.
    """

    settings: CollectorSettings
    errors: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its address, `host:port`."""
        assert self.settings.address_file is not None
        return self.settings.address_file.read_text()

    async def start(self) -> None:
        """Start it and wait until it serves."""
        assert self.settings.address_file is not None
        self.settings.address_file.unlink(missing_ok=True)
        given = self.settings.model_dump(exclude_none=True, exclude_defaults=True)
        variables = {f"SIMA_COLLECTOR_{name.upper()}": str(value) for name, value in given.items()}
        command = [sys.executable, "-m", "sima_collector"]
        with self.errors.open("ab") as errors:
            self.process = await asyncio.to_thread(
                subprocess.Popen, command, env={**os.environ, **variables}, stderr=errors, start_new_session=True
            )
        await eventually(lambda: self._serves() or self.code() is not None, 60)
        assert self.code() is None, self.errors.read_text()

    def _serves(self) -> bool:
        return self.settings.address_file is not None and self.settings.address_file.exists()

    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self.process is None else self.process.poll()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait until it ended, and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 60)

    def workers(self) -> list[int]:
        """The processes that it started and that still run."""
        assert self.process is not None
        return [child for child in processes() if f"\nPPid:\t{self.process.pid}\n" in status(child)]


def processes() -> list[int]:
    """The numbers of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def status(pid: int) -> str:
    """What the kernel tells of a process; empty if it is gone or a mere entry."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    return "" if "\nState:\tZ" in text else text


@pytest.fixture
async def spawn(
    settings: Callable[..., CollectorSettings], tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[CollectorProcess]]]:
    """Start a collector as a process of its own; it is killed with the test."""
    started: list[CollectorProcess] = []

    async def start(**changed: Any) -> CollectorProcess:
        made = CollectorProcess(settings(address_file=tmp_path / "address", **changed), tmp_path / "log")
        started.append(made)
        await made.start()
        return made

    yield start
    for one in started:
        if one.code() is None:
            await one.end(signal.SIGKILL)


async def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds; fails if it never does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def dozes(plugin: Path, worker: int) -> bool:
    """Whether a worker process has begun with a payload that makes it doze."""
    return (plugin / f"dozing-{worker}").exists()
