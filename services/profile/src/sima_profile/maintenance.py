"""Work that no call waits for: partitions are made ahead, and times of messages forgotten after a while."""

import asyncio
import time
from datetime import UTC, datetime

import structlog
from sima_runtime.database import Database

from sima_profile.partitions import missing_partitions
from sima_profile.settings import StorageSettings
from sima_profile.store import upkeep

_DAY = 86_400_000_000  # microseconds

_log = structlog.get_logger()


class Maintenance:
    """Does one round at start, before the first call, and then one every hour or so."""

    def __init__(self, database: Database, settings: StorageSettings) -> None:
        """Set up.

        Args:
            database: Where facts are.
            settings: How they are kept.
        """
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Go round until cancelled. A background task of the service."""
        while True:
            await asyncio.sleep(self._settings.maintenance_seconds)
            await self.round()

    async def round(self) -> None:
        """Do what is due."""
        await self.make_partitions()
        await self._forget_times()

    async def make_partitions(self) -> None:
        """Make the partitions that are missing; several replicas may do so at once."""
        settings = self._settings
        async with self._database.transaction() as connection:
            missing = missing_partitions(
                await upkeep.partitions(connection),
                datetime.now(UTC).date(),
                settings.partition_months_back,
                settings.partition_months_ahead,
            )
            for partition in missing:
                await upkeep.make_partition(connection, partition)
        if missing:
            _log.info("partitions_made", first=missing[0].name, last=missing[-1].name)

    async def _forget_times(self) -> None:
        before = time.time_ns() // 1000 - int(self._settings.message_time_days * _DAY)
        forgotten = 1
        while forgotten:
            async with self._database.statement() as connection:
                forgotten = await upkeep.forget_times(connection, before)
