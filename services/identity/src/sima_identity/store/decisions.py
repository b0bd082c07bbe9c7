"""Queries of what people decided."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.keys import Key, Keys

from sima_identity.decisions import Deciding, Decision, DecisionKind, Proposal
from sima_identity.evidence import Pair
from sima_identity.records import Wanted
from sima_identity.store.arrays import flags

_DECISION = """decisions.id, kind, actor, reason, request_id, decided_at, withdrawn_at, withdrawn_by, withdrawal_reason,
    ARRAY(SELECT DISTINCT CASE WHEN reversed THEN high ELSE low END FROM decided_pairs AS pair
        WHERE (pair.decision_id, pair.workspace) = (decisions.id, decisions.workspace) ORDER BY 1),
    ARRAY(SELECT DISTINCT CASE WHEN reversed THEN low ELSE high END FROM decided_pairs AS pair
        WHERE (pair.decision_id, pair.workspace) = (decisions.id, decisions.workspace) ORDER BY 1)"""
_FIND = f"SELECT {_DECISION} FROM decisions WHERE id = %s AND workspace = %s"
_CONTRARY = """SELECT decision_id FROM decided_pairs
    JOIN unnest(%(low)s::uuid[], %(high)s::uuid[]) AS wanted(low, high) USING (low, high)
    WHERE workspace = %(workspace)s AND holds AND verdict <> %(verdict)s ORDER BY decision_id LIMIT 1"""
_SAME = """SELECT DISTINCT decision_id FROM decided_pairs
    JOIN unnest(%(low)s::uuid[], %(high)s::uuid[]) AS wanted(low, high) USING (low, high)
    WHERE workspace = %(workspace)s AND holds AND verdict = %(verdict)s AND decision_id <> %(own)s
    ORDER BY decision_id LIMIT 100"""
# One call with an id at a time.
_TAKE_CALL = "SELECT pg_advisory_xact_lock(hashtextextended('sima call ' || %s || ' ' || %s::uuid, 0))"
_OF_CALL = "SELECT id FROM decisions WHERE workspace = %s AND (id = %s OR withdrawal_id = %s)"
_INSERT = """INSERT INTO decisions (workspace, id, kind, actor, reason, request_id) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING decided_at"""
_INSERT_PAIRS = """INSERT INTO decided_pairs (workspace, low, high, decision_id, verdict, reversed, holds)
    SELECT %(workspace)s, low, high, %(id)s, %(verdict)s, reversed, true
    FROM unnest(%(low)s::uuid[], %(high)s::uuid[], %(reversed)s::boolean[]) AS given(low, high, reversed)
    ORDER BY low, high"""
# Later than every change of the decision itself, and earlier than what comes of its being taken back.
_WITHDRAW = """UPDATE decisions SET withdrawn_at = statement_timestamp(), withdrawn_by = %s, withdrawal_reason = %s,
    withdrawal_id = %s WHERE id = %s AND workspace = %s AND withdrawn_at IS NULL RETURNING withdrawn_at"""
_LIFT = "UPDATE decided_pairs SET holds = false, refusal = NULL WHERE decision_id = %s AND workspace = %s"
# Keys are looked up one by one, so that no plan reads the decisions of a whole workspace.
_LIST = f"""WITH founder AS MATERIALIZED (
        SELECT profile_id FROM identifiers WHERE workspace = %(workspace)s AND founded_id = %(profile_id)s::uuid
    ), subject AS MATERIALIZED (
        SELECT key FROM identifiers WHERE workspace = %(workspace)s AND key = %(key)s::uuid
        UNION ALL
        SELECT key FROM identifiers JOIN founder USING (profile_id) WHERE workspace = %(workspace)s
    ), about AS MATERIALIZED (
        SELECT found.decision_id FROM subject CROSS JOIN LATERAL (
            SELECT decision_id FROM decided_pairs WHERE workspace = %(workspace)s AND low = subject.key
            UNION ALL
            SELECT decision_id FROM decided_pairs WHERE workspace = %(workspace)s AND high = subject.key) AS found
    )
    SELECT {_DECISION} FROM decisions WHERE workspace = %(workspace)s AND id IN (SELECT decision_id FROM about)
        AND (%(at)s::timestamptz IS NULL OR (decided_at, id) < (%(at)s::timestamptz, %(after)s::uuid))
    ORDER BY decided_at DESC, id DESC LIMIT %(limit)s"""
_VALUES = "SELECT key, kind, value FROM identifiers WHERE workspace = %s AND key = ANY(%s)"
_MEMBERS = "SELECT key, kind FROM identifiers WHERE workspace = %s AND profile_id = %s"


async def find(connection: Driver, workspace: str, decision: bytes) -> Decision | None:
    """Return a decision by its id."""
    rows = await fetch(connection, _FIND, (Key(decision), workspace))
    return _decision(rows[0]) if rows else None


async def contrary(connection: Driver, workspace: str, proposal: Proposal) -> bytes | None:
    """Return a decision that holds and says the contrary about a pair; None if there is none."""
    low, high = _columns(list(proposal.pairs()))
    parameters = {"workspace": workspace, "low": low, "high": high, "verdict": proposal.kind.verdict}
    rows = await fetch(connection, _CONTRARY, parameters)
    return bytes(rows[0][0]) if rows else None


async def same(connection: Driver, workspace: str, decision: Decision, own: bytes) -> list[bytes]:
    """Return decisions that hold and say the same as another one, of which this is the id, about a pair of it."""
    low, high = _columns(list(decision.pairs()))
    parameters = {"workspace": workspace, "low": low, "high": high, "verdict": decision.kind.verdict, "own": Key(own)}
    return [bytes(decision) for (decision,) in await fetch(connection, _SAME, parameters)]


async def of_call(connection: Driver, workspace: str, call: bytes) -> bytes | None:
    """Return the decision that a call made or took back, if it did; no other with its id does so meanwhile."""
    await execute(connection, _TAKE_CALL, (workspace, Key(call)))
    rows = await fetch(connection, _OF_CALL, (workspace, Key(call), Key(call)))
    return bytes(rows[0][0]) if rows else None


async def insert(
    connection: Driver, workspace: str, decision: bytes, proposal: Proposal, by: Deciding
) -> datetime | None:
    """Insert a decision about identifiers that are locked.

    Returns:
        When it was decided; None if there is one with that id.
    """
    given = (workspace, Key(decision), proposal.kind, by.actor, by.reason, by.request_id)
    if not (inserted := await fetch(connection, _INSERT, given)):
        return None
    first = set(proposal.keys)
    pairs = sorted(set(proposal.pairs()))
    low, high = _columns(pairs)
    parameters = {
        "workspace": workspace,
        "id": Key(decision),
        "verdict": proposal.kind.verdict,
        "low": low,
        "high": high,
        "reversed": flags(one not in first for one, _ in pairs),
    }
    await execute(connection, _INSERT_PAIRS, parameters)
    decided_at: datetime = inserted[0][0]
    return decided_at


async def withdraw(connection: Driver, workspace: str, decision: bytes, by: Deciding, call: bytes) -> datetime | None:
    """Note that a decision, whose identifiers are locked, holds no longer, by which call.

    Returns:
        Since when; None if somebody else has taken it back.
    """
    given = (by.actor, by.reason, Key(call), Key(decision), workspace)
    if not (withdrawn := await fetch(connection, _WITHDRAW, given)):
        return None
    withdrawn_at: datetime = withdrawn[0][0]
    await execute(connection, _LIFT, (Key(decision), workspace))
    return withdrawn_at


async def listed(
    connection: Driver, workspace: str, subject: Wanted, after: tuple[datetime, bytes] | None, limit: int
) -> list[Decision]:
    """Read decisions about an identifier, or about any of a profile's, newest first, behind one of them."""
    at, last = after or (None, None)
    parameters = {
        "workspace": workspace,
        "key": subject.key and Key(subject.key),
        "profile_id": subject.profile_id and Key(subject.profile_id),
        "at": at,
        "after": last and Key(last),
        "limit": limit,
    }
    return [_decision(row) for row in await fetch(connection, _LIST, parameters)]


async def values(connection: Driver, workspace: str, keys: Collection[bytes]) -> dict[bytes, tuple[str, str | None]]:
    """Return kind and value of identifiers by their keys."""
    return {key: (kind, value) for key, kind, value in await fetch(connection, _VALUES, (workspace, Keys(keys)))}


async def members(connection: Driver, workspace: str, profile: bytes) -> list[tuple[bytes, str]]:
    """Return keys and kinds of the identifiers of a profile."""
    return [(key, kind) for key, kind in await fetch(connection, _MEMBERS, (workspace, Key(profile)))]


def _columns(pairs: Sequence[Pair]) -> tuple[Keys, Keys]:
    return Keys([low for low, _ in pairs]), Keys([high for _, high in pairs])


def _decision(row: tuple[Any, ...]) -> Decision:
    own, kind, *said, keys, others = row
    return Decision(own, DecisionKind(kind), keys, others, *said)
