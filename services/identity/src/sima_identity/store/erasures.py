"""Queries that erase identifiers, and that know what was erased."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH, ENDED_BEFORE
from sima_runtime.keys import Key, Keys

from sima_identity.decisions import Deciding
from sima_identity.records import Cause, Stored
from sima_identity.store.arrays import NOBODY, OR_NULL, flags, microseconds
from sima_identity.store.turns import Turn, next_workspace

_FIND = "SELECT erased_at, identifiers, asked FROM erasures WHERE id = %s AND workspace = %s"
_LIST = """SELECT id, erased_at, actor, reason, request_id, identifiers FROM erasures
    WHERE workspace = %(workspace)s
        AND (%(at)s::timestamptz IS NULL OR (erased_at, id) < (%(at)s::timestamptz, %(after)s::uuid))
    ORDER BY erased_at DESC, id DESC LIMIT %(limit)s"""
_INSERT = """INSERT INTO erasures (workspace, id, actor, reason, request_id, identifiers, asked)
    VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING erased_at"""
_TOMBSTONES = f"""SELECT key, {microseconds("until")} FROM tombstones WHERE workspace = %s AND key = ANY(%s)"""
# What was seen together, with both of its ends.
_SEEN_IN = (("edges", "low", "high"), ("affiliations", "person", "account"))


def _seen(which: str) -> str:
    """SQL of the first (`min`) or last (`max`) time at which identifiers were seen with others."""
    return " UNION ALL ".join(
        f"""SELECT {end} AS key, {which}(first_at) AS at FROM {table}
        WHERE workspace = %(workspace)s AND {end} = ANY(%(keys)s) GROUP BY {end}"""
        for table, *ends in _SEEN_IN
        for end in ends
    )


# Up to now, and up to the last that is stored: what is dated tomorrow is gone as well.
_BURY = f"""WITH seen AS MATERIALIZED (
        {_seen("max")}
        UNION ALL
        SELECT key, first_seen_at FROM identifiers WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
    )
    INSERT INTO tombstones (workspace, key, until)
    SELECT %(workspace)s, key, greatest(now(), max(at))
    FROM unnest(%(keys)s::uuid[]) AS given(key) LEFT JOIN seen USING (key) GROUP BY key ORDER BY key
    ON CONFLICT (key, workspace) DO UPDATE SET
        until = greatest(tombstones.until, excluded.until), barrier = NULL, checked = false"""
_SEEN_WITH = """SELECT high FROM edges WHERE workspace = %(workspace)s AND low = ANY(%({keys})s)
    UNION SELECT low FROM edges WHERE workspace = %(workspace)s AND high = ANY(%({keys})s)
    UNION SELECT high FROM decided_pairs
    WHERE workspace = %(workspace)s AND low = ANY(%({keys})s) AND verdict = 'always' AND holds
    UNION SELECT low FROM decided_pairs
    WHERE workspace = %(workspace)s AND high = ANY(%({keys})s) AND verdict = 'always' AND holds"""
_TOUCHED = f"""SELECT key, hub FROM identifiers WHERE workspace = %(workspace)s AND NOT blocked
        AND key IN ({_SEEN_WITH.format(keys="open")})
    UNION
    SELECT key, hub FROM identifiers WHERE workspace = %(workspace)s AND NOT blocked AND hub
        AND key IN ({_SEEN_WITH.format(keys="closed")})"""
_DELETE = (
    "DELETE FROM edges WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)",
    "DELETE FROM edges WHERE workspace = %(workspace)s AND high = ANY(%(keys)s)",
    "DELETE FROM affiliations WHERE workspace = %(workspace)s AND person = ANY(%(keys)s)",
    "DELETE FROM affiliations WHERE workspace = %(workspace)s AND account = ANY(%(keys)s)",
    "DELETE FROM decided_pairs WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)",
    "DELETE FROM decided_pairs WHERE workspace = %(workspace)s AND high = ANY(%(keys)s)",
    "DELETE FROM pending WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)",
    "DELETE FROM identifiers WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)",
    "DELETE FROM degrees WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)",
    "DELETE FROM growth WHERE workspace = %(workspace)s AND subject = ANY(%(keys)s || %(profiles)s)",
    "DELETE FROM profile_changes WHERE key = ANY(%(keys)s) AND workspace = %(workspace)s",
)
# Its standing stays as it was, or others would lose to it what is theirs of facts that name both. All readers are told
# of it: what told those of standings alone how it came about has just been deleted.
_LOG = f"""INSERT INTO profile_changes
        (workspace, key, kind, previous_profile_id, shared, blocked, standing_changed, cause, erasure_id,
            previously_shared, previously_blocked, changed_at, epoch)
    SELECT %(workspace)s, key, (%(kinds)s::text[])[place], nullif((%(profiles)s::uuid[])[place], {OR_NULL}), shared,
        blocked, true, '{Cause.ERASURE}', %(erasure)s::uuid, shared, blocked, statement_timestamp(), {CURRENT_EPOCH}
    FROM unnest(%(keys)s::uuid[], %(shared)s::boolean[], %(blocked)s::boolean[])
        WITH ORDINALITY AS gone(key, shared, blocked, place)"""
# A version that none is makes them be looked at again; `shown_version` knows the one that it was.
_MAKE_STALE = """UPDATE identifiers SET policy_version = -policy_version - 1
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s) AND policy_version >= 0"""
# A transaction by itself, which therefore gets its number when the tombstone can be seen: who did not see it has a
# smaller one. So one that is written meanwhile is left for the next time, and nobody is waited for.
_RAISE_BARRIERS = """WITH seen AS MATERIALIZED (
        SELECT key, workspace, xmin AS writer FROM tombstones WHERE NOT checked AND barrier IS NULL
    ), locked AS MATERIALIZED (
        SELECT key, workspace FROM tombstones JOIN seen USING (key, workspace)
        WHERE tombstones.xmin = writer FOR UPDATE OF tombstones SKIP LOCKED
    )
    UPDATE tombstones SET barrier = pg_current_xact_id() FROM locked
    WHERE (tombstones.key, tombstones.workspace) = (locked.key, locked.workspace)"""
_WAITS = f"NOT checked AND barrier <= {ENDED_BEFORE}"
_NEXT_TO_CHECK = next_workspace("tombstones", "sima checking", waits=_WAITS)
_TO_CHECK = f"SELECT key, barrier FROM tombstones WHERE workspace = %s AND {_WAITS} ORDER BY key LIMIT %s"
# Not those that were erased again meanwhile; locked in the order in which who erases writes them.
_CHECKED = """WITH still AS MATERIALIZED (
        SELECT key FROM tombstones
        WHERE workspace = %(workspace)s AND key = ANY(%(keys)s) AND barrier <= %(upto)s::text::xid8
        ORDER BY key FOR UPDATE
    )
    UPDATE tombstones SET checked = true FROM still WHERE workspace = %(workspace)s AND tombstones.key = still.key"""
_LATE = f"""WITH known AS MATERIALIZED (
        SELECT key, first_seen_at FROM identifiers WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
    ), seen AS MATERIALIZED (
        {_seen("min")}
    )
    SELECT key FROM tombstones JOIN known USING (key)
    WHERE workspace = %(workspace)s AND (first_seen_at <= until
        OR EXISTS (SELECT FROM seen WHERE seen.key = tombstones.key AND at <= until))"""
_TOLD_LAST = f"""SELECT key FROM unnest(%(keys)s::uuid[]) AS given(key) CROSS JOIN LATERAL (
        SELECT cause FROM (SELECT * FROM profile_changes WHERE key = given.key OFFSET 0) AS own
        WHERE workspace = %(workspace)s AND standing_changed ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1) AS last
    WHERE cause = '{Cause.ERASURE}'"""
# Who took an erased hub for one that is there may have written edges to it, and made hubs of those at their other ends.
_MISLED = """WITH gone AS MATERIALIZED (
        SELECT key FROM unnest(%(keys)s::uuid[]) AS given(key)
        EXCEPT SELECT key FROM identifiers WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
    ), misled AS MATERIALIZED (
        SELECT high AS key FROM edges WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)
            AND low IN (SELECT key FROM gone)
        UNION
        SELECT low FROM edges WHERE workspace = %(workspace)s AND high = ANY(%(keys)s)
            AND high IN (SELECT key FROM gone)
    )
    SELECT key FROM identifiers WHERE workspace = %(workspace)s AND hub AND key IN (SELECT key FROM misled)"""
_DELETE_DANGLING = tuple(
    f"""WITH gone AS MATERIALIZED (
        SELECT key FROM unnest(%(keys)s::uuid[]) AS given(key)
        EXCEPT SELECT key FROM identifiers WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
    )
    DELETE FROM {table} WHERE workspace = %(workspace)s
        AND ({one} = ANY(%(keys)s) AND {one} IN (SELECT key FROM gone)
            OR {other} = ANY(%(keys)s) AND {other} IN (SELECT key FROM gone))"""
    for table, one, other in _SEEN_IN
)


class ToCheck(NamedTuple):
    """Erased identifiers that everybody must know to be so by now, and the last barrier behind which that is."""

    keys: list[bytes]
    upto: int


class Erased(NamedTuple):
    """That a call had identifiers erased: when, how many were known, and a hash of what it asked for, if it is kept."""

    erased_at: datetime
    identifiers: int
    asked: bytes | None


class ListedErasure(NamedTuple):
    """That somebody had identifiers erased: when, who, why, by which request, and how many were known."""

    id: bytes
    erased_at: datetime
    actor: str
    reason: str
    request_id: str
    identifiers: int


async def find(connection: Driver, workspace: str, erasure: bytes) -> Erased | None:
    """Return what a call erased."""
    rows = await fetch(connection, _FIND, (Key(erasure), workspace))
    return Erased(*rows[0]) if rows else None


async def listed(
    connection: Driver, workspace: str, after: tuple[datetime, bytes] | None, limit: int
) -> list[ListedErasure]:
    """Read who had identifiers erased, newest first, behind one of them."""
    at, last = after or (None, None)
    parameters = {"workspace": workspace, "at": at, "after": last and Key(last), "limit": limit}
    return [ListedErasure(*row) for row in await fetch(connection, _LIST, parameters)]


async def insert(  # noqa: PLR0917  # a row
    connection: Driver, workspace: str, erasure: bytes, asked: bytes, by: Deciding, identifiers: int
) -> Erased | None:
    """Note that a call erases identifiers; None if another one does with the same id."""
    given = (workspace, Key(erasure), by.actor, by.reason, by.request_id, identifiers, Key(asked))
    rows = await fetch(connection, _INSERT, given)
    return Erased(rows[0][0], identifiers, asked) if rows else None


async def tombstones(connection: Driver, workspace: str, keys: Collection[bytes]) -> dict[bytes, int]:
    """Return up to when what was observed of identifiers is refused, of those that were erased."""
    return dict(await fetch(connection, _TOMBSTONES, (workspace, Keys(keys))))


async def touched(connection: Driver, workspace: str, rows: Iterable[Stored]) -> dict[bytes, bool]:
    """Return those for whom it makes a difference that others are gone, and whether each is a hub.

    They were seen with them, or somebody decided about both. Blocked ones are left out: nothing changes for them. Of
    what was closed only hubs are touched: also of one that is blocked, for under the policy in force it may count.
    """
    keys: dict[bool, list[bytes]] = {True: [], False: []}
    for row in rows:
        keys[row.closed].append(row.key)
    parameters = {"workspace": workspace, "open": Keys(keys[False]), "closed": Keys(keys[True])}
    return dict(await fetch(connection, _TOUCHED, parameters))


async def bury(connection: Driver, workspace: str, keys: Collection[bytes]) -> None:
    """Refuse from now on what was observed of identifiers up to now, or up to the last that is stored of them."""
    await execute(connection, _BURY, {"workspace": workspace, "keys": Keys(sorted(keys))})


async def delete(connection: Driver, workspace: str, rows: Sequence[Stored], erasure: bytes | None) -> None:
    """Delete all of identifiers, which are locked, and log that they are gone, without saying who they were."""
    keys, profiles = Keys([row.key for row in rows]), Keys([row.profile_id or NOBODY for row in rows])
    for statement in _DELETE:
        await execute(connection, statement, {"workspace": workspace, "keys": keys, "profiles": profiles})
    parameters = {
        "workspace": workspace,
        "keys": keys,
        "kinds": [row.kind for row in rows],
        "profiles": profiles,
        "shared": flags(row.shared for row in rows),
        "blocked": flags(row.blocked for row in rows),
        "erasure": erasure and Key(erasure),
    }
    await execute(connection, _LOG, parameters)


async def make_stale(connection: Driver, workspace: str, keys: Collection[bytes]) -> None:
    """Have identifiers, which are locked, looked at again as if another policy had closed them."""
    await execute(connection, _MAKE_STALE, {"workspace": workspace, "keys": Keys(sorted(keys))})


async def raise_barriers(connection: Driver) -> None:
    """Begin to wait until everybody knows of new tombstones. In a transaction of its own, which has no number yet."""
    await execute(connection, _RAISE_BARRIERS)


async def next_to_check(connection: Driver, turn: Turn) -> tuple[str] | None:
    """Return the next workspace with erased identifiers to check, at which nobody else is."""
    rows = await fetch(connection, _NEXT_TO_CHECK, turn.parameters())
    return rows[0] if rows else None


async def to_check(connection: Driver, workspace: str, limit: int) -> ToCheck:
    """Return erased identifiers to check.

    Their tombstones are not locked: who wants to erase them has the identifiers first, like everybody.
    """
    rows = await fetch(connection, _TO_CHECK, (workspace, limit))
    return ToCheck([key for key, _ in rows], max((barrier for _, barrier in rows), default=0))


async def late(connection: Driver, workspace: str, keys: Collection[bytes]) -> list[bytes]:
    """Return those that somebody who did not know that they are erased has recorded again."""
    return [key for (key,) in await fetch(connection, _LATE, {"workspace": workspace, "keys": Keys(keys)})]


async def told_last(connection: Driver, workspace: str, keys: Collection[bytes]) -> list[bytes]:
    """Return those of which the feed of standings told last that they were erased."""
    return [key for (key,) in await fetch(connection, _TOLD_LAST, {"workspace": workspace, "keys": Keys(keys)})]


async def misled(connection: Driver, workspace: str, keys: Collection[bytes]) -> list[bytes]:
    """Return the hubs that somebody saw with others of which he did not know that they are gone."""
    return [key for (key,) in await fetch(connection, _MISLED, {"workspace": workspace, "keys": Keys(keys)})]


async def clean(connection: Driver, workspace: str, checked: ToCheck) -> None:
    """Delete what else such people may have left, and note that this is done."""
    parameters = {"workspace": workspace, "keys": Keys(checked.keys), "upto": str(checked.upto)}
    for statement in (_CHECKED, *_DELETE_DANGLING):
        await execute(connection, statement, parameters)
