"""Puts the parts of the collector together, starts them in order, and stops them without losing anything."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
from sima_runtime.clients import ServiceClient
from sima_runtime.context import workspace_secret
from sima_runtime.server import running

from sima_collector.batcher import Batcher, BatchLimits
from sima_collector.draining import Drainer
from sima_collector.facts import ConfiguredSource
from sima_collector.imports import Importer
from sima_collector.ingest import ProfileIngest
from sima_collector.intake import Intake
from sima_collector.keeper import Keeper
from sima_collector.messages import Assignment
from sima_collector.metrics import observe_rooms
from sima_collector.redaction import Redaction
from sima_collector.retention import expire_regularly
from sima_collector.settings import CollectorSettings
from sima_collector.sources import read_sources
from sima_collector.store import Store
from sima_collector.workers import PoolLimits, WorkerPool

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Collector:
    """A running collector: its parts, as far as the HTTP side needs them."""

    settings: CollectorSettings
    admin_token: str | None
    sources: Mapping[str, ConfiguredSource]
    store: Store
    pool: WorkerPool
    intake: Intake
    importer: Importer
    uploads: Path
    deadline: float | None = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self.deadline is not None

    def stop(self) -> None:
        """Be unready from now on, and let imports end behind their present page."""
        if self.deadline is None:
            # One for all that follows, as whoever stops a process has one patience: requests, then the buffer.
            seconds = self.settings.not_serving_seconds + self.settings.drain_seconds
            self.deadline = asyncio.get_running_loop().time() + seconds
        self.importer.stop()

    def missing(self) -> list[str]:
        """What it lacks to take payloads; empty if it is ready."""
        lacks = {"time": self.stopping, "workers": not self.pool.pids, "buffer": self.store.spool.room.full}
        return [name for name, is_missing in lacks.items() if is_missing]


@asynccontextmanager
async def running_collector(settings: CollectorSettings) -> AsyncIterator[Collector]:
    """Start all parts; at the end, finish what is under way and empty the buffer if the profile service answers.

    Raises:
        FixConfigurationError: A setting, a file or a plugin is wrong.
    """
    admin_token, sources = settings.admin_token(), read_sources(settings.sources_file)
    assignment = _assignment(settings, sources)
    async with AsyncExitStack() as stack:
        store = Store(settings.data_dir, settings.buffer_bytes, settings.refusal_bytes)
        stack.push_async_callback(store.close)
        client = ServiceClient("profile", settings.profile_address, settings)
        stack.push_async_callback(client.close)
        ingest = ProfileIngest(client, settings.ingest_seconds)
        drainer = Drainer(ingest, store.spool)
        stack.push_async_callback(drainer.stop)
        limits = BatchLimits(settings.ingest_calls, settings.ingest_linger_seconds, settings.ingest_waiting_bytes)
        batcher = Batcher(ingest, store.spool, drainer, limits)
        pool = WorkerPool(assignment, PoolLimits(settings.workers, settings.payload_seconds, settings.waiting_payloads))
        stack.push_async_callback(pool.stop)
        await pool.start()
        _log_plugins(pool)
        await drainer.start()
        redaction = Redaction(pool.catalogue.protected, sources.values(), assignment.secrets)
        keeper = Keeper(batcher, store.refusals, redaction)
        importer = Importer(
            replace(assignment, seconds=settings.page_seconds), keeper, store.checkpoints, settings.imports
        )
        observe_rooms([store.spool.room, store.refusals.room], lambda: pool.waiting)
        intake = Intake(sources, pool, keeper)
        uploads = _empty_folder(settings.data_dir / "uploads")
        async with running([partial(expire_regularly, store, settings.refusal_days)]):
            collector = Collector(settings, admin_token, sources, store, pool, intake, importer, uploads)
            yield collector
        collector.stop()
        await _finish(batcher, drainer, collector.deadline)


def _assignment(settings: CollectorSettings, sources: Mapping[str, ConfiguredSource]) -> Assignment:
    workspaces = {source.workspace for source in sources.values()}
    master = settings.master_key() if workspaces else b""
    return Assignment(
        settings.plugins,
        tuple(sources.values()),
        {workspace: workspace_secret(master, workspace) for workspace in workspaces},
        settings.worker_memory_bytes,
        settings.payload_seconds,
    )


def _log_plugins(pool: WorkerPool) -> None:
    for name, distribution, version in pool.catalogue.plugins:
        _log.info("plugin_loaded", plugin=name, distribution=distribution, version=version)


def _empty_folder(path: Path) -> Path:
    """What an earlier process was sent and did not finish comes again."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


async def _finish(batcher: Batcher, drainer: Drainer, deadline: float | None) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await batcher.flush()
            await drainer.idle()
    except TimeoutError:
        _log.warning("facts_left_in_buffer")
