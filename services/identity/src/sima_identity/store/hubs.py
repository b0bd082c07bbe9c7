"""Queries of who was seen with many: what is to be counted, the counts, and what grew suspiciously."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import HAS_ENDED
from sima_runtime.keys import Key, Keys

from sima_identity.hubs import Degree, Gained, Grown, Neighbours
from sima_identity.records import Subject
from sima_identity.store.arrays import flags, numbers
from sima_identity.store.turns import Turn, next_workspace

#: Days for which it is remembered that something grew suspiciously.
KEPT_DAYS = 90
_MOST_NOTES = 10_000  # that are struck out at once
_MOST_SUBJECTS = 100  # that are counted at once

_ASK = """INSERT INTO recounts (workspace, subject, is_profile)
    SELECT %s, subject, is_profile FROM unnest(%s::uuid[], %s::boolean[]) AS given(subject, is_profile)"""
_NEXT_ASKED = next_workspace("recounts", "sima count")
_OLD = "counted_at < now() - %(seconds)s * interval '1 second'"
#: The oldest of each workspace tells; so nothing is read of those that were counted just now.
NEXT_OLD = next_workspace(
    "degrees",
    "sima count",
    where=f"""(SELECT {_OLD} FROM degrees WHERE degrees.workspace = listed.workspace ORDER BY counted_at LIMIT 1)""",
)
_COUNTED_LONG_AGO = f"""SELECT key FROM degrees WHERE workspace = %(workspace)s AND {_OLD}
    ORDER BY counted_at LIMIT %(limit)s"""
# What is to be counted must be there by then.
_ASKED = f"SELECT subject, is_profile, id FROM recounts WHERE workspace = %s AND {HAS_ENDED} ORDER BY id LIMIT %s"
_STRIKE_OUT = "DELETE FROM recounts WHERE id = ANY(%s::bigint[]) AND workspace = %s"

# Each neighbour once, whatever sources showed it. New is a profile if nothing of it was seen before the span of time.
_NEIGHBOURS = """WITH seen AS MATERIALIZED (
    SELECT key, other, min(first_at) AS first_at FROM (
        SELECT low AS key, high AS other, first_at FROM edges
        WHERE workspace = %(workspace)s AND low = ANY(%(keys)s) AND refusal IS DISTINCT FROM 'blocked'
        UNION ALL
        SELECT high, low, first_at FROM edges
        WHERE workspace = %(workspace)s AND high = ANY(%(keys)s) AND refusal IS DISTINCT FROM 'blocked') AS edge
    GROUP BY key, other
), known AS MATERIALIZED (
    SELECT seen.key, first_at, kind, profile_id FROM seen, LATERAL (
        SELECT DISTINCT ON (key) kind, CASE WHEN NOT shared THEN profile_id END AS profile_id FROM identifiers
        WHERE workspace = %(workspace)s AND key = other) AS neighbour
), own AS MATERIALIZED (
    SELECT key, kind, profile_id, shared, hub FROM identifiers
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
), by_kind AS (
    SELECT key, jsonb_object_agg(kind, count) AS kinds
    FROM (SELECT key, kind, count(*) FROM known GROUP BY key, kind) AS counted GROUP BY key
), by_time AS (
    SELECT key, count(*) FILTER (WHERE first_at > now() - interval '1 day') AS day,
        count(*) FILTER (WHERE first_at > now() - interval '7 days') AS week
    FROM known GROUP BY key
), by_profile AS (
    SELECT key, count(*) AS profiles, count(*) FILTER (WHERE first_at > now() - interval '1 day') AS day,
        count(*) FILTER (WHERE first_at > now() - interval '7 days') AS week
    FROM (SELECT key, min(first_at) AS first_at FROM known WHERE profile_id IS NOT NULL GROUP BY key, profile_id)
        AS counted GROUP BY key
)
SELECT key, kind, profile_id, shared, hub, coalesce(kinds, '{}'), coalesce(profiles, 0), coalesce(by_time.day, 0),
    coalesce(by_profile.day, 0), coalesce(by_time.week, 0), coalesce(by_profile.week, 0)
FROM own LEFT JOIN by_kind USING (key) LEFT JOIN by_time USING (key) LEFT JOIN by_profile USING (key)"""

_GAINED = """WITH came AS MATERIALIZED (
        SELECT id, own.key FROM unnest(%(ids)s::uuid[]) AS wanted(id) CROSS JOIN LATERAL (
            SELECT DISTINCT key FROM (SELECT * FROM profile_changes WHERE profile_id = wanted.id OFFSET 0) AS change
            WHERE workspace = %(workspace)s AND changed_at > now() - interval '1 day'
                AND previous_profile_id IS DISTINCT FROM wanted.id) AS own
    )
    SELECT id, count(*) FROM came, LATERAL (
        SELECT DISTINCT ON (key) key FROM identifiers
        WHERE workspace = %(workspace)s AND key = came.key AND profile_id = came.id) AS stayed
    GROUP BY id"""

_COLUMNS = """identifiers, strong, most, profiles, kinds, day_identifiers, day_profiles, week_identifiers,
    week_profiles, crowded"""
_WRITE = f"""INSERT INTO degrees (workspace, key, {_COLUMNS}, counted_at)
    SELECT %(workspace)s, key, identifiers, strong, most, profiles, kinds::jsonb, day_identifiers, day_profiles,
        week_identifiers, week_profiles, crowded, now()
    FROM unnest(%(key)s::uuid[], %(identifiers)s::bigint[], %(strong)s::bigint[], %(most)s::bigint[],
        %(profiles)s::bigint[], %(kinds)s::text[], %(day_identifiers)s::bigint[], %(day_profiles)s::bigint[],
        %(week_identifiers)s::bigint[], %(week_profiles)s::bigint[], %(crowded)s::boolean[]) AS given(key, {_COLUMNS})
    ON CONFLICT (key, workspace) DO UPDATE SET ({_COLUMNS}, counted_at) = (excluded.identifiers, excluded.strong,
        excluded.most, excluded.profiles, excluded.kinds, excluded.day_identifiers, excluded.day_profiles,
        excluded.week_identifiers, excluded.week_profiles, excluded.crowded, excluded.counted_at)"""
_DEGREES = "SELECT key, strong, identifiers FROM degrees WHERE workspace = %s AND key = ANY(%s)"
_FORGET = "DELETE FROM degrees WHERE workspace = %s AND key = ANY(%s)"

_NOTICE = """INSERT INTO growth (workspace, subject, is_profile, day, gained, most)
    SELECT %(workspace)s, subject, is_profile, (now() AT TIME ZONE 'UTC')::date, gained, most
    FROM unnest(%(subject)s::uuid[], %(is_profile)s::boolean[], %(gained)s::bigint[], %(most)s::bigint[])
        AS given(subject, is_profile, gained, most)
    ON CONFLICT (subject, workspace, day) DO UPDATE SET gained = excluded.gained WHERE growth.gained < excluded.gained
    RETURNING subject, xmax = 0"""
_FORGET_GROWTH = f"DELETE FROM growth WHERE noticed_at < now() - {KEPT_DAYS} * interval '1 day'"
_FORGET_GROWTH_OF = "DELETE FROM growth WHERE workspace = %s AND subject = ANY(%s)"

_NOTICED_AT = """SELECT noticed_at FROM growth WHERE workspace = %(workspace)s AND subject = {key}
        AND day >= (now() AT TIME ZONE 'UTC')::date - 1 ORDER BY day DESC LIMIT 1"""
# OFFSET 0 keeps each part a look-up by index for every row of the page.
_SHARED = f"""SELECT key, kind, value, profile_id, hub, since, noticed_at, {_COLUMNS}, counted_at
    FROM (SELECT * FROM identifiers WHERE workspace = %(workspace)s AND shared
            AND hub BETWEEN %(least)s AND %(largest)s
            AND (%(after)s::uuid IS NULL OR (hub, key) > (%(number)s::integer = 1, %(after)s::uuid))
        ORDER BY hub, key LIMIT %(limit)s) AS listed
    LEFT JOIN LATERAL (
        SELECT changed_at AS since FROM (SELECT * FROM profile_changes WHERE key = listed.key OFFSET 0) AS own
        WHERE workspace = %(workspace)s AND shared AND NOT previously_shared
        ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1) AS begun ON true
    LEFT JOIN LATERAL (SELECT {_COLUMNS}, counted_at FROM degrees
        WHERE workspace = %(workspace)s AND key = listed.key OFFSET 0) AS counted ON true
    LEFT JOIN LATERAL ({_NOTICED_AT.format(key="listed.key")}) AS noticed ON true
    ORDER BY hub, key"""
_HUBS = f"""WITH listed AS MATERIALIZED (
        SELECT * FROM degrees WHERE workspace = %(workspace)s AND crowded
            AND (%(after)s::uuid IS NULL OR (identifiers, key) < (%(number)s::bigint, %(after)s::uuid))
        ORDER BY identifiers DESC, key DESC LIMIT %(limit)s
    ), known AS MATERIALIZED (
        SELECT listed.*, kind, value, profile_id, hub FROM listed, LATERAL (
            SELECT DISTINCT ON (key) kind, value, profile_id, hub FROM identifiers
            WHERE workspace = %(workspace)s AND key = listed.key) AS found
    )
    SELECT key, kind, value, profile_id, hub, NULL, noticed_at, {_COLUMNS}, counted_at
    FROM known LEFT JOIN LATERAL ({_NOTICED_AT.format(key="known.key")}) AS noticed ON true
    ORDER BY identifiers DESC, key DESC"""
_GROWTH = f"""WITH listed AS MATERIALIZED (
        SELECT * FROM growth WHERE workspace = %(workspace)s
            AND noticed_at >= now() - {KEPT_DAYS} * interval '1 day'
            AND (%(at)s::timestamptz IS NULL OR (noticed_at, subject) < (%(at)s::timestamptz, %(after)s::uuid))
        ORDER BY noticed_at DESC, subject DESC LIMIT %(limit)s
    ), known AS MATERIALIZED (
        SELECT key, kind, value, profile_id FROM identifiers WHERE workspace = %(workspace)s AND key = ANY(ARRAY(
            SELECT subject FROM listed WHERE NOT is_profile))
    )
    SELECT noticed_at, subject, kind, value, CASE WHEN is_profile THEN subject ELSE profile_id END, gained, most
    FROM listed LEFT JOIN known ON NOT is_profile AND key = subject
    ORDER BY noticed_at DESC, subject DESC"""


class Listed(NamedTuple):
    """An identifier that is shared, or was seen with many.

    `value` is None for protected kinds, `shared_since` where it is not asked for, `noticed_at` if it did not grow
    suspiciously since yesterday, and `degree` until it is counted.
    """

    key: bytes
    kind: str
    value: str | None
    profile_id: bytes | None
    hub: bool
    shared_since: datetime | None
    noticed_at: datetime | None
    degree: Degree | None


class ListedGrowth(NamedTuple):
    """That an identifier, by its key, or a profile, by its id, grew; without kind it is a profile."""

    noticed_at: datetime
    subject: bytes
    kind: str | None
    value: str | None
    profile_id: bytes | None
    gained: int
    most: int


async def ask(connection: Driver, workspace: str, subjects: Collection[Subject]) -> None:
    """Note what is to be counted once this transaction is through."""
    given = Keys([own for own, _ in subjects]), flags(is_profile for _, is_profile in subjects)
    await execute(connection, _ASK, (workspace, *given))


async def next_asked(connection: Driver, turn: Turn) -> tuple[str] | None:
    """Return the next workspace of which something is to be counted, and in which nobody else counts."""
    rows = await fetch(connection, _NEXT_ASKED, turn.parameters())
    return rows[0] if rows else None


async def next_old(connection: Driver, turn: Turn, *, seconds: float) -> tuple[str] | None:
    """Return the next workspace of which something was counted longer ago than that, and in which nobody counts."""
    rows = await fetch(connection, NEXT_OLD, {**turn.parameters(), "seconds": seconds})
    return rows[0] if rows else None


async def counted_long_ago(connection: Driver, workspace: str, seconds: float) -> list[bytes]:
    """Return some of the identifiers that were counted longer ago than so many seconds, the oldest counts first."""
    parameters = {"workspace": workspace, "seconds": seconds, "limit": _MOST_SUBJECTS}
    return [key for (key,) in await fetch(connection, _COUNTED_LONG_AGO, parameters)]


async def asked(connection: Driver, workspace: str) -> dict[Subject, list[int]]:
    """Return some of what is to be counted, and the notes that say so."""
    notes: dict[Subject, list[int]] = {}
    for own, is_profile, number in await fetch(connection, _ASKED, (workspace, _MOST_NOTES)):
        subject = Subject(own, is_profile)
        if subject in notes or len(notes) < _MOST_SUBJECTS:
            notes.setdefault(subject, []).append(number)
    return notes


async def strike_out(connection: Driver, workspace: str, notes: Iterable[int]) -> None:
    """Remove notes of what was counted after they had been read."""
    await execute(connection, _STRIKE_OUT, (numbers(notes), workspace))


async def neighbours(connection: Driver, workspace: str, keys: Sequence[bytes]) -> list[Neighbours]:
    """Count what was seen with identifiers, from the edges."""
    rows = await fetch(connection, _NEIGHBOURS, {"workspace": workspace, "keys": Keys(keys)}) if keys else []
    return [Neighbours._make((*row[:7], Gained(*row[7:9]), Gained(*row[9:]))) for row in rows]


async def gained(connection: Driver, workspace: str, profiles: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Return of profiles how many identifiers came to each within 24 hours, and are there still."""
    rows = await fetch(connection, _GAINED, {"workspace": workspace, "ids": Keys(profiles)}) if profiles else []
    return [(own, count) for own, count in rows]


async def write(
    connection: Driver, workspace: str, degrees: Mapping[bytes, Degree], forgotten: Collection[bytes]
) -> None:
    """Store degrees, by key, and remove others."""
    given = degrees.values()
    parameters = {
        "workspace": workspace,
        "key": Keys(degrees),
        "identifiers": numbers(each.identifiers for each in given),
        "strong": numbers(each.strong for each in given),
        "most": numbers(each.most for each in given),
        "profiles": numbers(each.profiles for each in given),
        "kinds": [json.dumps(each.kinds) for each in given],
        "day_identifiers": numbers(each.day.identifiers for each in given),
        "day_profiles": numbers(each.day.profiles for each in given),
        "week_identifiers": numbers(each.week.identifiers for each in given),
        "week_profiles": numbers(each.week.profiles for each in given),
        "crowded": flags(each.crowded for each in given),
    }
    if degrees:
        await execute(connection, _WRITE, parameters)
    if forgotten:
        await execute(connection, _FORGET, (workspace, Keys(forgotten)))


async def forget_growth(connection: Driver) -> None:
    """Remove what grew long ago, of all workspaces."""
    await execute(connection, _FORGET_GROWTH)


async def forget_growth_of(connection: Driver, workspace: str, gone: Collection[bytes]) -> None:
    """Remove that identifiers grew which are erased."""
    await execute(connection, _FORGET_GROWTH_OF, (workspace, Keys(gone)))


async def notice(connection: Driver, workspace: str, grown: Sequence[Grown]) -> list[Grown]:
    """Store that something grew, and return what nobody has noticed today."""
    if not grown:
        return []
    parameters = {
        "workspace": workspace,
        "subject": Keys([each.subject.id for each in grown]),
        "is_profile": flags(each.subject.is_profile for each in grown),
        "gained": numbers(each.gained for each in grown),
        "most": numbers(each.most for each in grown),
    }
    new = {subject for subject, is_new in await fetch(connection, _NOTICE, parameters) if is_new}
    return [each for each in grown if each.subject.id in new]


async def degrees_of(connection: Driver, workspace: str, keys: Collection[bytes]) -> dict[bytes, tuple[int, int]]:
    """Return with how many strong identifiers, and with how many in all, others were seen, as last counted."""
    rows = await fetch(connection, _DEGREES, (workspace, Keys(keys)))
    return {key: (strong, all_) for key, strong, all_ in rows}


async def list_shared(
    connection: Driver, workspace: str, hub: bool | None, after: tuple[int, bytes] | None, limit: int
) -> list[Listed]:
    """Read shared identifiers, hubs last, then by key; only hubs, or all but hubs; behind one of them."""
    parameters = {"least": hub is True, "largest": hub is not False, **_page(workspace, after, limit)}
    return _listed(await fetch(connection, _SHARED, parameters))


async def list_hubs(connection: Driver, workspace: str, after: tuple[int, bytes] | None, limit: int) -> list[Listed]:
    """Read identifiers that were seen with many, those with most first; behind one of them."""
    return _listed(await fetch(connection, _HUBS, _page(workspace, after, limit)))


async def list_growth(
    connection: Driver, workspace: str, after: tuple[datetime, bytes] | None, limit: int
) -> list[ListedGrowth]:
    """Read what grew suspiciously, the latest first; behind one of them."""
    at, last = after or (None, None)
    parameters = {"workspace": workspace, "at": at, "after": last and Key(last), "limit": limit}
    return [ListedGrowth(*row) for row in await fetch(connection, _GROWTH, parameters)]


def _page(workspace: str, after: tuple[int, bytes] | None, limit: int) -> dict[str, Any]:
    number, last = after or (None, None)
    return {"workspace": workspace, "number": number, "after": last and Key(last), "limit": limit}


def _listed(rows: Iterable[tuple[Any, ...]]) -> list[Listed]:
    listed = []
    for key, kind, value, profile_id, hub, since, noticed_at, *counted in rows:
        degree = None if counted[0] is None else _degree(counted)
        listed.append(Listed(key, kind, value, profile_id, hub, since, noticed_at, degree))
    return listed


def _degree(row: list[Any]) -> Degree:
    return Degree._make((*row[:5], Gained(*row[5:7]), Gained(*row[7:9]), *row[9:]))
