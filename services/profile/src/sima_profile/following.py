"""Keeps the standings of identifiers in step with identity, which says which are shared or blocked."""

import asyncio
import time
from collections.abc import Collection, Iterable
from contextlib import aclosing, suppress
from functools import partial

import structlog
from sima_runtime.database import Database, Driver
from sima_runtime.errors import CursorExpiredError, InvalidFieldsError
from sima_runtime.supervision import supervise

from sima_profile.identity import Belonging, Changes, Identity
from sima_profile.owners import PLAIN, NonOwners
from sima_profile.rewriting import OwnerRewriter
from sima_profile.store import owning

#: How long an `Ingest` waits for identity's changes, in seconds, before it goes on with the owners known here.
CATCH_UP_SECONDS = 1.0

# Something else may hold identity's feed back; so long the batches that come meanwhile do not wait again.
_MOST_CATCH_UP_SECONDS = 10.0

_log = structlog.get_logger()


class OwnerFollower:
    """Tails identity's changes of every workspace, and hands the result to those who append facts.

    Any number of replicas may do so at once: the place in the feed is stored with the work, so whoever comes second
    finds it done.
    """

    def __init__(self, database: Database, identity: Identity, rewriter: OwnerRewriter, poll_seconds: float) -> None:
        """Set up.

        Args:
            database: Where facts are.
            identity: Whom to follow.
            rewriter: Gives facts their owners when standings changed.
            poll_seconds: How often to look for workspaces that another replica was the first to see.
        """
        self._database = database
        self._identity = identity
        self._rewriter = rewriter
        self._poll_seconds = poll_seconds
        self._known: dict[str, NonOwners] = {}
        self._following: set[str] = set()
        self._catching_up: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._new_workspace = asyncio.Event()

    async def run(self) -> None:
        """Follow all workspaces, also those that appear later, until cancelled. A background task of the service."""
        self._following.clear()  # when this is not the first start, those that were followed are not any more
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._follow_new(tasks)
        finally:
            for _, task in self._catching_up.values():
                task.cancel()

    async def _follow_new(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to follow workspaces that are not followed, and wait until there may be others."""
        self._new_workspace.clear()
        for workspace in await self._workspaces() - self._following:
            self._following.add(workspace)
            tasks.create_task(supervise(partial(self._keep_following, workspace)))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._new_workspace.wait(), self._poll_seconds)

    def follow(self, workspace: str) -> None:
        """Make it known that a workspace has facts, so that it is followed from the first one on."""
        if workspace not in self._following:
            self._new_workspace.set()

    async def non_owners(self, connection: Driver, workspace: str, epoch: int, version: int) -> NonOwners:
        """Return the identifiers that do not own facts, as of `version`, which the running transaction holds."""
        known = self._known.get(workspace)
        if known is None or known.epoch != epoch:
            known = self._known[workspace] = NonOwners(epoch)
        if known.version < version:
            news = await owning.news(connection, workspace, known.version)
            if known.version < version:  # nobody else was faster
                known.update(news, version)
        return known

    async def agree(self, workspace: str, belongings: Collection[Belonging]) -> None:
        """Have the standings known here lead to the owners that identity names, if that can be had in a moment."""
        for _ in range(2):  # the changes that others are waiting for may be older ones
            if not self._agrees(workspace, belongings):
                await self._catch_up(workspace)

    def _agrees(self, workspace: str, belongings: Iterable[Belonging]) -> bool:
        known = self._known.get(workspace) or NonOwners()
        return all((known.owner(belonging.keys).owner or b"") == belonging.owner for belonging in belongings)

    async def _catch_up(self, workspace: str) -> None:
        """Take over what identity has changed by now. All who come meanwhile share one reading of its feed."""
        begun, task = self._catching_up.get(workspace, (0.0, None))
        if task is None:
            begun, task = time.monotonic(), asyncio.create_task(self._read_to_the_end(workspace))
            self._catching_up[workspace] = begun, task
            task.add_done_callback(lambda _: self._catching_up.pop(workspace))
        await asyncio.wait({task}, timeout=begun + CATCH_UP_SECONDS - time.monotonic())

    async def _read_to_the_end(self, workspace: str) -> None:
        try:
            async with asyncio.timeout(_MOST_CATCH_UP_SECONDS):
                while not await self._follow(workspace, until_now=True):
                    pass
        except Exception as error:  # noqa: BLE001  # whatever it was, the tail does it in a while
            _log.warning("catching_up_left_to_the_tail", workspace=workspace, exc_info=error)

    async def _workspaces(self) -> set[str]:
        async with self._database.statement() as connection:
            return set(await owning.workspaces(connection))

    async def _keep_following(self, workspace: str) -> None:
        while True:
            try:
                await self._follow(workspace, until_now=False)
            except (CursorExpiredError, InvalidFieldsError):  # also one that identity does not understand any more
                _log.warning("identity_followed_from_start", workspace=workspace)
                await self._start_again(workspace)

    async def _follow(self, workspace: str, *, until_now: bool) -> bool:
        """Work off identity's changes; false if somebody else did so at the same time and this must begin anew."""
        async with self._database.statement() as connection:
            cursor = (await owning.place(connection, workspace)).identity_cursor
        async with aclosing(self._identity.changes(workspace, cursor, until_now=until_now)) as pages:
            async for changes in pages:
                if not await self._take(workspace, cursor, changes):
                    return False
                cursor = changes.cursor
        return True

    async def _take(self, workspace: str, cursor: str, changes: Changes) -> bool:
        """Work off one page that follows `cursor`; false if the stored place is another one."""
        async with self._database.transaction() as connection:
            place = await owning.place(connection, workspace, lock=True)
            if place.identity_cursor != cursor or changes == Changes({}, cursor):
                return place.identity_cursor == changes.cursor
            known = await self.non_owners(connection, workspace, place.epoch, place.version)
            news = known.differences(changes.standings)
            version = place.version + bool(news)
            if news:
                await owning.stand(connection, workspace, news, version)
            await owning.move(connection, workspace, place._replace(identity_cursor=changes.cursor, version=version))
        if news:
            self._rewriter.wake()
        return True

    async def _start_again(self, workspace: str) -> None:
        """Read identity from the start: until it says otherwise again, every identifier is an ordinary one."""
        async with self._database.transaction() as connection:
            place = await owning.place(connection, workspace, lock=True)
            known = await self.non_owners(connection, workspace, place.epoch, place.version)
            version = place.version + bool(known.standings)
            if known.standings:
                await owning.stand(connection, workspace, dict.fromkeys(known.standings, PLAIN), version)
            await owning.move(connection, workspace, place._replace(identity_cursor="", version=version))
        self._rewriter.wake()
