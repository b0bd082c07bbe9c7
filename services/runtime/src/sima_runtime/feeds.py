"""Feeds: rows of a table that readers follow, in an order in which none is ever lost.

A row carries `epoch`, `xid` (the transaction that wrote it) and `seq`. Sequence numbers are given out before commit, so
a reader who followed them alone would step over rows that commit late. Readers therefore see only rows of transactions
older than every running one (the *horizon*), in the order (epoch, xid, seq). What lies below the horizon never changes.

Writers have the columns of `FEED_COLUMNS` in their table (and `epochs.FEED_TABLES` in the schema), fill `epoch` from
`epochs.CURRENT_EPOCH`, and call `notify` once a transaction. Readers write a query with `FEED_RANGE` and `FEED_ORDER`
and hand it to `Feed.pages`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sima_runtime.cursors import Cursor, Horizon, parse_token, token
from sima_runtime.database import Database, Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH, ENDED_BEFORE
from sima_runtime.errors import CursorExpiredError
from sima_runtime.settings import FeedSettings
from sima_runtime.telemetry import FeedLag, FeedProgress
from sima_runtime.wakeups import Wakeups

T = TypeVar("T")

#: Columns of a feed's table, for CREATE TABLE; readers need an index on (workspace, epoch, xid, seq).
FEED_COLUMNS = """epoch integer NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq bigint NOT NULL DEFAULT nextval('feed_seq')"""
#: Condition of a page, with the parameters of `feed_parameters`; the workspace stands beside it.
FEED_RANGE = """(epoch, xid, seq) > (%(after_epoch)s::integer, %(after_xid)s::text::xid8, %(after_seq)s::bigint)
    AND (epoch, xid) < (%(horizon_epoch)s::integer, %(horizon_xid)s::text::xid8)"""
#: Order of a page.
FEED_ORDER = "epoch, xid, seq"

_HORIZON = f"SELECT {CURRENT_EPOCH}, {ENDED_BEFORE}, pg_snapshot_xmax(pg_current_snapshot())"
_FIRST_PAUSE = 0.002  # seconds; then twice as long each time, up to the poll interval


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """What a reader's query found.

    Attributes:
        items: The page, in any form.
        last: Place of the last row that was looked at, also if it was filtered out; None if there was no row.
        full: The limit was reached: there may be more rows behind it.
    """

    items: T
    last: Cursor | None
    full: bool


@dataclass(frozen=True, slots=True)
class FeedPage(Generic[T]):
    """One page for a reader.

    Attributes:
        items: What the query found; empty in a page that only says that the reader has caught up.
        cursor: Token to go on behind this page.
        complete_until: All that was committed before this instant (microseconds since 1970) was delivered with this
            page and those before it. None: not known yet.
    """

    items: T
    cursor: str
    complete_until: int | None


ReadRows = Callable[[Cursor, Horizon], Awaitable[Rows[T]]]


def feed_parameters(after: Cursor, horizon: Horizon) -> dict[str, Any]:
    """Parameters of FEED_RANGE."""
    return {
        "after_epoch": after.epoch,
        "after_xid": str(after.xid),
        "after_seq": after.seq,
        "horizon_epoch": horizon.epoch,
        "horizon_xid": str(horizon.xid),
    }


async def notify(connection: Driver, channel: str, workspace: str) -> None:
    """Wake the readers of a feed when this transaction commits; once a transaction is enough."""
    await execute(connection, "SELECT pg_notify(%s, %s)", (channel, workspace))


async def read_horizon(database: Database) -> Horizon:
    """Ask which rows are final now."""
    taken_at = time.monotonic()
    async with database.statement() as connection:
        [(epoch, xid, newest)] = await fetch(connection, _HORIZON)
    return Horizon(epoch, xid, newest, taken_at)


class Feed:
    """One feed of a schema, for any number of readers."""

    def __init__(self, name: str, database: Database, wakeups: Wakeups, settings: FeedSettings) -> None:
        """Set up a feed.

        Args:
            name: Its NOTIFY channel, and its name in errors and metrics, for example `identity_changes`.
            database: Where it is.
            wakeups: Listens to the channel; one for all feeds of a process.
            settings: Poll and heartbeat intervals.
        """
        self.name = name
        self._database = database
        self._wakeups = wakeups
        self._settings = settings
        self.lag = FeedLag(name)

    async def pages(
        self, cursor: str, read: ReadRows[T], *, workspace: str, until_now: bool = False
    ) -> AsyncGenerator[FeedPage[T], None]:
        """Yield what lies behind a cursor, page by page, then what is written from now on.

        The next page is read when the reader takes it, so a slow reader holds nothing but its place. An empty page
        says that there is nothing more to read; it comes after the last rows, once more when it is known that none
        of before is held back, and then as a heartbeat.

        Args:
            cursor: Token of the page before; empty to begin at the start.
            read: Runs the query between a place and the horizon, a page at a time.
            workspace: Whose wake-ups to wait for.
            until_now: End when everything committed before this call has been yielded.

        Raises:
            CursorExpiredError: The cursor is of another epoch, or a new epoch began.
            InvalidFieldsError: The cursor is none.
            DependencyUnavailableError: The server is stopping, or the database does not answer.
        """
        start = await read_horizon(self._database)
        reader = _Reader(self.name, workspace, parse_token(cursor, start, self.name, workspace), start)
        with self._wakeups.waiting(self.name, workspace) as wakeup, self.lag.reader() as progress:
            while True:
                rows = await read(reader.after, reader.horizon.before(start.newest) if until_now else reader.horizon)
                if reader.take(rows) or reader.heartbeat_due(self._settings.feed_heartbeat_seconds):
                    yield reader.page(rows)
                self._wakeups.check_open()
                if rows.full:
                    continue
                if until_now and reader.horizon.xid >= start.newest:
                    return
                reader.report(progress)
                if rows.last is not None:
                    if not until_now:
                        await reader.pause(self._settings.feed_pause_seconds)
                    reader.look(await read_horizon(self._database))
                else:
                    await self._wait(reader, wakeup)

    async def _wait(self, reader: "_Reader", wakeup: asyncio.Event) -> None:
        """Return when more rows have become final, or a heartbeat is due."""
        settings = self._settings
        pause = _FIRST_PAUSE
        while not reader.heartbeat_due(settings.feed_heartbeat_seconds):
            limit = pause if reader.expects_rows() else settings.feed_poll_seconds
            woken = await _is_set_within(wakeup, min(limit, settings.feed_poll_seconds))
            self._wakeups.check_open()
            if reader.look(await read_horizon(self._database), woken=woken):
                return
            pause = _FIRST_PAUSE if woken else 2 * pause


class _Reader:
    """Where one reader stands, and what it waits for."""

    def __init__(self, feed: str, workspace: str, after: Cursor, horizon: Horizon) -> None:
        self.after = after
        self.horizon = horizon
        self._feed, self._workspace = feed, workspace
        self._awaited = horizon.newest  # transactions before this one may have written rows that are not final yet
        self._mark = horizon  # once all before mark.newest are delivered, the reader is as fresh as the mark
        self._complete_until: float | None = None
        self._told = self._told_complete = False  # since the last rows: that there are no more, that none is held back
        self._last_page = time.monotonic()

    def take(self, rows: Rows[T]) -> bool:
        """Move on behind what was read; whether there is something to tell."""
        complete = not rows.full and self.horizon.xid >= self._mark.newest
        if complete:
            self._complete_until = self._mark.taken_at
        if rows.last is not None:
            self.after = rows.last
            self._told = self._told_complete = False
            return True
        news = not self._told or (complete and not self._told_complete)
        self._told, self._told_complete = True, self._told_complete or complete
        return news

    def page(self, rows: Rows[T]) -> FeedPage[T]:
        """Make the page of what was read."""
        self._last_page = time.monotonic()
        cursor = token(self.after, self.horizon.epoch, self._feed, self._workspace)
        return FeedPage(rows.items, cursor, _wall(self._complete_until))

    async def pause(self, seconds: float) -> None:
        """Let rows gather until the last page was that long ago: each page costs as much as many rows."""
        await asyncio.sleep(max(0.0, self._last_page + seconds - time.monotonic()))

    def heartbeat_due(self, seconds: float) -> bool:
        """Whether the last page was that long ago."""
        return time.monotonic() - self._last_page >= seconds

    def expects_rows(self) -> bool:
        """Whether rows are known to be written that are not final yet."""
        return self.horizon.xid < self._awaited

    def look(self, horizon: Horizon, *, woken: bool = False) -> bool:
        """Take a newer horizon; whether rows may have become final."""
        if horizon.epoch != self.horizon.epoch:
            raise CursorExpiredError(self._feed)
        moved = horizon.xid > self.horizon.xid
        self.horizon = horizon
        if woken:
            self._awaited = horizon.newest
        return moved

    def report(self, progress: FeedProgress) -> None:
        """Say how fresh the reader is, all rows before the horizon being delivered."""
        if self.horizon.xid >= self._mark.newest:
            progress.delivered_until = self._mark.taken_at
            self._mark = self.horizon


def _wall(monotonic: float | None) -> int | None:
    """Return an instant of the monotonic clock in microseconds since 1970."""
    return None if monotonic is None else int((time.time() - time.monotonic() + monotonic) * 1_000_000)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so long, clear it, and say whether it was set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
