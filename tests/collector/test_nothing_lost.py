"""The law of the collector: what was acknowledged is stored exactly once, or refused and kept; whatever happens.

Real processes throughout: the collector with its workers, the profile and identity services, PostgreSQL.
"""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sima.profile.v1.profile_service_pb2 import WatchFactsRequest
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima_collector.settings import CollectorSettings
from sima_identity.service import assembled as identity_assembled
from sima_identity.service import configured_policy
from sima_identity.settings import IdentitySettings
from sima_profile.service import assembled as profile_assembled
from sima_profile.settings import ProfileSettings
from sima_runtime.clients import ServiceClient
from sima_runtime.context import new_request_id
from sima_runtime.server import served
from sima_runtime.settings import ClientSettings

from tests.collector.conftest import CollectorProcess, eventually
from tests.ports import free_port

REFUSED_WHOLE = {"loop": 422, "crash": 422, "fail": 422, "{malformed": 400}
STEPS = ["good", "good", "good", "mixed", *REFUSED_WHOLE, "cut", "mend", "kill", "pause"]


class Wire:
    """Carries bytes between the collector and the profile service, and can be cut at any byte."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = free_port()

    async def mend(self) -> None:
        """Connect both ends."""
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Disconnect them, also in the middle of a call."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, onward = await asyncio.open_connection(self._host, int(self._port))
        for reader, writer in ((near, onward), (far, back)):
            task = asyncio.create_task(self._copy(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@dataclass
class Payload:
    """What is sent: its facts, the parts that are none, all of it; and what was answered, 0 if nothing was yet."""

    facts: list[int]
    refused: list[str]
    body: str
    status: int = 0


@dataclass
class Course:
    """One run: what was sent to a collector while things happened to it."""

    collector: CollectorProcess
    wire: Wire
    payloads: list[Payload] = field(default_factory=list)
    sending: list[asyncio.Task[None]] = field(default_factory=list)
    number: int = 0

    async def step(self, kind: str) -> None:
        """Let something happen; payloads are sent beside what follows."""
        if kind == "cut":
            await self.wire.cut()
        elif kind == "mend":
            await self.wire.mend()
        elif kind == "pause":
            await asyncio.sleep(1.0)
        elif kind == "kill":
            await self.collector.end(signal.SIGKILL)
            await self.collector.start()
        else:
            self.payloads.append(self._payload(kind))
            self.sending.append(asyncio.create_task(self._send(self.payloads[-1])))
            await asyncio.sleep(0.05)

    def _payload(self, kind: str) -> Payload:
        facts = list(range(self.number, self.number + 20))
        self.number += 20
        if kind in REFUSED_WHOLE:
            return Payload([], [], f"{kind}\n{facts[0]}")
        refused = [f"bad {facts[0]}"] if kind == "mixed" else []
        return Payload(facts, refused, "\n".join([*map(str, facts), *refused]))

    async def _send(self, payload: Payload) -> None:
        """Send until there is an answer, as channels do; remember what was answered first."""
        while payload.status in (0, 503):
            with suppress(httpx.HTTPError, OSError):
                async with httpx.AsyncClient(base_url=f"http://{self.collector.address}", timeout=60) as client:
                    payload.status = (await client.post("/in/web", content=payload.body)).status_code
            await asyncio.sleep(0.1)

    async def end(self) -> None:
        """Wait for all answers, mend everything, and let the buffer run empty."""
        await asyncio.wait_for(asyncio.gather(*self.sending), 120)
        await self.wire.mend()
        assert await self.collector.end(signal.SIGTERM) == 0
        await self.collector.start()
        await eventually(self._drained, 60)

    def _drained(self) -> bool:
        answer = httpx.get(f"http://{self.collector.address}/metrics", timeout=60).text
        return 'sima_collector_room_used_bytes{room="buffer"} 0.0' in answer.replace(
            'otel_scope_name="sima.collector",otel_scope_schema_url="",otel_scope_version="",', ""
        )

    def refusals(self) -> set[str]:
        """The raw payloads that the collector keeps as refused."""
        answer = httpx.get(f"http://{self.collector.address}/refusals", params={"page_size": "1000"}, timeout=60).json()
        return {one["raw"] for one in answer["refusals"]}


@asynccontextmanager
async def real_profile(migrated: Callable[[str], str], key_file: Path) -> AsyncIterator[str]:
    """The real profile service over the real identity service; gives its address."""
    identity = IdentitySettings.model_validate(
        {"database_url": migrated("sima_identity"), "workspace_key_file": key_file}
    )
    async with (
        identity_assembled(identity, configured_policy(identity)) as one,
        served(identity, [one.servicer], background=one.background, on_stop=[one.wakeups.close]) as identity_address,
    ):
        profile = ProfileSettings.model_validate(
            {
                "database_url": migrated("sima_profile"),
                "workspace_key_file": key_file,
                "identity_address": identity_address,
            }
        )
        async with (
            profile_assembled(profile) as other,
            served(profile, [other.servicer], background=other.background, on_stop=[other.wakeups.close]) as address,
        ):
            yield address


async def stored(address: str, workspace: str) -> Counter[int]:
    """How often each fact is stored, by its number."""
    client = ServiceClient("profile", address, ClientSettings(client_timeout_seconds=60))
    request = WatchFactsRequest(until_now=True)
    found: Counter[int] = Counter()
    async for page in client.stream(ProfileServiceStub(client.channel).WatchFacts, request, workspace=workspace):
        rows: list[dict[str, Any]] = pa.ipc.open_stream(page.events).read_all().to_pylist() if page.events else []
        found.update(json.loads(row["properties"])["number"] for row in rows)
    await client.close()
    return found


@pytest.fixture
async def profile_address(migrated: Callable[[str], str], workspace_key_file: Path) -> AsyncIterator[str]:
    """Address of the real profile service."""
    async with real_profile(migrated, workspace_key_file) as address:
        yield address


@pytest.mark.slow
@given(steps=st.lists(st.sampled_from(STEPS), min_size=5, max_size=14))
@example(steps=["good", "cut", "good", "mixed", "pause", "kill", "good", "loop", "crash", "mend", "good", "kill"])
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_nothing_is_lost_and_nothing_is_doubled(
    steps: list[str],
    profile_address: str,
    installed: Path,
    workspace_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Good and bad payloads, hanging and crashing parsers, a line that is cut, a collector that is killed."""
    folder = tmp_path_factory.mktemp("course")
    workspace = f"w{new_request_id()}"
    sources = {"sources": [{"name": "web", "workspace": workspace, "connector": "lines"}]}
    (folder / "sources.json").write_text(json.dumps(sources))
    wire = Wire(profile_address)
    await wire.mend()
    told = CollectorSettings(
        profile_address=f"127.0.0.1:{wire.port}",
        sources_file=folder / "sources.json",
        workspace_key_file=workspace_key_file,
        data_dir=folder / "data",
        address_file=folder / "address",
        payload_seconds=5.0,
    )
    course = Course(CollectorProcess(told, folder / "log"), wire)
    await course.collector.start()
    try:
        for kind in steps:
            await course.step(kind)
        await course.end()
        found, refusals = await stored(profile_address, workspace), course.refusals()
    finally:
        await course.collector.end(signal.SIGKILL)
        await wire.cut()
    check(course.payloads, found, refusals)


def check(payloads: list[Payload], found: Counter[int], refusals: set[str]) -> None:
    """Compare what was answered with what is there."""
    assert max(found.values(), default=1) == 1
    assert set(found) <= {number for payload in payloads for number in payload.facts}
    for payload in payloads:
        whole = REFUSED_WHOLE.get(payload.body.splitlines()[0])
        assert payload.status == (whole or 200)
        assert found.keys() >= set(payload.facts)
        assert refusals >= ({payload.body} if whole else set(payload.refused))
