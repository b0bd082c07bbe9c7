"""How long everything takes to start from nothing."""

import asyncio
import time
from collections.abc import AsyncIterator

from sima_cli.postgres import start_postgres

from benchmarks.figures import Figure
from benchmarks.stack import started, temporary_folder


async def start(_: float) -> AsyncIterator[Figure]:
    """PostgreSQL in a new folder, the migrations, and four services that say that they are ready."""
    began = time.perf_counter()
    async with started():
        seconds = time.perf_counter() - began
    floor = await asyncio.to_thread(postgres_seconds)
    yield Figure("start_s", seconds, "s", floor, "PostgreSQL alone, in a new folder", 15.0)


def postgres_seconds() -> float:
    """Seconds to make a database cluster and start it."""
    with temporary_folder() as root:
        root.chmod(0o755)  # PostgreSQL runs as another user when root starts it
        began = time.perf_counter()
        handle = start_postgres(root / "postgres")
        seconds = time.perf_counter() - began
        handle.stop()
    return seconds
