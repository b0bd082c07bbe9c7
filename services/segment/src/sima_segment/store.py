"""All queries of the schema `segment`."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH
from sima_runtime.feeds import FEED_ORDER, FEED_RANGE, Rows, feed_parameters, notify
from sima_runtime.keys import Key, Keys

#: NOTIFY channel and name of the feed.
FEED = "segment_memberships"

_BATCH = 20_000  # changes written by one statement
_SEGMENT = "name, rule, description, size, created_at, updated_at"

_PUT = """INSERT INTO segments (workspace, name, rule, description)
    VALUES (%(workspace)s, %(name)s, %(rule)s, %(description)s)
    ON CONFLICT (workspace, name) DO UPDATE
        SET rule = excluded.rule, description = excluded.description, updated_at = now()"""
# Memberships and feed are written by one statement, so that they can never tell different stories.
_CHANGE = f"""WITH change AS (
        INSERT INTO membership_changes (workspace, segment, profile_id, entered, changed_at, epoch)
        SELECT %(workspace)s, segment, profile_id, entered, %(instant)s, {CURRENT_EPOCH}
        FROM unnest(%(segments)s::text[], %(people)s::uuid[], %(entered)s::boolean[])
            AS new (segment, profile_id, entered)
        RETURNING segment, profile_id, entered, changed_at
    ), entered AS (
        INSERT INTO memberships (workspace, segment, profile_id, entered_at)
        SELECT %(workspace)s, segment, profile_id, changed_at FROM change WHERE entered
    ), gone AS (
        DELETE FROM memberships USING change
        WHERE NOT change.entered AND memberships.workspace = %(workspace)s
            AND memberships.segment = change.segment AND memberships.profile_id = change.profile_id
    )
    UPDATE segments SET size = size + growth
    FROM (SELECT segment, sum(CASE WHEN entered THEN 1 ELSE -1 END) AS growth FROM change GROUP BY segment) AS sums
    WHERE segments.workspace = %(workspace)s AND segments.name = sums.segment"""
_EMPTY = f"""WITH gone AS (
        DELETE FROM memberships WHERE workspace = %(workspace)s AND segment = %(name)s RETURNING profile_id
    )
    INSERT INTO membership_changes (workspace, segment, profile_id, entered, changed_at, epoch)
    SELECT %(workspace)s, %(name)s, profile_id, false, %(instant)s, {CURRENT_EPOCH} FROM gone"""
_ADVANCE = """UPDATE positions SET lineage = %(lineage)s, tick = tick + 1
    WHERE workspace = %(workspace)s AND tick = %(tick)s"""


class Segment(NamedTuple):
    """A segment as it is stored; the loop knows whether it is frozen, see `Plan`."""

    name: str
    rule: str
    description: str
    size: int
    created_at: datetime
    updated_at: datetime
    frozen: bool = False


class Stored(NamedTuple):
    """How far the stored memberships of a workspace go: which projection they come from, and its number of ticks."""

    lineage: str
    tick: int


class Changed(NamedTuple):
    """Somebody entered (or left) a segment."""

    segment: str
    profile_id: bytes
    entered: bool
    changed_at: datetime


class OutpacedError(Exception):
    """Somebody else moved the state of the workspace on: there is a second writer, or there was one."""


async def followed(connection: Driver) -> list[str]:
    """Return all workspaces that are followed."""
    return [workspace for (workspace,) in await fetch(connection, "SELECT workspace FROM positions")]


async def follow(connection: Driver, workspace: str) -> None:
    """Remember that a workspace is followed."""
    await execute(connection, "INSERT INTO positions (workspace) VALUES (%s) ON CONFLICT DO NOTHING", (workspace,))


async def position(connection: Driver, workspace: str) -> Stored:
    """Return how far the memberships of a followed workspace go."""
    query = "SELECT lineage, tick FROM positions WHERE workspace = %s"
    [row] = await fetch(connection, query, (workspace,))
    return Stored(*row)


async def segments(connection: Driver, workspace: str) -> list[Segment]:
    """Return all segments of a workspace."""
    query = f"SELECT {_SEGMENT} FROM segments WHERE workspace = %s ORDER BY name"
    return [Segment(*row) for row in await fetch(connection, query, (workspace,))]


async def segment(connection: Driver, workspace: str, name: str) -> Segment | None:
    """Return one segment; None if there is none of that name."""
    query = f"SELECT {_SEGMENT} FROM segments WHERE workspace = %s AND name = %s"
    rows = await fetch(connection, query, (workspace, name))
    return Segment(*rows[0]) if rows else None


async def existing(connection: Driver, workspace: str, names: list[str]) -> frozenset[str]:
    """Return those names of which there is a segment."""
    query = "SELECT name FROM segments WHERE workspace = %s AND name = ANY(%s)"
    return frozenset(name for (name,) in await fetch(connection, query, (workspace, names)))


async def segment_page(connection: Driver, workspace: str, after: str, limit: int) -> list[Segment]:
    """Return segments by name, behind a name."""
    query = f"SELECT {_SEGMENT} FROM segments WHERE workspace = %s AND name > %s ORDER BY name LIMIT %s"
    return [Segment(*row) for row in await fetch(connection, query, (workspace, after, limit))]


async def put(connection: Driver, workspace: str, name: str, rule: str, description: str) -> None:
    """Create a segment or change it."""
    fields = {"workspace": workspace, "name": name, "rule": rule, "description": description}
    await execute(connection, _PUT, fields)


async def delete(connection: Driver, workspace: str, name: str, instant: datetime) -> None:
    """Delete a segment; its members leave at an instant."""
    await _without_limit(connection)
    await execute(connection, _EMPTY, {"workspace": workspace, "name": name, "instant": instant})
    await execute(connection, "DELETE FROM segments WHERE workspace = %s AND name = %s", (workspace, name))
    await notify(connection, FEED, workspace)


async def advance(connection: Driver, workspace: str, tick: int, lineage: str) -> None:
    """Move the stored state on.

    Args:
        connection: A transaction.
        workspace: Whose state.
        tick: Number of the state that must be stored now.
        lineage: The projection that the new one comes from.

    Raises:
        OutpacedError: The stored state is not the one that the step begins with.
    """
    fields = {"workspace": workspace, "tick": tick, "lineage": lineage}
    if await execute(connection, _ADVANCE, fields) != 1:
        raise OutpacedError


async def write_changes(
    connection: Driver,
    workspace: str,
    changes: Sequence[tuple[str, bytes, bool]],
    instant: datetime,
) -> None:
    """Store who entered and left, in memberships and feed.

    Args:
        connection: In a transaction.
        workspace: Whose.
        changes: Segment, profile id, and whether the person entered (else left).
        instant: When.
    """
    if not changes:
        return
    await _without_limit(connection)
    for start in range(0, len(changes), _BATCH):
        segment_names, people, entered = zip(*changes[start : start + _BATCH], strict=True)
        fields = {"segments": list(segment_names), "people": Keys(people), "entered": list(entered)}
        await execute(connection, _CHANGE, {"workspace": workspace, "instant": instant, **fields})
    await notify(connection, FEED, workspace)


async def memberships_of(connection: Driver, workspace: str, people: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Return (segment, profile id) of everything that some people are in."""
    query = "SELECT segment, profile_id FROM memberships WHERE workspace = %s AND profile_id = ANY(%s)"
    return [(name, person) for name, person in await fetch(connection, query, (workspace, Keys(people)))]


async def members(connection: Driver, workspace: str, name: str) -> list[bytes]:
    """Return all members of a segment."""
    query = "SELECT profile_id FROM memberships WHERE workspace = %s AND segment = %s"
    return [person for (person,) in await fetch(connection, query, (workspace, name))]


async def member_page(
    connection: Driver, workspace: str, name: str, after: bytes | None, limit: int
) -> list[tuple[bytes, datetime]]:
    """Return members of a segment with the time of their entry, by profile id, behind one."""
    query = """SELECT profile_id, entered_at FROM memberships
        WHERE workspace = %s AND segment = %s AND (%s::uuid IS NULL OR profile_id > %s::uuid)
        ORDER BY profile_id LIMIT %s"""
    place = None if after is None else Key(after)
    return [(who, when) for who, when in await fetch(connection, query, (workspace, name, place, place, limit))]


async def memberships(connection: Driver, workspace: str, person: bytes) -> list[tuple[str, datetime]]:
    """Return the segments that a person is in, with the time of entry, by name."""
    query = "SELECT segment, entered_at FROM memberships WHERE workspace = %s AND profile_id = %s ORDER BY segment"
    return [(name, when) for name, when in await fetch(connection, query, (workspace, Key(person)))]


async def read_page(
    connection: Driver, workspace: str, after: Cursor, horizon: Horizon, *, limit: int, segments: Collection[str] = ()
) -> Rows[list[Changed]]:
    """Read a page of the feed; of it only what concerns some segments, if any is named.

    The last row is always read, so that what is left out is not looked at again.
    """
    query = f"""WITH page AS MATERIALIZED (
            SELECT {FEED_ORDER}, segment, profile_id, entered, changed_at FROM membership_changes
            WHERE workspace = %(workspace)s AND {FEED_RANGE} ORDER BY {FEED_ORDER} LIMIT %(limit)s),
        last AS (SELECT {FEED_ORDER} FROM page ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1)
        SELECT *, (SELECT count(*) FROM page) FROM page
        WHERE %(all)s OR segment = ANY(%(segments)s) OR ({FEED_ORDER}) = (SELECT {FEED_ORDER} FROM last)
        ORDER BY {FEED_ORDER}"""
    parameters = {"workspace": workspace, "limit": limit, "all": not segments, "segments": list(segments)}
    rows = await fetch(connection, query, parameters | feed_parameters(after, horizon))
    changes = [Changed(*change) for _, _, _, *change, _ in rows]
    wanted = [change for change in changes if not segments or change.segment in segments]
    return Rows(wanted, Cursor(*rows[-1][:3]) if rows else None, full=bool(rows) and rows[-1][-1] == limit)


async def _without_limit(connection: Driver) -> None:
    """Let the statements of this transaction take their time: a segment may have millions of members."""
    await execute(connection, "SET LOCAL statement_timeout = 0")
