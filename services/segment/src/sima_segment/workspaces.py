"""Which workspaces are followed: those that are configured, and those that ever had a segment or a preview."""

import asyncio
from collections.abc import Callable, Iterable

from sima_runtime.database import Database
from sima_runtime.supervision import supervise

from sima_segment import store
from sima_segment.live import Live


class Workspaces:
    """The loops of all followed workspaces; `run` is a background task of the service."""

    def __init__(self, database: Database, make: Callable[[str], Live], configured: Iterable[str]) -> None:
        """Set up.

        Args:
            database: The schema `segment`.
            make: Makes the loop of a workspace.
            configured: Workspaces to follow from the start.
        """
        self._database = database
        self._make = make
        self._configured = tuple(configured)
        self._lives: dict[str, Live] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Follow all workspaces until cancelled, also those that come up later."""
        for workspace in self._configured:
            await self.follow(workspace)
        async with self._database.statement() as connection:
            followed = await store.followed(connection)
        for workspace in followed:
            self._add(workspace)
        running: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                for workspace in self._lives.keys() - running:
                    running.add(workspace)
                    tasks.create_task(supervise(self._lives[workspace].run))
                await self._news.wait()

    async def follow(self, workspace: str) -> Live:
        """Return the loop of a workspace, which is followed from now on if it was not."""
        if workspace not in self._lives:
            async with self._database.statement() as connection:
                await store.follow(connection, workspace)
        return self._add(workspace)

    def known(self, workspace: str) -> Live | None:
        """Return the loop of a workspace if it is followed."""
        return self._lives.get(workspace)

    def _add(self, workspace: str) -> Live:
        if workspace not in self._lives:
            self._lives[workspace] = self._make(workspace)
            self._news.set()
        return self._lives[workspace]
