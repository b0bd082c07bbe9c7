"""Queries of the graph: what is recorded, and who belongs to whom.

Whoever writes keeps to one order, so that transactions of several replicas never wait for each other in a circle:
`lock_identifiers` for all rows at once, then `insert_identifiers`, then all else. Within each, rows come in the order
of their keys. An edge is only written by who has locked each of its ends that is neither blocked nor a hub. Where rows
lie on several machines, `hold` and `read_held` stand for `lock_identifiers`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH, IS_SPREAD
from sima_runtime.keys import Key, Keys

from sima_identity.evidence import Refusal, Verdict
from sima_identity.records import (
    Because,
    Cause,
    ChangedIdentifier,
    NewIdentifier,
    RefusedPair,
    Stored,
    StoredEdge,
    WrittenEdge,
)
from sima_identity.store.arrays import NOBODY, OR_NULL, choices, flags, instant, microseconds, numbers
from sima_identity.store.turns import Turn, next_workspace

#: The only kind of evidence so far: one message showed both.
SEEN_TOGETHER = "seen_together"

#: The columns of `Stored`.
STORED = f"key, kind, profile_id, founded_seq, shared, hub, blocked, {microseconds('first_seen_at')}, policy_version"
_EDGE = f"low, high, {microseconds('first_at')}, refusal, NULL"
_DECIDED = "low, high, 0::bigint, refusal, verdict"

# Statements of a transaction that records look up keys, and nothing else.
_LOOK_UP = """SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true)"""
_BEGIN = f"{_LOOK_UP}, pg_current_xact_id(), {IS_SPREAD}"
# Not for ever: a process that is gone without a word must not hold up the feed for good.
_TAKE_TIME = """SELECT set_config('statement_timeout', '1h', true),
    set_config('idle_in_transaction_session_timeout', '1h', true)"""

_LOCK = f"""SELECT {STORED}, (changed_epoch, changed_xid) > ({CURRENT_EPOCH}, pg_current_xact_id())
    FROM identifiers WHERE workspace = %s AND key = ANY(%s) ORDER BY key FOR NO KEY UPDATE"""
# On several machines a row's lock ends before others can see all of the transaction; what is held here does not.
_HOLD = """SELECT pg_advisory_xact_lock(place) FROM (
    SELECT DISTINCT hashtextextended('sima key ' || %s || ' ' || key, 0) AS place FROM unnest(%s::uuid[]) AS given(key)
    ORDER BY place OFFSET 0) AS places"""
_HOLD_SOME = "SELECT pg_advisory_xact_lock_shared(hashtextextended('sima keys ' || %s, 0))"
_HOLD_ALL = "SELECT pg_advisory_xact_lock(hashtextextended('sima keys ' || %s, 0))"
_MOST_HELD = 2_000  # PostgreSQL has room for so many locks; who wants more holds all
# Here it is known what the transaction's number is; the machines that have the rows know only their own.
_READ_HELD = f"""WITH began AS MATERIALIZED (SELECT epoch, pg_current_xact_id() AS xid FROM feed_epoch)
    SELECT {STORED}, (changed_epoch, changed_xid) > (epoch, xid)
    FROM identifiers, began WHERE workspace = %s AND key = ANY(%s)"""

_READ_EDGES = f"""SELECT {_EDGE} FROM edges WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)
    UNION ALL
    SELECT {_EDGE} FROM edges WHERE workspace = %(workspace)s AND high = ANY(%(keys)s)
    UNION ALL
    SELECT {_DECIDED} FROM decided_pairs WHERE workspace = %(workspace)s AND low = ANY(%(keys)s) AND holds
    UNION ALL
    SELECT {_DECIDED} FROM decided_pairs WHERE workspace = %(workspace)s AND high = ANY(%(keys)s) AND holds"""

_READ_EDGES_BETWEEN = f"""SELECT {_EDGE} FROM edges
    WHERE workspace = %(workspace)s AND low = ANY(%(keys)s) AND high = ANY(%(others)s)
    UNION ALL
    SELECT {_EDGE} FROM edges WHERE workspace = %(workspace)s AND low = ANY(%(others)s) AND high = ANY(%(keys)s)"""

_INSERT = f"""WITH inserted AS (
    INSERT INTO identifiers (workspace, key, kind, value, profile_id, founded_id, founded_seq, shared, hub, blocked,
        first_seen_at, changed_epoch, changed_xid, policy_version)
    SELECT %(workspace)s, key, (%(kinds)s::text[])[kind], value, nullif(profile_id, {OR_NULL}),
        CASE WHEN founds THEN profile_id END, CASE WHEN founds THEN nextval('founded_seq') END, shared, hub, blocked,
        {instant("seen_at")}, {CURRENT_EPOCH}, pg_current_xact_id(), %(policy_version)s
    FROM unnest(%(key)s::uuid[], %(kind)s::integer[], %(value)s::text[], %(profile_id)s::uuid[], %(founds)s::boolean[],
        %(shared)s::boolean[], %(hub)s::boolean[], %(blocked)s::boolean[], %(seen_at)s::bigint[])
        AS given(key, kind, value, profile_id, founds, shared, hub, blocked, seen_at)
    ORDER BY key
    ON CONFLICT DO NOTHING
    RETURNING key, kind, profile_id, shared, blocked
)
INSERT INTO profile_changes
    (workspace, key, kind, profile_id, shared, blocked, standing_changed, cause, epoch)
SELECT %(workspace)s, key, kind, profile_id, shared, blocked, shared OR blocked OR key = ANY(%(returned)s::uuid[]),
    %(cause)s, {CURRENT_EPOCH}
FROM inserted"""

# What this transaction has inserted changed at the same moment.
_CHANGED_AT = f"""coalesce((SELECT changed_at FROM profile_changes WHERE workspace = %(workspace)s
    AND epoch = {CURRENT_EPOCH} AND xid = pg_current_xact_id() ORDER BY seq LIMIT 1), statement_timestamp())"""

_UPDATE = f"""WITH given AS MATERIALIZED (
    SELECT given.*, {instant("seen_at")} AS first_seen_at, CASE WHEN founds THEN nextval('founded_seq') END AS seq,
        epoch, pg_current_xact_id() AS xid
    FROM feed_epoch, unnest(%(key)s::uuid[], %(kind)s::text[], %(previous)s::uuid[], %(profile_id)s::uuid[],
        %(founds)s::boolean[], %(shared)s::boolean[], %(hub)s::boolean[], %(blocked)s::boolean[],
        %(seen_at)s::bigint[], %(policy_version)s::integer[], %(state_changed)s::boolean[],
        %(standing_changed)s::boolean[], %(own_cause)s::text[], %(previously_shared)s::boolean[],
        %(previously_blocked)s::boolean[])
        AS given(key, kind, previous, profile_id, founds, shared, hub, blocked, seen_at, policy_version, state_changed,
            standing_changed, own_cause, previously_shared, previously_blocked)
), written AS (
    UPDATE identifiers SET
        profile_id = nullif(given.profile_id, {OR_NULL}),
        shared = given.shared,
        hub = given.hub,
        blocked = given.blocked,
        policy_version = given.policy_version,
        founded_id = CASE WHEN given.founds THEN given.profile_id ELSE founded_id END,
        founded_seq = coalesce(given.seq, founded_seq),
        first_seen_at = given.first_seen_at,
        changed_epoch = CASE WHEN given.state_changed THEN given.epoch ELSE changed_epoch END,
        changed_xid = CASE WHEN given.state_changed THEN given.xid ELSE changed_xid END
    FROM given WHERE identifiers.workspace = %(workspace)s AND identifiers.key = given.key
)
INSERT INTO profile_changes
    (workspace, key, kind, previous_profile_id, profile_id, shared, blocked, standing_changed, cause, decision_id,
        erasure_id, policy_version, previously_shared, previously_blocked, changed_at, epoch)
SELECT %(workspace)s, key, kind, nullif(previous, {OR_NULL}), nullif(profile_id, {OR_NULL}), shared, blocked,
    standing_changed, coalesce(own_cause, %(cause)s), CASE WHEN own_cause IS NULL THEN %(decision_id)s::uuid END,
    CASE WHEN own_cause IS NULL THEN %(erasure_id)s::uuid END,
    CASE WHEN own_cause = '{Cause.POLICY}' THEN policy_version END, previously_shared, previously_blocked,
    {_CHANGED_AT}, epoch
FROM given WHERE state_changed"""

_WRITE_EDGES = f"""INSERT INTO edges (workspace, low, high, evidence, source, message_id, first_at, refusal)
    SELECT %(workspace)s, low, high, %(evidence)s, (%(sources)s::text[])[source], nullif(message_id, ''),
        {instant("seen_at")}, (%(refusals)s::text[])[refusal]
    FROM unnest(%(low)s::uuid[], %(high)s::uuid[], %(source)s::integer[], %(message_id)s::text[],
        %(seen_at)s::bigint[], %(refusal)s::integer[]) AS given(low, high, source, message_id, seen_at, refusal)
    ORDER BY low, high, source
    ON CONFLICT (workspace, low, high, evidence, source) DO UPDATE SET
        message_id = CASE
            WHEN excluded.first_at < edges.first_at THEN excluded.message_id ELSE edges.message_id END,
        first_at = least(excluded.first_at, edges.first_at),
        refusal = excluded.refusal"""

_WRITE_REFUSALS = """WITH given AS (
        SELECT * FROM unnest(%(low)s::uuid[], %(high)s::uuid[], %(refusal)s::text[]) AS given(low, high, refusal)
    ), decided AS (
        UPDATE decided_pairs AS pair SET refusal = given.refusal FROM given
        WHERE (pair.workspace, pair.low, pair.high) = (%(workspace)s, given.low, given.high)
            AND pair.verdict = 'always' AND pair.holds)
    UPDATE edges SET refusal = given.refusal FROM given
    WHERE (edges.workspace, edges.low, edges.high) = (%(workspace)s, given.low, given.high)"""

_GROUP_UNDER = "UPDATE identifiers SET policy_version = %s WHERE workspace = %s AND key = ANY(%s)"

_NEXT_PENDING = next_workspace(
    "pending", "sima turn", also="(SELECT key FROM pending WHERE pending.workspace = chosen.workspace LIMIT 1)"
)


async def see_one_moment(connection: Driver) -> None:
    """Begin a transaction that reads, and sees one moment however long it takes."""
    await execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


async def look_up(connection: Driver) -> bool:
    """Begin a transaction that looks up keys.

    Returns:
        Whether rows lie on several machines.
    """
    spread: bool = (await fetch(connection, f"{_LOOK_UP}, {IS_SPREAD}"))[0][-1]
    return spread


async def begin(connection: Driver) -> bool:
    """Begin a transaction that records; from now on it has its number, whatever it reads.

    Returns:
        Whether rows lie on several machines, so that identifiers are to be held before they are locked.
    """
    spread: bool = (await fetch(connection, _BEGIN))[0][-1]
    return spread


async def take_time(connection: Driver) -> None:
    """Let the transaction last as long as it takes to load, group and write the largest neighbourhoods."""
    await execute(connection, _TAKE_TIME)


async def read_identifiers(connection: Driver, workspace: str, keys: Iterable[bytes]) -> list[Stored]:
    """Read identifiers as they are stored."""
    query = f"SELECT {STORED} FROM identifiers WHERE workspace = %s AND key = ANY(%s)"
    return [Stored(*row) for row in await fetch(connection, query, (workspace, Keys(keys)))]


async def hold(connection: Driver, workspace: str, keys: Collection[bytes]) -> None:
    """Be the only one who holds identifiers, stored or not, until all that the transaction writes can be seen."""
    if len(keys) > _MOST_HELD:
        await execute(connection, _HOLD_ALL, (workspace,))
    elif keys:
        await execute(connection, _HOLD_SOME, (workspace,))
        await execute(connection, _HOLD, (workspace, Keys(keys)))


async def lock_identifiers(connection: Driver, workspace: str, keys: Collection[bytes]) -> tuple[list[Stored], bool]:
    """Lock identifiers until the transaction ends, and read them as they are then.

    Returns:
        The rows, and whether one of them was changed by a transaction that began after this one. The feed would show
        what this transaction does before what it builds upon, so it has to begin again.
    """
    return _locked(await fetch(connection, _LOCK, (workspace, Keys(keys))))


async def read_held(connection: Driver, workspace: str, keys: Collection[bytes]) -> tuple[list[Stored], bool]:
    """Read identifiers that are held; returns the same as `lock_identifiers`."""
    return _locked(await fetch(connection, _READ_HELD, (workspace, Keys(keys))))


async def read_edges(connection: Driver, workspace: str, keys: Collection[bytes]) -> list[StoredEdge]:
    """Read all edges of identifiers, and what was decided about them; what is between two of them comes twice."""
    return _edges(await fetch(connection, _READ_EDGES, {"workspace": workspace, "keys": Keys(keys)}))


async def read_edges_between(
    connection: Driver, workspace: str, keys: Collection[bytes], others: Collection[bytes]
) -> list[StoredEdge]:
    """Read the edges between identifiers and others; what is between two that are both comes twice."""
    parameters = {"workspace": workspace, "keys": Keys(keys), "others": Keys(others)}
    return _edges(await fetch(connection, _READ_EDGES_BETWEEN, parameters))


async def read_values(connection: Driver, workspace: str, keys: Collection[bytes]) -> dict[bytes, str | None]:
    """Return the values of identifiers by their keys; None for protected ones."""
    query = "SELECT key, value FROM identifiers WHERE workspace = %s AND key = ANY(%s)"
    return dict(await fetch(connection, query, (workspace, Keys(keys))))


async def insert_identifiers(
    connection: Driver,
    workspace: str,
    rows: Sequence[NewIdentifier],
    policy_version: int,
    returned: Collection[bytes] = (),
) -> bool:
    """Insert identifiers, given in the order of their keys, and log them; of `returned`, also that they are plain.

    Returns:
        False if somebody else has just inserted one of them; then this transaction has to begin again.
    """
    key, kind, value, profile_id, founds, shared, hub, blocked, first_seen_at = _columns(rows)
    kinds, kind_places = choices(kind)
    parameters = {
        "workspace": workspace,
        "key": Keys(key),
        "kinds": kinds,
        "kind": kind_places,
        "value": value,
        "profile_id": _keys_or_null(profile_id),
        "founds": flags(founds),
        "shared": flags(shared),
        "hub": flags(hub),
        "blocked": flags(blocked),
        "seen_at": numbers(first_seen_at),
        "policy_version": policy_version,
        "returned": Keys(returned),
        "cause": Cause.EVIDENCE,
    }
    return await execute(connection, _INSERT, parameters) == len(rows)


async def update_identifiers(
    connection: Driver, workspace: str, rows: Sequence[ChangedIdentifier], because: Because
) -> None:
    """Rewrite identifiers that are locked, and log those whose state changed, and why."""
    key, kind, previous, profile_id, founds, shared, hub, blocked, first_seen_at, version, *flagged = _columns(rows)
    own_cause = flagged.pop(2)
    names = ("state_changed", "standing_changed", "previously_shared", "previously_blocked")
    parameters = {
        "workspace": workspace,
        "key": Keys(key),
        "kind": kind,
        "previous": _keys_or_null(previous),
        "profile_id": _keys_or_null(profile_id),
        "founds": flags(founds),
        "shared": flags(shared),
        "hub": flags(hub),
        "blocked": flags(blocked),
        "seen_at": numbers(first_seen_at),
        "policy_version": numbers(version),
        **dict(zip(names, map(flags, flagged), strict=True)),
        "own_cause": own_cause,
        "cause": because.cause,
        **_reasons(because),
    }
    await execute(connection, _UPDATE, parameters)


async def group_under(connection: Driver, workspace: str, keys: Iterable[bytes], policy_version: int) -> None:
    """Note that identifiers, which are locked, are grouped under a version of the policy, which moved none of them."""
    await execute(connection, _GROUP_UNDER, (policy_version, workspace, Keys(sorted(keys))))


async def write_edges(connection: Driver, workspace: str, rows: Sequence[WrittenEdge]) -> None:
    """Insert edges, given in the order of their keys, or let stored ones begin earlier."""
    low, high, source, message_id, first_at, refusal = _columns(rows)
    sources, source_places = choices(source)
    refusals, refusal_places = choices(refusal)
    parameters = {
        "workspace": workspace,
        "evidence": SEEN_TOGETHER,
        "low": Keys(low),
        "high": Keys(high),
        "sources": sources,
        "source": source_places,
        "message_id": message_id,
        "seen_at": numbers(first_at),
        "refusals": refusals,
        "refusal": refusal_places,
    }
    await execute(connection, _WRITE_EDGES, parameters)


async def write_refusals(connection: Driver, workspace: str, rows: Sequence[RefusedPair]) -> None:
    """Let all edges between pairs, of which an end is locked, bind or be refused."""
    low, high, refusal = _columns(rows)
    parameters = {"workspace": workspace, "low": Keys(low), "high": Keys(high), "refusal": refusal}
    await execute(connection, _WRITE_REFUSALS, parameters)


async def add_pending(connection: Driver, workspace: str, keys: Iterable[bytes], because: Because) -> None:
    """Note identifiers, which are locked, whose neighbourhood is to be looked at in the background, and why."""
    query = """INSERT INTO pending (workspace, key, decision_id, erasure_id)
        SELECT %(workspace)s, unnest(%(keys)s::uuid[]), %(decision_id)s::uuid, %(erasure_id)s::uuid
        ON CONFLICT (workspace, key) DO UPDATE SET
            decision_id = coalesce(excluded.decision_id, pending.decision_id),
            erasure_id = coalesce(excluded.erasure_id, pending.erasure_id)"""
    await execute(connection, query, {"workspace": workspace, "keys": Keys(sorted(keys)), **_reasons(because)})


async def next_pending(connection: Driver, turn: Turn) -> tuple[str, bytes] | None:
    """Give the next workspace and an identifier to look around, and its turn; only if that is to be had at once.

    The row itself is not locked: who wants it must have the identifiers first, like everybody.
    """
    rows = await fetch(connection, _NEXT_PENDING, turn.parameters())
    return rows[0] if rows else None


async def remove_pending(connection: Driver, workspace: str, keys: Iterable[bytes]) -> Because:
    """Strike out identifiers, which are locked, whose neighbourhood is looked at.

    Returns:
        Why it is; of several decisions, or several erasures, one.
    """
    query = "DELETE FROM pending WHERE workspace = %s AND key = ANY(%s) RETURNING decision_id, erasure_id"
    rows = await fetch(connection, query, (workspace, Keys(keys)))
    decision = next((decision for decision, _ in rows if decision), None)
    return Because(decision, None if decision else next((erasure for _, erasure in rows if erasure), None))


def _reasons(because: Because) -> dict[str, Key | None]:
    names = "decision_id", "erasure_id"
    return {name: None if own is None else Key(own) for name, own in zip(names, because, strict=True)}


def _edges(rows: Sequence[tuple[Any, ...]]) -> list[StoredEdge]:
    return [
        StoredEdge(low, high, first_at, refusal and Refusal(refusal), verdict and Verdict(verdict))
        for low, high, first_at, refusal, verdict in rows
    ]


def _locked(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Stored], bool]:
    return [Stored(*row[:-1]) for row in rows], any(row[-1] for row in rows)


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _keys_or_null(keys: Iterable[bytes | None]) -> Keys:
    return Keys([key or NOBODY for key in keys])
