"""Queries of the log of changes, which is also the feed."""

from datetime import datetime
from typing import Any, NamedTuple

from sima_runtime.cursors import START, Cursor, Horizon
from sima_runtime.database import Driver, fetch
from sima_runtime.feeds import FEED_ORDER, FEED_RANGE, Rows, feed_parameters
from sima_runtime.keys import Key, Keys

from sima_identity.records import Wanted

#: NOTIFY channel and name of the feed.
FEED = "identity_changes"
#: The same of its part that tells how identifiers became or ceased to be shared or blocked.
STANDINGS = "identity_standings"
FEEDS = (FEED, STANDINGS)

_CHANGE = """key, kind, previous_profile_id, changes.profile_id, changes.shared, changes.blocked, changed_at,
    cause, decision_id, changes.policy_version, by.actor, coalesce(by.withdrawn, false), previously_shared,
    previously_blocked"""
# Who decided, set a policy or had somebody erased is kept in one place only.
_WITH_ACTORS = f"""SELECT {FEED_ORDER}, {_CHANGE}
    FROM changes LEFT JOIN LATERAL (
        SELECT CASE WHEN changes.changed_at >= withdrawn_at THEN withdrawn_by ELSE actor END AS actor,
            changes.changed_at >= withdrawn_at AS withdrawn
        FROM decisions WHERE workspace = %(workspace)s AND id = changes.decision_id
        UNION ALL
        SELECT actor, false FROM policies WHERE workspace = %(workspace)s AND version = changes.policy_version
        UNION ALL
        SELECT actor, false FROM erasures WHERE workspace = %(workspace)s AND id = changes.erasure_id
        OFFSET 0
    ) AS by ON true
    ORDER BY {FEED_ORDER}"""
_PAGE = f"""WITH changes AS (
        SELECT * FROM profile_changes WHERE workspace = %(workspace)s AND {FEED_RANGE} {{condition}}
        ORDER BY {FEED_ORDER} LIMIT %(limit)s
    ) {_WITH_ACTORS}"""
# So are values; there they can be erased.
_VALUES = """SELECT key, value FROM unnest(%s::uuid[]) AS wanted(wanted_key), LATERAL (
    SELECT DISTINCT ON (key) key, value FROM identifiers WHERE workspace = %s AND key = wanted_key) AS found"""
_PAGES = {FEED: _PAGE.format(condition=""), STANDINGS: _PAGE.format(condition="AND standing_changed")}
_AFTER = "(epoch, xid, seq) > (%(epoch)s::integer, %(xid)s::text::xid8, %(seq)s::bigint)"


class Change(NamedTuple):
    """An identifier moved, or began or ceased to be shared; as in the contract, with None for what is absent."""

    place: Cursor
    key: bytes
    kind: str
    value: str | None
    previous_profile_id: bytes | None
    profile_id: bytes | None
    shared: bool
    blocked: bool
    changed_at: datetime
    cause: str
    decision_id: bytes | None
    policy_version: int | None
    actor: str | None
    withdrawn: bool
    previously_shared: bool
    previously_blocked: bool


async def read_page(
    connection: Driver, feed: str, workspace: str, after: Cursor, horizon: Horizon, *, limit: int
) -> Rows[list[Change]]:
    """Read a page of a feed."""
    parameters = {"workspace": workspace, "limit": limit, **feed_parameters(after, horizon)}
    changes = await _changes(connection, workspace, await fetch(connection, _PAGES[feed], parameters))
    return Rows(changes, changes[-1].place if changes else None, full=len(changes) == limit)


async def list_changes(
    connection: Driver, workspace: str, subject: Wanted, after: Cursor | None, limit: int
) -> list[Change]:
    """Read changes of an identifier, or by which a profile gained or lost identifiers; the oldest first."""
    by = "key = %(key)s" if subject.key else "(profile_id = %(profile_id)s OR previous_profile_id = %(profile_id)s)"
    # Materialized and without workspace, for else workspace and order could be had by reading the whole feed.
    query = f"""WITH of_subject AS MATERIALIZED (
            SELECT * FROM profile_changes WHERE {by}
        ), changes AS (
            SELECT * FROM of_subject WHERE workspace = %(workspace)s AND {_AFTER} ORDER BY {FEED_ORDER} LIMIT %(limit)s
        ) {_WITH_ACTORS}"""
    place = after or START
    parameters = {
        "workspace": workspace,
        "key": subject.key and Key(subject.key),
        "profile_id": subject.profile_id and Key(subject.profile_id),
        "limit": limit,
        "epoch": place.epoch,
        "xid": str(place.xid),
        "seq": place.seq,
    }
    return await _changes(connection, workspace, await fetch(connection, query, parameters))


async def _changes(connection: Driver, workspace: str, rows: list[tuple[Any, ...]]) -> list[Change]:
    keys = Keys({key for _, _, _, key, *_ in rows})
    values = dict(await fetch(connection, _VALUES, (keys, workspace))) if rows else {}
    return [
        Change(Cursor(epoch, xid, seq), key, kind, values.get(key), *rest) for epoch, xid, seq, key, kind, *rest in rows
    ]
