"""Who owns facts: the standings of identifiers as identity states them, and the rows that follow them."""

from collections.abc import Mapping
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH
from sima_runtime.keys import Keys

from sima_profile.owners import Standing
from sima_profile.store.appending import owners_lock, register

_WORKSPACES = "SELECT workspace FROM workspaces"
_PLACE = f"SELECT identity_cursor, owners_version, {CURRENT_EPOCH} FROM workspaces WHERE workspace = %s"
_MOVE = "UPDATE workspaces SET identity_cursor = %s, owners_version = %s WHERE workspace = %s"
_NEWS = "SELECT key, shared, blocked FROM non_owners WHERE workspace = %s AND version > %s"
_STAND = """INSERT INTO non_owners (workspace, key, shared, blocked, version)
    SELECT %(workspace)s, key, shared, blocked, %(version)s
    FROM unnest(%(keys)s, %(shared)s::boolean[], %(blocked)s::boolean[]) AS news (key, shared, blocked)
    ON CONFLICT (workspace, key) DO UPDATE
    SET shared = excluded.shared, blocked = excluded.blocked, version = excluded.version"""
# However many facts hang on an identifier: to give up would mean to begin again, for ever.
_WITHOUT_LIMIT = "SET LOCAL statement_timeout = 0"
_HOLD_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

# Who must be looked at again: what those keys own, and what a key before the owner gave away.
_AFFECTED = """SELECT {row}, keys FROM {table} WHERE workspace = %(workspace)s AND owner = ANY(%(keys)s)
    UNION SELECT {row}, keys FROM {table} WHERE workspace = %(workspace)s AND contested AND keys && %(keys)s"""
# The rule of `NonOwners.owner`: the first plain key, else the first that is only shared.
_OWNER = """SELECT listed.key FROM unnest(keys) WITH ORDINALITY AS listed (key, place)
    LEFT JOIN non_owners AS standing ON standing.workspace = %(workspace)s AND standing.key = listed.key
        AND (standing.shared OR standing.blocked)
    WHERE standing.blocked IS NOT TRUE ORDER BY standing.key IS NOT NULL, place LIMIT 1"""
_CONTESTED = """SELECT FROM non_owners AS standing
    WHERE standing.workspace = %(workspace)s AND standing.key = keys[1] AND (standing.shared OR standing.blocked)"""
_REWRITE = f"""WITH owned AS (
    SELECT {{row}}, ({_OWNER}) AS owner, EXISTS ({_CONTESTED}) AS contested FROM ({_AFFECTED}) AS affected)
UPDATE {{table}} AS target SET owner = owned.owner, contested = owned.contested
FROM owned WHERE target.workspace = %(workspace)s AND {{same}}"""
_REWRITES = (
    _REWRITE.format(table="facts", row="id", same="target.id = owned.id"),
    _REWRITE.format(
        table="observations",
        row="fact_id, position",
        same="target.fact_id = owned.fact_id AND target.position = owned.position",
    ),
)


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


async def rewrite_owners(connection: Driver, workspace: str, standings: Mapping[bytes, Standing], version: int) -> None:
    """Give identifiers new standings, and the facts that hang on them their owners.

    Waits until all transactions that append to the workspace have ended, and holds up new ones until this one ends.
    """
    await execute(connection, _WITHOUT_LIMIT)
    await execute(connection, _HOLD_ALONE, (owners_lock(workspace),))
    parameters = {
        "workspace": workspace,
        "version": version,
        "keys": Keys(standings),
        "shared": [standing.shared for standing in standings.values()],
        "blocked": [standing.blocked for standing in standings.values()],
    }
    await execute(connection, _STAND, parameters)
    for rewrite in _REWRITES:
        await execute(connection, rewrite, {"workspace": workspace, "keys": Keys(standings)})
