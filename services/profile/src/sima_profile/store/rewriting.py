"""Gives facts the owners that new standings lead to, a portion in each transaction.

Whoever changes a standing notes at it from which fact on others are to be rewritten (`non_owners.rewritten_to`). While
that goes on, new facts are appended, and what is rewritten already stays so. Facts are taken in the order of their ids.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.keys import Key, Keys

from sima_profile.message_identity import HASH_BYTES
from sima_profile.store.appending import HOLD_OWNERS, owners_lock

#: The id before all facts.
BEFORE_ALL = bytes(HASH_BYTES)

#: Standings that changed together are rewritten together, so many at a time.
_MOST_KEYS = 1_000

_UNFINISHED = "SELECT DISTINCT workspace FROM non_owners WHERE rewritten_to IS NOT NULL"
_ONLY_ONE = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
# Those under way come before those that have not begun.
_NEXT = f"""SELECT rewritten_to, key FROM non_owners
    WHERE workspace = %(workspace)s AND rewritten_to = (
        SELECT rewritten_to FROM non_owners WHERE workspace = %(workspace)s AND rewritten_to IS NOT NULL
        ORDER BY rewritten_to DESC LIMIT 1)
    ORDER BY key LIMIT {_MOST_KEYS}"""
# Whose owner may be another now: what those keys own, and what a key before the owner gave away.
_AFFECTED = """SELECT id FROM (
        SELECT id FROM unnest(%(keys)s) AS standing (key) CROSS JOIN LATERAL (
            SELECT id FROM facts WHERE workspace = %(workspace)s AND owner = standing.key AND id > %(after)s) AS owned
        UNION SELECT id FROM facts
        WHERE workspace = %(workspace)s AND contested AND keys && %(keys)s AND id > %(after)s) AS affected
    ORDER BY id LIMIT %(most)s"""
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
_NOTE = """UPDATE non_owners SET rewritten_to = %(last)s
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)"""


class Unfinished(NamedTuple):
    """Identifiers whose facts are rewritten up to the same place.

    Attributes:
        after: Id of the last fact that is done.
        keys: Of the identifiers.
    """

    after: bytes
    keys: Sequence[bytes]


def rewriters_lock(workspace: str) -> str:
    """Return the name of the lock that who rewrites holds alone."""
    return f"profile rewriting {workspace}"


async def workspaces(connection: Driver) -> list[str]:
    """Return the workspaces in which something is still to be rewritten."""
    return [workspace for (workspace,) in await fetch(connection, _UNFINISHED)]


async def begin(connection: Driver, workspace: str) -> Unfinished | None:
    """Return what is to be done next; None if there is nothing, or another transaction is at it.

    No standing changes before the transaction ends.
    """
    [(alone,)] = await fetch(connection, _ONLY_ONE, (rewriters_lock(workspace),))
    if not alone:
        return None
    await execute(connection, HOLD_OWNERS, (owners_lock(workspace),))
    found = await fetch(connection, _NEXT, {"workspace": workspace})
    return Unfinished(found[0][0], [key for _, key in found]) if found else None


async def rewrite(connection: Driver, workspace: str, unfinished: Unfinished, most: int) -> None:
    """Give so many facts their owners, and note how far that went."""
    parameters = {"workspace": workspace, "keys": Keys(unfinished.keys), "after": Key(unfinished.after), "most": most}
    facts = [fact for (fact,) in await fetch(connection, _AFFECTED, parameters)]
    if facts:
        parameters |= {"facts": Keys(facts), "first": Key(facts[0]), "last": Key(facts[-1])}
        await execute(connection, _LOCK, parameters)
        await execute(connection, _REWRITE, parameters)
    await execute(connection, _NOTE, parameters | {"last": Key(facts[-1]) if len(facts) == most else None})
