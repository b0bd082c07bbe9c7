"""The rows of facts behind a cursor. The tables of facts are their own feed; there is no copy."""

from typing import Any, NamedTuple

from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Driver, fetch
from sima_runtime.feeds import FEED_ORDER, FEED_RANGE, Rows, feed_parameters

from sima_profile.store.pipeline import fetch_all
from sima_profile.store.times import microseconds_of

#: The feed's name, and the channel of its wake-ups.
CHANNEL = "profile_facts"

_RECEIVED_AT = microseconds_of("received_at")
_RANGE = f"workspace = %(workspace)s AND {FEED_RANGE}"
_EVENTS_RANGE = f"{_RANGE} AND name IS NOT NULL"  # a fact without event has no row in the feed; its parts have
_UNTIL_LAST = "AND (epoch, xid, seq) <= (%(last_epoch)s::integer, %(last_xid)s::text::xid8, %(last_seq)s::bigint)"
_RELATIONS = {
    "facts": (_EVENTS_RANGE, f"id, keys, name, source, {microseconds_of('occurred_at')}, {_RECEIVED_AT}, properties"),
    "observations": (
        _RANGE,
        f"id, keys, trait, value, type, source, method, {microseconds_of('observed_at')}, {_RECEIVED_AT}, confidence",
    ),
    "consents": (_RANGE, f"id, keys, purpose, granted, source, {microseconds_of('stated_at')}, {_RECEIVED_AT}"),
    "retractions": (_RANGE, f"id, relation, {microseconds_of('occurred_at')}"),
}
_PLACES = " UNION ALL ".join(
    f"(SELECT {FEED_ORDER} FROM {table} WHERE {rows} ORDER BY {FEED_ORDER} LIMIT %(limit)s)"
    for table, (rows, _) in _RELATIONS.items()
)
# Where the page ends, so that no row is read that does not fit on it.
_LAST = f"""SELECT {FEED_ORDER}, count(*) OVER () FROM (
    SELECT {FEED_ORDER} FROM ({_PLACES}) AS places ORDER BY {FEED_ORDER} LIMIT %(limit)s) AS page
    ORDER BY epoch DESC, xid DESC, seq DESC LIMIT 1"""
_PAGE = tuple(
    f"SELECT {columns} FROM {table} WHERE {rows} {_UNTIL_LAST} ORDER BY {FEED_ORDER}"
    for table, (rows, columns) in _RELATIONS.items()
)


class FactRows(NamedTuple):
    """A page of the feed; columns as in pages.py, times in microseconds since 1970."""

    events: list[tuple[Any, ...]]
    observations: list[tuple[Any, ...]]
    consents: list[tuple[Any, ...]]
    retractions: list[tuple[Any, ...]]


async def read_page(connection: Driver, workspace: str, after: Cursor, horizon: Horizon, limit: int) -> Rows[FactRows]:
    """Return the first rows behind a place and before the horizon, at most `limit` of all tables together.

    Args:
        connection: In autocommit: what lies before the horizon is final, so each statement may look anew.
        workspace: Whose.
        after: Behind which place.
        horizon: Before which place.
        limit: At most so many rows.
    """
    parameters = {"workspace": workspace, "limit": limit, **feed_parameters(after, horizon)}
    found = await fetch(connection, _LAST, parameters)
    if not found:
        return Rows(FactRows([], [], [], []), None, full=False)
    epoch, xid, seq, count = found[0]
    parameters |= {"last_epoch": epoch, "last_xid": str(xid), "last_seq": seq}
    return Rows(FactRows(*await fetch_all(connection, _PAGE, parameters)), Cursor(epoch, xid, seq), count == limit)
