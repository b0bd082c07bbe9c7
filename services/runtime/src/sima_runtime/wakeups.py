"""Wakes the readers of feeds when something was written: one LISTEN connection for all feeds of a process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from sima_runtime.database import Database
from sima_runtime.epochs import begin_epoch
from sima_runtime.errors import DependencyUnavailableError


class Wakeups:
    """Hands NOTIFY on to the readers of a channel and workspace. `run` is a background task of the service."""

    def __init__(self, database: Database, channels: Iterable[str]) -> None:
        self._database = database
        self._channels = tuple(channels)
        self._waiting: defaultdict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)
        self._closed = False

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is raised, for the supervisor to try again."""
        async with await self._connect() as connection:
            await begin_epoch(self._database)  # a new connection may lead to a restored or promoted database
            for channel in self._channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._wake_all()  # for what was missed while nobody listened
            async for notification in connection.notifies():
                self._wake(notification.channel, notification.payload)

    @contextmanager
    def waiting(self, channel: str, workspace: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever something was written; the waiter clears it."""
        event = asyncio.Event()
        self._waiting[channel, workspace].add(event)
        try:
            yield event
        finally:
            self._forget(channel, workspace, event)

    def close(self) -> None:
        """End all readers: the server is stopping, and they shall go on with another one."""
        self._closed = True
        self._wake_all()

    def check_open(self) -> None:
        """Raise DependencyUnavailableError once the server is stopping."""
        if self._closed:
            raise DependencyUnavailableError(self._database.schema)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(autocommit=True, **self._database.connection_arguments())

    def _wake(self, channel: str, workspace: str) -> None:
        for event in self._waiting.get((channel, workspace), ()):
            event.set()

    def _wake_all(self) -> None:
        for channel, workspace in list(self._waiting):
            self._wake(channel, workspace)

    def _forget(self, channel: str, workspace: str, event: asyncio.Event) -> None:
        events = self._waiting[channel, workspace]
        events.discard(event)
        if not events:
            del self._waiting[channel, workspace]
