"""Rewrites the owners of facts when standings of identifiers have changed, beside all calls and a little at a time."""

import asyncio
from contextlib import suppress

import structlog
from sima_runtime.database import Database

from sima_profile.settings import FollowerSettings
from sima_profile.store import rewriting

_log = structlog.get_logger()


class OwnerRewriter:
    """Works off what changed standings left to do. Of several replicas, one at a time is at it in a workspace."""

    def __init__(self, database: Database, settings: FollowerSettings) -> None:
        """Set up.

        Args:
            database: Where facts are.
            settings: How many facts to rewrite at once, and how often to look for what another replica left.
        """
        self._database = database
        self._settings = settings
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Have it look at once."""
        self._news.set()

    async def run(self) -> None:
        """Rewrite until cancelled. A background task of the service."""
        while True:
            self._news.clear()
            while await self.round():
                pass
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.workspace_poll_seconds)

    async def round(self) -> bool:
        """Rewrite a portion in every workspace that has something left; false if none has that nobody else is at."""
        async with self._database.statement() as connection:
            waiting = await rewriting.workspaces(connection)
        return any([await self._portion(workspace) for workspace in waiting])

    async def _portion(self, workspace: str) -> bool:
        try:
            async with self._database.transaction() as connection:
                unfinished = await rewriting.begin(connection, workspace)
                if unfinished:
                    await rewriting.rewrite(connection, workspace, unfinished, self._settings.owner_portion)
        except Exception:  # noqa: BLE001  # the others are not to wait for this one
            _log.exception("owners_not_rewritten", workspace=workspace)
            return False
        return unfinished is not None
