"""Queries of what was known at a moment of the past, from the log of changes."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Driver, fetch

from sima_identity.records import Cause, Wanted
from sima_identity.store.arrays import instant
from sima_identity.store.decisions import values
from sima_identity.store.lookups import MOST_MEMBERS, asked


def _last_of(key: str) -> str:
    """SQL of the last change of a key that was known at the moment."""
    # Without workspace below OFFSET, for else workspace and order could be had by reading the whole feed.
    return f"""SELECT kind, profile_id, shared, blocked, changed_at
        FROM (SELECT * FROM profile_changes WHERE key = {key} OFFSET 0) AS own
        WHERE workspace = %(workspace)s AND changed_at <= {instant("%(known_at)s::bigint")}
            AND cause <> '{Cause.ERASURE}'
        ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1"""


# One statement, so that the log is read as of one moment, too. Of those who ever were in one of the profiles, each is
# answered as it was at the moment, wherever it was. A profile id was unknown until it was given to who founded it.
_AS_KNOWN = f"""WITH founders AS MATERIALIZED (
    SELECT number, id, founder.key
    FROM unnest(%(profile_ids)s::uuid[], %(profile_numbers)s::bigint[]) AS wanted(id, number), LATERAL (
        SELECT DISTINCT ON (key) key FROM identifiers WHERE workspace = %(workspace)s AND founded_id = wanted.id
    ) AS founder
), asked AS MATERIALIZED (
    SELECT number, key FROM unnest(%(keys)s::uuid[], %(key_numbers)s::bigint[]) AS wanted(key, number)
    UNION ALL
    SELECT number, key FROM founders
    WHERE EXISTS (SELECT FROM (SELECT * FROM profile_changes WHERE key = founders.key OFFSET 0) AS own
        WHERE workspace = %(workspace)s AND profile_id = founders.id
            AND changed_at <= {instant("%(known_at)s::bigint")})
), found AS MATERIALIZED (
    SELECT number, key, state.profile_id FROM asked CROSS JOIN LATERAL ({_last_of("asked.key")}) AS state
), members AS MATERIALIZED (
    (SELECT DISTINCT once.key
    FROM (SELECT DISTINCT profile_id AS id FROM found WHERE profile_id IS NOT NULL) AS profile CROSS JOIN LATERAL (
        SELECT * FROM profile_changes WHERE profile_id = profile.id OFFSET 0) AS once
    WHERE workspace = %(workspace)s AND changed_at <= {instant("%(known_at)s::bigint")}
    LIMIT %(most)s)
    UNION
    SELECT key FROM found WHERE profile_id IS NULL
)
SELECT number, key, profile_id, NULL, NULL, NULL, NULL FROM found
UNION ALL
SELECT NULL, key, state.profile_id, kind, shared, blocked, changed_at
FROM members CROSS JOIN LATERAL ({_last_of("members.key")}) AS state"""


class Member(NamedTuple):
    """An identifier as it was, and since when; `value` is None for protected kinds."""

    key: bytes
    kind: str
    value: str | None
    shared: bool
    blocked: bool
    since: datetime


class Found(NamedTuple):
    """A profile with its identifiers of then, in no order; without profile id it is a blocked identifier alone."""

    profile_id: bytes | None
    members: Sequence[Member]


async def as_known(
    connection: Driver, workspace: str, wanted: Sequence[Wanted], known_at: int
) -> tuple[dict[int, Found], bool]:
    """Find profiles, by the position of what is asked for, as they were known at a moment.

    Args:
        connection: The schema `identity`.
        workspace: Whose profiles.
        wanted: What is asked for.
        known_at: The moment, in microseconds since 1970.

    Returns:
        The profiles; what was not known yet is absent. And whether that is all: of profiles that `MOST_MEMBERS`
        identifiers have come to together, no more are read.
    """
    homes: dict[int, bytes] = {}
    members: defaultdict[bytes, list[Member]] = defaultdict(list)
    profile_ids: dict[bytes, bytes | None] = {}
    parameters = asked(workspace, wanted) | {"known_at": known_at, "most": MOST_MEMBERS + 1}
    rows = await fetch(connection, _AS_KNOWN, parameters)
    known = await values(connection, workspace, [key for number, key, *_ in rows if number is None])
    for number, key, profile_id, kind, *rest in rows:
        home = profile_id or key  # a blocked identifier is at home with itself
        if number is None:
            members[home].append(Member(key, kind, known[key][1] if key in known else None, *rest))
        else:
            homes[number], profile_ids[home] = home, profile_id
    found = {number: Found(profile_ids[home], members[home]) for number, home in homes.items()}
    return found, len(rows) - len(homes) <= MOST_MEMBERS
