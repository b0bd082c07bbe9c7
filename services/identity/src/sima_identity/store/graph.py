"""Queries of the graph: what is recorded, and who belongs to whom.

Whoever writes keeps to one order, so that transactions of several replicas never wait for each other in a circle:
`lock_identifiers` for all rows at once, then `insert_identifiers`, then all else. Within each, rows come in the order
of their keys. An edge is only written by who has locked each of its ends that is neither blocked nor a hub.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH
from sima_runtime.keys import Keys

from sima_identity.batch import Batch, EdgeId
from sima_identity.evidence import Pair, Refusal
from sima_identity.records import (
    ChangedIdentifier,
    NewIdentifier,
    RefusedPair,
    State,
    Stored,
    StoredEdge,
    WrittenEdge,
)
from sima_identity.store.log import EVIDENCE

#: The only kind of evidence so far: one message showed both.
SEEN_TOGETHER = "seen_together"

_NOBODY = bytes(16)  # stands for null in arrays of keys
_OR_NULL = f"'{_NOBODY.hex()}'::uuid"
_STORED = "key, kind, profile_id, founded_seq, shared, hub, blocked, first_seen_at"

_READ = """SELECT NULL::bigint, key, profile_id, shared, blocked, first_seen_at FROM identifiers
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s)
UNION ALL
SELECT wanted.number, NULL, NULL, edges.first_at <= wanted.first_at, NULL, NULL
    FROM unnest(%(low)s::uuid[], %(high)s::uuid[], %(source)s::text[], %(first_at)s::timestamptz[])
        WITH ORDINALITY AS wanted(low, high, source, first_at, number)
    LEFT JOIN edges ON (edges.workspace, edges.low, edges.high, edges.evidence, edges.source)
        = (%(workspace)s, wanted.low, wanted.high, %(evidence)s, wanted.source)
    WHERE (edges.first_at <= wanted.first_at AND edges.refusal IS DISTINCT FROM 'pending') IS NOT TRUE"""


@dataclass(slots=True)
class Reading:
    """What is known of a batch.

    Attributes:
        states: Of the identifiers that are stored.
        unknown: Identifiers that are not stored, or were seen earlier than is stored.
        missing: Edges that are not stored, or were seen earlier than is stored.
        pending: Pairs whose neighbourhood has not been looked at.
    """

    states: dict[bytes, State]
    unknown: set[bytes]
    missing: list[EdgeId]
    pending: set[Pair]


async def read(connection: Driver, workspace: str, batch: Batch) -> Reading:
    """Read what is known of a batch, in one query."""
    edges = list(batch.edges)
    parameters = {
        "workspace": workspace,
        "keys": Keys(batch.identifiers),
        "low": Keys(edge.low for edge in edges),
        "high": Keys(edge.high for edge in edges),
        "source": [edge.source for edge in edges],
        "first_at": [seen.first_at for seen in batch.edges.values()],
        "evidence": SEEN_TOGETHER,
    }
    reading = Reading({}, set(batch.identifiers), [], set())
    for number, key, profile_id, flag, blocked, first_seen_at in await fetch(connection, _READ, parameters):
        if number is None:
            reading.states[key] = State(profile_id, flag, blocked)
            if first_seen_at <= batch.first_seen[key]:
                reading.unknown.discard(key)
        elif flag:
            reading.pending.add(edges[number - 1][:2])
        else:
            reading.missing.append(edges[number - 1])
    return reading


async def read_identifiers(connection: Driver, workspace: str, keys: Iterable[bytes]) -> list[Stored]:
    """Read identifiers as they are stored."""
    query = f"SELECT {_STORED} FROM identifiers WHERE workspace = %s AND key = ANY(%s)"
    return [Stored(*row) for row in await fetch(connection, query, (workspace, Keys(keys)))]


async def lock_identifiers(connection: Driver, workspace: str, keys: Collection[bytes]) -> tuple[list[Stored], bool]:
    """Lock identifiers until the transaction ends, and read them as they are then.

    Returns:
        The rows, and whether one of them was changed by a transaction that began after this one. The feed would show
        what this transaction does before what it builds upon, so it has to begin again.
    """
    query = f"""SELECT {_STORED}, (changed_epoch, changed_xid) > ({CURRENT_EPOCH}, pg_current_xact_id())
        FROM identifiers WHERE workspace = %s AND key = ANY(%s) ORDER BY key FOR NO KEY UPDATE"""
    rows = await fetch(connection, query, (workspace, Keys(keys)))
    return [Stored(*row[:-1]) for row in rows], any(row[-1] for row in rows)


async def read_edges(connection: Driver, workspace: str, keys: Collection[bytes]) -> list[StoredEdge]:
    """Read all edges of identifiers; one between two of them comes twice."""
    query = """SELECT low, high, first_at, refusal FROM edges WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)
        UNION ALL
        SELECT low, high, first_at, refusal FROM edges WHERE workspace = %(workspace)s AND high = ANY(%(keys)s)"""
    rows = await fetch(connection, query, {"workspace": workspace, "keys": Keys(keys)})
    return [StoredEdge(low, high, first_at, refusal and Refusal(refusal)) for low, high, first_at, refusal in rows]


async def insert_identifiers(connection: Driver, workspace: str, rows: Sequence[NewIdentifier]) -> bool:
    """Insert identifiers, and log them; False if somebody else has just inserted one of them.

    Args:
        connection: Psycopg's connection.
        workspace: Whose identifiers.
        rows: In the order of their keys.
    """
    query = f"""WITH new AS (
        INSERT INTO identifiers (workspace, key, kind, value, profile_id, founded_id, founded_seq, shared, hub, blocked,
            first_seen_at, changed_epoch, changed_xid)
        SELECT %s, key, kind, value, nullif(profile_id, {_OR_NULL}), CASE WHEN founds THEN profile_id END,
            CASE WHEN founds THEN nextval('founded_seq') END, shared, hub, blocked,
            first_seen_at, {CURRENT_EPOCH}, pg_current_xact_id()
        FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::boolean[], %s::boolean[], %s::boolean[],
            %s::boolean[], %s::timestamptz[])
            AS given(key, kind, value, profile_id, founds, shared, hub, blocked, first_seen_at)
        ORDER BY key
        ON CONFLICT DO NOTHING
        RETURNING key, kind, profile_id, shared, blocked
    )
    INSERT INTO profile_changes (workspace, key, kind, profile_id, shared, blocked, cause, epoch)
    SELECT %s, key, kind, profile_id, shared, blocked, %s, {CURRENT_EPOCH} FROM new"""
    key, kind, value, profile_id, *others = _columns(rows)
    inserted = await execute(
        connection,
        query,
        (workspace, Keys(key), kind, value, _keys_or_null(profile_id), *others, workspace, EVIDENCE),
    )
    return inserted == len(rows)


async def update_identifiers(connection: Driver, workspace: str, rows: Sequence[ChangedIdentifier]) -> None:
    """Rewrite identifiers that are locked, and log those whose state changed."""
    query = f"""WITH given AS (
        SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::uuid[], %s::boolean[], %s::boolean[],
            %s::boolean[], %s::boolean[], %s::timestamptz[], %s::boolean[])
            AS given(key, kind, previous_profile_id, profile_id, founds, shared, hub, blocked, first_seen_at,
                state_changed)
    ), written AS (
        UPDATE identifiers SET
            profile_id = nullif(given.profile_id, {_OR_NULL}),
            shared = given.shared,
            hub = given.hub,
            founded_id = CASE WHEN given.founds THEN given.profile_id ELSE founded_id END,
            founded_seq = CASE WHEN given.founds THEN nextval('founded_seq') ELSE founded_seq END,
            first_seen_at = given.first_seen_at,
            changed_epoch = CASE WHEN given.state_changed THEN {CURRENT_EPOCH} ELSE changed_epoch END,
            changed_xid = CASE WHEN given.state_changed THEN pg_current_xact_id() ELSE changed_xid END
        FROM given WHERE identifiers.workspace = %s AND identifiers.key = given.key
    )
    INSERT INTO profile_changes (workspace, key, kind, previous_profile_id, profile_id, shared, blocked, cause, epoch)
    SELECT %s, key, kind, nullif(previous_profile_id, {_OR_NULL}), nullif(profile_id, {_OR_NULL}), shared, blocked, %s,
        {CURRENT_EPOCH}
    FROM given WHERE state_changed"""
    key, kind, previous, profile_id, *others = _columns(rows)
    arrays = (Keys(key), kind, _keys_or_null(previous), _keys_or_null(profile_id), *others)
    await execute(connection, query, (*arrays, workspace, workspace, EVIDENCE))


async def write_edges(connection: Driver, workspace: str, rows: Sequence[WrittenEdge]) -> None:
    """Insert edges, or let stored ones begin earlier; `rows` come in the order of their keys."""
    query = """INSERT INTO edges (workspace, low, high, evidence, source, message_id, first_at, refusal)
        SELECT %s, low, high, %s, source, nullif(message_id, ''), first_at, refusal
        FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
            AS given(low, high, source, message_id, first_at, refusal)
        ORDER BY low, high, source
        ON CONFLICT (workspace, low, high, evidence, source) DO UPDATE SET
            message_id = CASE
                WHEN excluded.first_at < edges.first_at THEN excluded.message_id ELSE edges.message_id END,
            first_at = least(excluded.first_at, edges.first_at),
            refusal = excluded.refusal"""
    low, high, *others = _columns(rows)
    await execute(connection, query, (workspace, SEEN_TOGETHER, Keys(low), Keys(high), *others))


async def write_refusals(connection: Driver, workspace: str, rows: Sequence[RefusedPair]) -> None:
    """Let all edges between pairs, of which an end is locked, bind or be refused."""
    query = """UPDATE edges SET refusal = given.refusal
        FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS given(low, high, refusal)
        WHERE (edges.workspace, edges.low, edges.high) = (%s, given.low, given.high)"""
    low, high, refusal = _columns(rows)
    await execute(connection, query, (Keys(low), Keys(high), refusal, workspace))


async def add_pending(connection: Driver, workspace: str, keys: Iterable[bytes]) -> None:
    """Note identifiers, which are locked, whose neighbourhood is to be looked at in the background."""
    query = "INSERT INTO pending (workspace, key) SELECT %s, unnest(%s::uuid[]) ON CONFLICT DO NOTHING"
    await execute(connection, query, (workspace, Keys(sorted(keys))))


async def next_pending(connection: Driver) -> tuple[str, bytes] | None:
    """Give one workspace and identifier to look around, of a workspace that no other replica is at.

    The row itself is not locked: who wants it must have the identifiers first, like everybody.
    """
    query = """SELECT workspace, key FROM pending
        WHERE pg_try_advisory_xact_lock(hashtextextended('settle ' || workspace, 0)) LIMIT 1"""
    rows = await fetch(connection, query)
    return rows[0] if rows else None


async def remove_pending(connection: Driver, workspace: str, keys: Iterable[bytes]) -> None:
    """Strike out identifiers, which are locked, whose neighbourhood has been looked at."""
    await execute(connection, "DELETE FROM pending WHERE workspace = %s AND key = ANY(%s)", (workspace, Keys(keys)))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _keys_or_null(keys: Iterable[bytes | None]) -> Keys:
    return Keys(key or _NOBODY for key in keys)
