"""Queries of policies, and of what is still to be grouped under the one in force."""

from collections.abc import Collection, Container
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import ENDED_BEFORE
from sima_runtime.keys import Key

from sima_identity.decisions import Deciding
from sima_identity.rules import Rules, rules_from_json
from sima_identity.store.turns import Turn, next_workspace

_ALONE = f"coalesce({ENDED_BEFORE} >= barrier, false)"
# By its time, too: after a restore another version may have the same number.
_HEAD = f"""SELECT version, applied_at IS NOT NULL, {_ALONE}, set_at,
    CASE WHEN (version, set_at) IS DISTINCT FROM (%s::integer, %s::timestamptz) THEN rules END
    FROM policies WHERE workspace = %s ORDER BY version DESC LIMIT 1"""
_STATED = "version, rules, actor, reason, request_id, set_at, applied_at"
# One at a time in a workspace, for each has the next number.
_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('sima policy ' || %s, 0))"
_INSERT = f"""INSERT INTO policies (workspace, version, rules, actor, reason, request_id)
    SELECT %(workspace)s, coalesce(max(version), 0) + 1, %(rules)s, %(actor)s, %(reason)s, %(request_id)s
    FROM policies WHERE workspace = %(workspace)s
    RETURNING {_STATED}"""
# Of each workspace the last; earlier ones need not be applied any more. When all was looked through once, there is
# nothing to do before the barrier is passed.
_TO_APPLY = next_workspace(
    "policies",
    "sima applying",
    waits=f"""applied_at IS NULL AND (place IS NOT NULL OR barrier IS NULL OR {_ALONE})
        AND version = (SELECT max(version) FROM policies AS all_ WHERE all_.workspace = policies.workspace)""",
    also="""(SELECT max(version) FROM policies WHERE policies.workspace = chosen.workspace),
        (SELECT xmin::text FROM policies WHERE policies.workspace = chosen.workspace ORDER BY version DESC LIMIT 1)""",
)
_PLACE = f"SELECT place, {_ALONE}, applied_before FROM policies WHERE workspace = %s AND version = %s"
# Those that are closed only when nobody is left who might write to them without a lock.
_IN_ORDER = """(%(alone)s OR NOT (hub OR blocked)) AND (%(after)s::uuid IS NULL OR key > %(after)s)
    ORDER BY key LIMIT %(limit)s"""
_STALE = f"""SELECT key FROM identifiers WHERE workspace = %(workspace)s AND policy_version <> %(version)s
    AND {_IN_ORDER}"""
#: Where all was grouped under the version before, only what an erasure marked is not; there is an index of it.
STALE_AGAIN = f"""SELECT key FROM identifiers WHERE workspace = %(workspace)s AND policy_version < 0
    AND {_IN_ORDER}"""
# Not if something was erased since the row was seen: this transaction's number may be older than the erasure.
_MOVE = """UPDATE policies SET place = %s, barrier = coalesce(barrier, pg_current_xact_id())
    WHERE workspace = %s AND version = %s AND xmin::text = %s"""
# Not if something was erased just now.
_FINISH = f"UPDATE policies SET applied_at = now() WHERE workspace = %s AND version = %s AND {_ALONE}"

_NAMING = """SELECT version, rules FROM policies WHERE workspace = %s AND rules LIKE '%%"value": "%%'
    ORDER BY version"""
_SAY = "UPDATE policies SET rules = %s WHERE workspace = %s AND version = %s"
_NOTHING_SAID = """INSERT INTO policies (workspace, version, rules, actor, reason, request_id, applied_before)
    SELECT %s, 0, %s, '', '', '', true ON CONFLICT (workspace, version) DO NOTHING"""
_UNSETTLE = """UPDATE policies SET applied_before = applied_before OR applied_at IS NOT NULL, applied_at = NULL,
    place = NULL, barrier = NULL WHERE workspace = %(workspace)s
    AND version = (SELECT max(version) FROM policies WHERE workspace = %(workspace)s)"""


class Head(NamedTuple):
    """The policy in force, as it is stored; `rules` is None where they are known already, or nothing is said.

    `settled` says that all is grouped under it, and `alone` that nobody is left who knows only an earlier one.
    """

    version: int
    settled: bool
    alone: bool
    set_at: datetime | None
    rules: str | None


class Place(NamedTuple):
    """How far a version is applied.

    Attributes:
        after: Up to which key all is grouped under it; None: at the beginning.
        alone: Whether all who knew only earlier ones have ended.
        applied_before: Whether all was grouped under it once, so that only what an erasure marked since is not.
    """

    after: bytes | None
    alone: bool
    applied_before: bool


class Stated(NamedTuple):
    """What a workspace said about its policy; `applied_at` is None as long as not all is grouped under it."""

    version: int
    rules: str
    actor: str
    reason: str
    request_id: str
    set_at: datetime
    applied_at: datetime | None


async def head(connection: Driver, workspace: str, version: int | None, set_at: datetime | None) -> Head:
    """Return the policy in force; without its rules if that is the version that is known, which was set then."""
    rows = await fetch(connection, _HEAD, (version, set_at, workspace))
    return Head(*rows[0]) if rows else Head(0, settled=True, alone=True, set_at=None, rules=None)


async def take_turn(connection: Driver, workspace: str) -> None:
    """Wait until nobody else sets the policy of the workspace, and be the only one until the transaction ends."""
    await execute(connection, _TAKE_TURN, (workspace,))


async def find(connection: Driver, workspace: str, version: int | None) -> Stated | None:
    """Return what was said in a version, or last."""
    query = f"""SELECT {_STATED} FROM policies WHERE workspace = %(workspace)s
        AND (%(version)s::integer IS NULL OR version = %(version)s) ORDER BY version DESC LIMIT 1"""
    rows = await fetch(connection, query, {"workspace": workspace, "version": version})
    return Stated(*rows[0]) if rows else None


async def of_request(connection: Driver, workspace: str, request_id: str) -> Stated | None:
    """Return what was said in a call."""
    query = f"SELECT {_STATED} FROM policies WHERE workspace = %s AND request_id = %s"
    rows = await fetch(connection, query, (workspace, request_id))
    return Stated(*rows[0]) if rows else None


async def insert(connection: Driver, workspace: str, rules: str, by: Deciding) -> Stated:
    """Say something new about the policy, in the turn."""
    said = {"actor": by.actor, "reason": by.reason, "request_id": by.request_id}
    parameters = {"workspace": workspace, "rules": rules, **said}
    return Stated(*(await fetch(connection, _INSERT, parameters))[0])


async def unsettle(connection: Driver, workspace: str, rules: str) -> None:
    """Have what is stale grouped anew under the policy in force; `rules` are its, if nothing was ever said."""
    await execute(connection, _NOTHING_SAID, (workspace, rules))
    await execute(connection, _UNSETTLE, {"workspace": workspace})


async def forget_values(connection: Driver, workspace: str, keys: Collection[bytes]) -> None:
    """Leave of blocked identifiers, in all versions, nothing but their keys."""
    texts = {key.hex() for key in keys}
    if not await _naming(connection, workspace, texts):
        return
    await take_turn(connection, workspace)  # else another one who forgets would write back what is forgotten here
    for version, rules in await _naming(connection, workspace, texts):
        values = [replace(one, value=None) if one.key in texts else one for one in rules.values]
        await execute(connection, _SAY, (replace(rules, values=values).to_json(), workspace, version))


async def _naming(connection: Driver, workspace: str, keys: Container[str]) -> list[tuple[int, Rules]]:
    """Return the versions that have the value of one of some blocked identifiers."""
    said = ((version, rules_from_json(text)) for version, text in await fetch(connection, _NAMING, (workspace,)))
    return [(version, rules) for version, rules in said if any(one.value and one.key in keys for one in rules.values)]


async def next_to_apply(connection: Driver, turn: Turn) -> tuple[str, int, str] | None:
    """Return the next workspace with something to group under its policy, at which nobody else is, and the version.

    For a transaction that has no number yet: who did not see that version has a smaller one. The text stands for how
    the version's row was seen.
    """
    rows = await fetch(connection, _TO_APPLY, turn.parameters())
    return rows[0] if rows else None


async def place(connection: Driver, workspace: str, version: int) -> Place:
    """Return how far a version is applied."""
    return Place(*(await fetch(connection, _PLACE, (workspace, version)))[0])


async def stale(connection: Driver, workspace: str, version: int, behind: Place, limit: int) -> list[bytes]:
    """Return keys of identifiers that are not grouped under a version, in order, behind a place."""
    parameters = {"workspace": workspace, "alone": behind.alone, "limit": limit}
    parameters |= {"version": version, "after": behind.after and Key(behind.after)}
    query = STALE_AGAIN if behind.applied_before else _STALE
    return [key for (key,) in await fetch(connection, query, parameters)]


async def move(connection: Driver, workspace: str, version: int, seen: str, to: bytes | None) -> None:
    """Note up to which key all is grouped under a version; None: begin again.

    The first who does so raises the barrier: the number of a transaction that had none when it saw the version, as it
    still is. If something was erased since, nothing is noted.
    """
    await execute(connection, _MOVE, (to and Key(to), workspace, version, seen))


async def finish(connection: Driver, workspace: str, version: int) -> None:
    """Note that all is grouped under a version."""
    await execute(connection, _FINISH, (workspace, version))
