"""Everything on one machine: PostgreSQL, the migrations, the three services and the collector."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_urlsafe

import grpc
import grpc.aio
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sima_collector.sources import IMPORT_TOKEN, read_sources
from sima_runtime.migrations import migrate

from sima_cli.folder import Folder, Running, write_private
from sima_cli.guard import born
from sima_cli.postgres import start_postgres
from sima_cli.processes import Nursery, nursery, reserved_addresses
from sima_cli.sample.sources import sources_yaml

SERVICES = ("identity", "profile", "segment")
_WORKSPACE = "main"
_PAUSE_SECONDS = 0.05
_DRAIN_SECONDS = "3"
_IMPATIENT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]

#: Called with what is being done, for the people who wait.
Tell = Callable[[str], None]


@asynccontextmanager
async def running_stack(folder: Folder, data: Path, sources: Path, tell: Tell) -> AsyncIterator[Running]:
    """Run everything while the block runs, and end it when the block ends.

    Args:
        folder: Where others find what runs, and where the logs are.
        data: Where the databases are.
        sources: File with the sources that the collector serves.
        tell: Hears what is being done.

    Raises:
        CommandError: Something runs in that folder already.
        CrashedError: A process ended by itself.
    """
    folder.refuse_second()
    async with nursery(folder.logs) as ours:
        running = await _start(ours, folder, data, sources, tell)
        folder.announce(running)
        try:
            yield running
        finally:
            tell("Stopping")
            folder.withdraw()


def own_sources(folder: Folder) -> Path:
    """Return the sources file of the data directory; if there is none, it is made with the channels of the sample."""
    if not folder.sources.exists():
        write_private(folder.sources, sources_yaml(_WORKSPACE, token_urlsafe()))
    return folder.sources


async def _start(ours: Nursery, folder: Folder, data: Path, sources: Path, tell: Tell) -> Running:
    tell("Starting PostgreSQL")
    database_url = await asyncio.to_thread(_start_database, ours, data / "postgres")
    tell("Creating the tables")
    await asyncio.to_thread(_migrate, database_url)
    tell("Starting identity, profile, segment and collector")
    with reserved_addresses(len(SERVICES) + 1) as addresses:
        running = _running(addresses, sources)
        for name, environment in _environments(running, folder, data, database_url, sources).items():
            await ours.start(name, ["-m", f"sima_{name}"], environment)
        await _all_answer(running)
    return running


def _start_database(ours: Nursery, directory: Path) -> str:
    directory.parent.mkdir(exist_ok=True)
    handle = start_postgres(directory)
    postmaster = int((directory / "postmaster.pid").read_text().split()[0])
    ours.guard.watch(postmaster, ask_with=signal.SIGINT, group=False)  # PostgreSQL's "fast" way of ending
    return handle.url


def _migrate(database_url: str) -> None:
    for service in SERVICES:
        migrate(database_url, f"sima_{service}")


def _running(addresses: list[str], sources: Path) -> Running:
    identity, profile, segment, collector = addresses
    configured = read_sources(sources)
    return Running(
        pid=os.getpid(),
        born=born(os.getpid()),
        identity=identity,
        profile=profile,
        segment=segment,
        collector=f"http://{collector}",
        workspace=next((source.workspace for source in configured.values()), _WORKSPACE),
        import_tokens={
            name: one.source.secrets[IMPORT_TOKEN]
            for name, one in configured.items()
            if IMPORT_TOKEN in one.source.secrets
        },
    )


def _environments(
    running: Running, folder: Folder, data: Path, database_url: str, sources: Path
) -> Mapping[str, Mapping[str, str]]:
    """Return the settings of each service, in the order in which they are started."""
    common = {
        "DATABASE_URL": database_url,
        "WORKSPACE_KEY_FILE": str(folder.workspace_key),
        "DRAIN_SECONDS": _DRAIN_SECONDS,
        "IDENTITY_ADDRESS": running.identity,
        "PROFILE_ADDRESS": running.profile,
    }
    own = {
        "identity": {"LISTEN_ADDRESS": running.identity},
        "profile": {"LISTEN_ADDRESS": running.profile},
        "segment": {"LISTEN_ADDRESS": running.segment, "DATA_DIR": str(data / "segment")},
        "collector": {
            "LISTEN_ADDRESS": running.collector.removeprefix("http://"),
            "DATA_DIR": str(data / "collector"),
            "SOURCES_FILE": str(sources),
        },
    }
    return {
        name: {f"SIMA_{name.upper()}_{setting}": value for setting, value in {**common, **settings}.items()}
        for name, settings in own.items()
    }


async def _all_answer(running: Running) -> None:
    """Wait until every service says that it serves."""
    await asyncio.gather(
        *(_serves(getattr(running, service)) for service in SERVICES),
        _ready(running.collector),
    )


async def _serves(address: str) -> None:
    request = health_pb2.HealthCheckRequest()
    async with grpc.aio.insecure_channel(address, _IMPATIENT) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        async for answer in health.Watch(request, wait_for_ready=True):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


async def _ready(collector: str) -> None:
    async with httpx.AsyncClient(base_url=collector) as client:
        while True:
            try:
                if (await client.get("/readyz")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(_PAUSE_SECONDS)
            await asyncio.sleep(_PAUSE_SECONDS)
