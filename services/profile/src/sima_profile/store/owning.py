"""The standings of identifiers as identity states them, by which facts have their owners."""

from collections.abc import Mapping
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH
from sima_runtime.keys import Key, Keys

from sima_profile.owners import Standing
from sima_profile.store.appending import owners_lock, register
from sima_profile.store.rewriting import BEFORE_ALL

_WORKSPACES = "SELECT workspace FROM workspaces"
_PLACE = f"SELECT identity_cursor, owners_version, {CURRENT_EPOCH} FROM workspaces WHERE workspace = %s"
_MOVE = "UPDATE workspaces SET identity_cursor = %s, owners_version = %s WHERE workspace = %s"
_NEWS = "SELECT key, shared, blocked FROM non_owners WHERE workspace = %s AND version > %s"
# From now on whoever appends heeds it; what was appended before is rewritten from the first fact on.
_STAND = """INSERT INTO non_owners (workspace, key, shared, blocked, version, rewritten_at, rewritten_to)
    SELECT %(workspace)s, key, shared, blocked, %(version)s, %(first_at)s, %(first)s
    FROM unnest(%(keys)s, %(shared)s::boolean[], %(blocked)s::boolean[]) AS news (key, shared, blocked)
    ON CONFLICT (workspace, key) DO UPDATE SET
        shared = excluded.shared, blocked = excluded.blocked,
        version = excluded.version, rewritten_at = excluded.rewritten_at, rewritten_to = excluded.rewritten_to"""
_HOLD_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


class Place(NamedTuple):
    """How far a workspace follows identity.

    Attributes:
        identity_cursor: Behind which change of identity it goes on.
        version: Number of the last change of a standing.
        epoch: Epoch of the feed, in which the version counts.
    """

    identity_cursor: str
    version: int
    epoch: int


async def workspaces(connection: Driver) -> list[str]:
    """Return all workspaces that ever sent a fact."""
    return [workspace for (workspace,) in await fetch(connection, _WORKSPACES)]


async def place(connection: Driver, workspace: str, *, lock: bool = False) -> Place:
    """Return how far a workspace follows identity; with `lock` nobody else moves it before the transaction ends."""
    await register(connection, workspace)
    query = f"{_PLACE} FOR UPDATE" if lock else _PLACE
    return Place(*(await fetch(connection, query, (workspace,)))[0])


async def move(connection: Driver, workspace: str, to: Place) -> None:
    """Note how far a workspace follows identity now."""
    await execute(connection, _MOVE, (to.identity_cursor, to.version, workspace))


async def news(connection: Driver, workspace: str, version: int) -> list[tuple[bytes, Standing]]:
    """Return the standings that changed after a version."""
    return [(key, Standing(*flags)) for key, *flags in await fetch(connection, _NEWS, (workspace, version))]


async def stand(connection: Driver, workspace: str, standings: Mapping[bytes, Standing], version: int) -> None:
    """Give identifiers new standings; `rewriting` gives the facts that hang on them their owners.

    Waits until all transactions that append to the workspace have ended, and holds up new ones until this one ends.
    """
    await execute(connection, _HOLD_ALONE, (owners_lock(workspace),))
    parameters = {
        "workspace": workspace,
        "version": version,
        "first_at": BEFORE_ALL[0],
        "first": Key(BEFORE_ALL[1]),
        "keys": Keys(standings),
        "shared": [standing.shared for standing in standings.values()],
        "blocked": [standing.blocked for standing in standings.values()],
    }
    await execute(connection, _STAND, parameters)
