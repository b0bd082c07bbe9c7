"""Gives facts the owners that new standings lead to, a portion in each transaction.

Whoever changes a standing notes at it from which fact on others are to be rewritten (`non_owners.rewritten_to`). While
that goes on new facts are appended, and other standings may change. Facts are taken in the order of their times.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.keys import Key, Keys

from sima_profile.message_identity import HASH_BYTES, least_of_its_time

#: The place before all facts.
BEFORE_ALL = (datetime(1, 1, 1, tzinfo=UTC), bytes(HASH_BYTES))

#: Standings that are rewritten up to the same place go on together, so many at a time.
_MOST_KEYS = 1_000

_UNFINISHED = "SELECT DISTINCT workspace FROM non_owners WHERE rewritten_to IS NOT NULL"
_ONLY_ONE = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
# Those that have just begun come first: mostly they have few facts, and need not wait for one that has millions.
_NEXT = f"""SELECT rewritten_at, rewritten_to, key, version FROM non_owners
    WHERE workspace = %(workspace)s AND (rewritten_at, rewritten_to) = (
        SELECT rewritten_at, rewritten_to FROM non_owners
        WHERE workspace = %(workspace)s AND rewritten_to IS NOT NULL ORDER BY rewritten_at, rewritten_to LIMIT 1)
    ORDER BY key LIMIT {_MOST_KEYS}"""
# Whose owner may be another now: what those keys own, along the index, and what a key before the owner gave away. That
# is found by keys alone, which are hashed with the workspace's secret: else PostgreSQL may read all of the workspace.
# Ids begin with the time, so `first` leaves out partitions.
_AFFECTED = """WITH given AS MATERIALIZED (
        SELECT workspace, occurred_at, id FROM facts WHERE contested AND keys && %(keys)s AND id >= %(first)s)
    SELECT occurred_at, id FROM (
        SELECT owned.* FROM unnest(%(keys)s) AS standing (key) CROSS JOIN LATERAL (
            SELECT occurred_at, id FROM facts WHERE workspace = %(workspace)s AND owner = standing.key
                AND (occurred_at, id) > (%(after_at)s, %(after)s) AND id >= %(first)s
            ORDER BY occurred_at, id LIMIT %(most)s) AS owned
        UNION SELECT occurred_at, id FROM given
        WHERE workspace = %(workspace)s AND (occurred_at, id) > (%(after_at)s, %(after)s)) AS affected
    ORDER BY occurred_at, id LIMIT %(most)s"""
# In the order in which everybody locks them; then nobody replaces their contents.
_LOCK = """SELECT FROM facts
    WHERE workspace = %(workspace)s AND id = ANY(%(facts)s) AND id BETWEEN %(first)s AND %(last)s
    ORDER BY id FOR NO KEY UPDATE"""
# The rule of `NonOwners.owner`: the first plain key, else the first that is only shared.
_OWNER = """SELECT listed.key FROM unnest(keys) WITH ORDINALITY AS listed (key, place)
    LEFT JOIN non_owners AS standing ON standing.workspace = %(workspace)s AND standing.key = listed.key
        AND (standing.shared OR standing.blocked)
    WHERE standing.blocked IS NOT TRUE ORDER BY standing.key IS NOT NULL, place LIMIT 1"""
_CONTESTED = """SELECT FROM non_owners AS standing
    WHERE standing.workspace = %(workspace)s AND standing.key = keys[1] AND (standing.shared OR standing.blocked)"""
# What a fact says about traits belongs to whom it belongs.
_REWRITE = f"""WITH owned AS (
        SELECT id, ({_OWNER}) AS owner, EXISTS ({_CONTESTED}) AS contested FROM facts
        WHERE workspace = %(workspace)s AND id = ANY(%(facts)s) AND id BETWEEN %(first)s AND %(last)s),
    moved AS (
        UPDATE facts AS target SET owner = owned.owner, contested = owned.contested FROM owned
        WHERE target.workspace = %(workspace)s AND target.id = owned.id AND target.id BETWEEN %(first)s AND %(last)s
            AND (target.owner, target.contested) IS DISTINCT FROM (owned.owner, owned.contested)
        RETURNING target.id, target.owner, target.contested)
    UPDATE observations AS target SET owner = moved.owner FROM moved
    WHERE target.workspace = %(workspace)s AND target.fact_id = moved.id
        AND target.owner IS DISTINCT FROM moved.owner"""
# Whose standing changed meanwhile begins again.
_NOTE = """UPDATE non_owners SET rewritten_at = %(to_at)s, rewritten_to = %(to)s
    FROM unnest(%(keys)s, %(versions)s::bigint[]) AS done (key, version)
    WHERE workspace = %(workspace)s AND non_owners.key = done.key AND non_owners.version = done.version"""


class Unfinished(NamedTuple):
    """Identifiers whose facts are rewritten up to the same place.

    Attributes:
        place: Time and id of the last fact that is done.
        versions: The change that gave each of them its standing, by key.
    """

    place: tuple[datetime, bytes]
    versions: Mapping[bytes, int]


def rewriters_lock(workspace: str) -> str:
    """Return the name of the lock that who rewrites holds alone."""
    return f"profile rewriting {workspace}"


async def workspaces(connection: Driver) -> list[str]:
    """Return the workspaces in which something is still to be rewritten."""
    return [workspace for (workspace,) in await fetch(connection, _UNFINISHED)]


async def begin(connection: Driver, workspace: str) -> Unfinished | None:
    """Return what is to be done next; None if there is nothing, or another transaction is at it."""
    [(alone,)] = await fetch(connection, _ONLY_ONE, (rewriters_lock(workspace),))
    found = await fetch(connection, _NEXT, {"workspace": workspace}) if alone else []
    return Unfinished(found[0][:2], {key: version for *_, key, version in found}) if found else None


async def rewrite(connection: Driver, workspace: str, unfinished: Unfinished, most: int) -> None:
    """Give so many facts their owners, and note how far that went.

    Standings may change meanwhile: whose did is rewritten from the start once this is done.
    """
    after_at, after = unfinished.place
    parameters = {"workspace": workspace, "keys": Keys(unfinished.versions), "most": most}
    behind = {"after_at": after_at, "after": Key(after), "first": Key(least_of_its_time(after))}
    places = await fetch(connection, _AFFECTED, parameters | behind)
    if places:
        facts = [fact for _, fact in places]
        rewritten = {"facts": Keys(facts), "first": Key(min(facts)), "last": Key(max(facts))}
        await execute(connection, _LOCK, parameters | rewritten)
        await execute(connection, _REWRITE, parameters | rewritten)
    to_at, to = places[-1] if len(places) == most else (None, None)
    done = {"versions": list(unfinished.versions.values()), "to_at": to_at, "to": to and Key(to)}
    await execute(connection, _NOTE, parameters | done)
