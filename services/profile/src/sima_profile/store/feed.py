"""The rows of facts behind a cursor. The tables of facts are their own feed; there is no copy."""

from typing import Any, NamedTuple

from sima_runtime.cursors import Cursor, Horizon
from sima_runtime.database import Driver, fetch
from sima_runtime.feeds import FEED_ORDER, FEED_RANGE, Rows, feed_parameters

from sima_profile.store.times import microseconds_of

#: The feed's name, and the channel of its wake-ups.
CHANNEL = "profile_facts"
#: A page ends where its rows have so many bytes: properties and values may be so long that few rows fit into a message.
PAGE_BYTES = 16 * 1024 * 1024

_RECEIVED_AT = microseconds_of("received_at")
_RANGE = f"workspace = %(workspace)s AND {FEED_RANGE}"
_EVENTS_RANGE = f"{_RANGE} AND name IS NOT NULL"  # a fact without event has no row in the feed; its parts have
_UNTIL_LAST = "AND (epoch, xid, seq) <= (%(last_epoch)s::integer, %(last_xid)s::text::xid8, %(last_seq)s::bigint)"
# How long a text or list of bytes is, PostgreSQL knows without reading it.
_SIZE = "100 + 16 * cardinality(keys) + octet_length(source)"
_RELATIONS = {
    "facts": (
        _EVENTS_RANGE,
        f"{_SIZE} + octet_length(name) + octet_length(properties)",
        f"id, keys, name, source, {microseconds_of('occurred_at')}, {_RECEIVED_AT}, properties",
    ),
    "observations": (
        _RANGE,
        f"{_SIZE} + octet_length(trait) + octet_length(value)",
        f"id, keys, trait, value, type, source, method, {microseconds_of('observed_at')}, {_RECEIVED_AT}, confidence",
    ),
    "consents": (
        _RANGE,
        f"{_SIZE} + octet_length(purpose)",
        f"id, keys, purpose, granted, source, {microseconds_of('stated_at')}, {_RECEIVED_AT}",
    ),
    "retractions": (_RANGE, "50", f"id, relation, {microseconds_of('occurred_at')}"),
}
_PLACES = " UNION ALL ".join(
    f"(SELECT {FEED_ORDER}, {size} AS size FROM {table} WHERE {rows} ORDER BY {FEED_ORDER} LIMIT %(limit)s)"
    for table, (rows, size, _) in _RELATIONS.items()
)
# Where the page ends, so that no row is read that does not fit on it; and whether there may be more behind it.
_LAST = f"""SELECT {FEED_ORDER}, number < found OR found = %(limit)s FROM (
    SELECT {FEED_ORDER}, count(*) OVER () AS found, row_number() OVER feed AS number, sum(size) OVER feed AS bytes
    FROM (SELECT * FROM ({_PLACES}) AS places ORDER BY {FEED_ORDER} LIMIT %(limit)s) AS candidates
    WINDOW feed AS (ORDER BY {FEED_ORDER})) AS page
    WHERE number = 1 OR bytes <= {PAGE_BYTES} ORDER BY number DESC LIMIT 1"""
_PAGE = tuple(
    f"SELECT {columns} FROM {table} WHERE {rows} {_UNTIL_LAST} ORDER BY {FEED_ORDER}"
    for table, (rows, _, columns) in _RELATIONS.items()
)


class FactRows(NamedTuple):
    """A page of the feed; columns as in pages.py, times in microseconds since 1970."""

    events: list[tuple[Any, ...]]
    observations: list[tuple[Any, ...]]
    consents: list[tuple[Any, ...]]
    retractions: list[tuple[Any, ...]]


async def read_page(connection: Driver, workspace: str, after: Cursor, horizon: Horizon, limit: int) -> Rows[FactRows]:
    """Return the first rows behind a place and before the horizon, at most `limit` and `PAGE_BYTES`, at least one.

    Args:
        connection: In autocommit: what lies before the horizon is final, so each statement may look anew.
        workspace: Whose.
        after: Behind which place.
        horizon: Before which place.
        limit: At most so many rows, of all tables together.
    """
    parameters = {"workspace": workspace, "limit": limit, **feed_parameters(after, horizon)}
    found = await fetch(connection, _LAST, parameters)
    if not found:
        return Rows(FactRows([], [], [], []), None, full=False)
    epoch, xid, seq, full = found[0]
    parameters |= {"last_epoch": epoch, "last_xid": str(xid), "last_seq": seq}
    relations = [await fetch(connection, query, parameters) for query in _PAGE]
    return Rows(FactRows(*relations), Cursor(epoch, xid, seq), full)
