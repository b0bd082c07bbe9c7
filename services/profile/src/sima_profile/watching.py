"""The facts as a feed, for readers who keep up with them."""

from collections.abc import AsyncGenerator

from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Database
from sima_runtime.feeds import Feed, FeedPage, Rows
from sima_runtime.settings import FeedSettings
from sima_runtime.wakeups import Wakeups

from sima_profile.store import feed
from sima_profile.store.feed import CHANNEL, FactRows


class FactFeed:
    """All facts of a workspace, in the order in which they were accepted."""

    def __init__(self, database: Database, wakeups: Wakeups, settings: FeedSettings) -> None:
        """Set up.

        Args:
            database: Where facts are.
            wakeups: Says when there are new ones.
            settings: How feeds are read.
        """
        self._database = database
        self._feed = Feed(CHANNEL, database, wakeups, settings)

    def pages(
        self, workspace: str, cursor: str, size: int, *, until_now: bool
    ) -> AsyncGenerator[FeedPage[FactRows], None]:
        """Yield what lies behind a cursor in pages of at most `size` rows. Raises as `Feed.pages` does."""

        async def read(after: Cursor, horizon: Horizon) -> Rows[FactRows]:
            async with self._database.statement() as connection:
                return await feed.read_page(connection, workspace, after, horizon, size)

        return self._feed.pages(cursor, read, workspace=workspace, until_now=until_now)
