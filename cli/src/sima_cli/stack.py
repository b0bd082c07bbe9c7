"""Everything on one machine: PostgreSQL, the migrations, the three services and the collector."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from threading import Event

from sima_collector.sources import IMPORT_TOKEN, read_sources
from sima_runtime.migrations import migrate

from sima_cli import health
from sima_cli.config import RulesFile
from sima_cli.folder import Folder, Running, Tell, make_private, write_private
from sima_cli.guard import born
from sima_cli.postgres import start_postgres
from sima_cli.processes import HOST, Nursery, is_free, nursery, reserved_addresses
from sima_cli.ruling import put_in_force
from sima_cli.sample.sources import sources_yaml

SERVICES = ("identity", "profile", "segment")
_WORKSPACE = "main"
_DRAIN_SECONDS = "3"
#: For segment, as in its manifest: DuckDB takes thousands of small pieces of memory to plan a statement, and so glibc
#: keeps more of them at hand; see docs/operating.md.
ALLOCATION = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=8000"}
_CATCH_UP_SECONDS = "30"  # on one machine it is better to wait for a while than to see half of what was just sent


@dataclass(frozen=True, slots=True)
class Setup:
    """What to start.

    Attributes:
        folder: Where others find what runs, and where the logs are.
        data: Where the databases are.
        sources: File with the sources that the collector serves.
        lock: What `Folder.alone` gave; None where nobody else comes.
        rules: By what the workspace wants its people told apart; None: as was said last.
    """

    folder: Folder
    data: Path
    sources: Path
    lock: int | None = None
    rules: RulesFile | None = None


@asynccontextmanager
async def running_stack(setup: Setup, tell: Tell) -> AsyncIterator[Running]:
    """Run everything while the block runs, and end it when the block ends. Nothing else may run there meanwhile.

    Raises:
        CrashedError: A process ended by itself.
        MisconfiguredError: Settings or the sources file have mistakes.
        SimaError: Identity refuses the rules.
    """
    async with nursery(setup.folder.logs, lock=setup.lock) as ours:
        try:
            running = await _start(ours, setup, tell)
            if setup.rules:
                tell(await put_in_force(setup.rules, running))
            setup.folder.announce(running)
            yield running
        finally:
            tell("Stopping")
            setup.folder.withdraw()


def own_sources(folder: Folder) -> Path:
    """Return the sources file of a data directory; if there is none, it is made with the channels of the sample."""
    if not folder.sources.exists():
        write_private(folder.sources, sources_yaml(_WORKSPACE, token_urlsafe()))
    return folder.sources


async def _start(ours: Nursery, setup: Setup, tell: Tell) -> Running:
    tell("Starting PostgreSQL")
    database_url, postmaster = await _started_database(ours, setup.data / "postgres")
    ours.keep_an_eye_on("PostgreSQL", postmaster, setup.data / "postgres" / "log")
    tell("Creating the tables")
    await asyncio.to_thread(_migrate, database_url)
    make_private(_projections(setup))  # the files that segment makes there are as readable as any other
    tell("Starting identity, profile, segment and collector")
    with reserved_addresses(len(SERVICES)) as addresses:
        listening = dict(zip(SERVICES, addresses, strict=True))
        for name, settings in _settings(setup, database_url, listening).items():
            environment = {f"SIMA_{name.upper()}_{setting}": value for setting, value in settings.items()}
            if name == "segment":
                environment |= {setting: os.environ.get(setting, value) for setting, value in ALLOCATION.items()}
            await ours.start(name, ["-m", f"sima_{name}"], environment)
        await asyncio.gather(*map(health.serves, addresses))
    collector = f"http://{await health.written(_starting_address(setup))}"
    await health.ready(collector)
    _starting_address(setup).replace(_last_address(setup))  # only now: a start that fails forgets nothing
    return _running(setup, listening, collector)


async def _started_database(ours: Nursery, directory: Path) -> tuple[str, int]:
    stopping = Event()
    starting = asyncio.create_task(asyncio.to_thread(_start_database, ours, directory, stopping))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        stopping.set()
        await asyncio.gather(starting, return_exceptions=True)  # nobody would end what it starts later
        raise


def _start_database(ours: Nursery, directory: Path, stopping: Event) -> tuple[str, int]:
    directory.parent.mkdir(exist_ok=True)
    handle = start_postgres(directory, stopping)
    postmaster = int((directory / "postmaster.pid").read_text().split()[0])
    ours.guard.watch(postmaster, ask_with=signal.SIGINT, group=False)  # PostgreSQL's "fast" way of ending
    return handle.url, postmaster


def _migrate(database_url: str) -> None:
    for service in SERVICES:
        migrate(database_url, f"sima_{service}")


def _settings(setup: Setup, database_url: str, listening: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """Return the settings of each service, in the order in which they are started."""
    remembered = _last_address(setup)
    last = remembered.read_text().strip() if remembered.exists() else ""
    _starting_address(setup).unlink(missing_ok=True)
    common = {
        "WORKSPACE_KEY_FILE": str(setup.folder.workspace_key),
        "DRAIN_SECONDS": _DRAIN_SECONDS,
        "IDENTITY_ADDRESS": listening["identity"],
        "PROFILE_ADDRESS": listening["profile"],
    }
    services = {name: {"DATABASE_URL": database_url, "LISTEN_ADDRESS": listening[name]} for name in SERVICES}
    services["segment"] |= {"DATA_DIR": str(_projections(setup)), "CATCH_UP_SECONDS": _CATCH_UP_SECONDS}
    collector = {
        "LISTEN_ADDRESS": last if is_free(last) else f"{HOST}:0",  # webhooks and pages know the last one
        "ADDRESS_FILE": str(_starting_address(setup)),
        "DATA_DIR": str(setup.data / "collector"),
        "SOURCES_FILE": str(setup.sources),
    }
    return {name: {**common, **own} for name, own in {**services, "collector": collector}.items()}


def _projections(setup: Setup) -> Path:
    return setup.data / "segment"


def _last_address(setup: Setup) -> Path:
    return setup.data / "collector.address"


def _starting_address(setup: Setup) -> Path:
    return setup.data / "collector.starting"


def _running(setup: Setup, listening: Mapping[str, str], collector: str) -> Running:
    configured = read_sources(setup.sources)
    secrets = {name: one.source.secrets for name, one in configured.items()}
    return Running(
        pid=os.getpid(),
        born=born(os.getpid()),
        identity=listening["identity"],
        profile=listening["profile"],
        segment=listening["segment"],
        collector=collector,
        workspace=next((source.workspace for source in configured.values()), _WORKSPACE),
        import_tokens={name: own[IMPORT_TOKEN] for name, own in secrets.items() if IMPORT_TOKEN in own},
        connectors={name: one.connector for name, one in configured.items()},
    )
