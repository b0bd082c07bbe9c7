"""Queries of what was seen up to a moment, by the time of messages, and of the decisions that hold."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Key, Keys

from sima_identity.evidence import Verdict
from sima_identity.records import Stored, Wanted
from sima_identity.store.arrays import instant, microseconds
from sima_identity.store.graph import STORED, look_up, see_one_moment
from sima_identity.store.lookups import asked

_AS_OF = instant("%(as_of)s::bigint")
# DISTINCT ON keeps it a look-up by index for every key. Where rows lie on several machines, OFFSET would be refused, as
# would a union that is not made of what was read before.
_ASKED = f"""WITH by_key AS MATERIALIZED (
    SELECT number, value, first_seen_at, {STORED}
    FROM unnest(%(keys)s::uuid[], %(key_numbers)s::bigint[]) AS wanted(wanted_key, number) CROSS JOIN LATERAL (
        SELECT DISTINCT ON (key) * FROM identifiers WHERE workspace = %(workspace)s AND key = wanted_key) AS found
    WHERE first_seen_at <= {_AS_OF}
), by_profile AS MATERIALIZED (
    SELECT number, value, first_seen_at, {STORED}
    FROM unnest(%(profile_ids)s::uuid[], %(profile_numbers)s::bigint[]) AS wanted(id, number) CROSS JOIN LATERAL (
        SELECT DISTINCT ON (key) * FROM identifiers WHERE workspace = %(workspace)s AND founded_id = wanted.id) AS found
    WHERE first_seen_at <= {_AS_OF}
)
SELECT * FROM by_key UNION ALL SELECT * FROM by_profile"""

_PROFILES = f"""SELECT value, first_seen_at, {STORED} FROM identifiers
    WHERE workspace = %(workspace)s AND profile_id = ANY(%(ids)s) AND first_seen_at <= {_AS_OF} LIMIT %(most)s"""


def _seen(own: str, other: str, of: str) -> str:
    """SQL of what was seen with an identifier that is at one end of its edges, at most so many, each once.

    In the order of the index, so that of a hub no more is read than that.
    """
    return f"""(SELECT {other} AS other, min(first_at) AS first_at, NULL AS verdict FROM edges
        WHERE workspace = %(workspace)s AND {own} = {of} AND first_at <= {_AS_OF}
        GROUP BY {other} ORDER BY {other} LIMIT %(most)s)"""


def _decided(own: str, other: str, of: str) -> str:
    """SQL of what holds about an identifier that is at one end of decided pairs."""
    return f"""SELECT {other}, NULL, verdict FROM decided_pairs
        WHERE workspace = %(workspace)s AND {own} = {of} AND holds"""


def _around(of: str) -> str:
    """SQL of what was seen with an identifier, and of what holds about it."""
    ends = ("low", "high"), ("high", "low")
    return " UNION ALL ".join([*(_seen(*end, of) for end in ends), *(_decided(*end, of) for end in ends)])


# OFFSET 0 keeps it a look-up by index for every row.
_NEIGHBOURS = f"""SELECT own, {microseconds("seen.first_at")}, verdict,
        found.value, found.first_seen_at, {STORED}
    FROM unnest(%(own)s::uuid[]) AS wanted(own) CROSS JOIN LATERAL (
        {_around("wanted.own")}
    ) AS seen CROSS JOIN LATERAL (
        SELECT * FROM identifiers WHERE workspace = %(workspace)s AND key = other AND first_seen_at <= {_AS_OF} OFFSET 0
    ) AS found LIMIT %(most_rows)s"""
# Where rows lie on several machines, LIMIT is refused for each of many identifiers: they are asked for one by one.
_AROUND_ONE = f"""SELECT other, {microseconds("first_at")}, verdict FROM ({_around("%(own)s")}) AS seen"""
_SOME = f"""SELECT value, first_seen_at, {STORED} FROM identifiers
    WHERE workspace = %(workspace)s AND key = ANY(%(keys)s) AND first_seen_at <= {_AS_OF}"""
_AT_ONCE = 100


class Known(NamedTuple):
    """An identifier that was seen by the moment; what `row` says of the grouping is of today."""

    value: str | None
    first_seen_at: datetime
    row: Stored


class Neighbour(NamedTuple):
    """What was seen with an identifier, and when first, in microseconds since 1970; or what was decided about both."""

    of: bytes
    first_at: int | None
    verdict: Verdict | None
    known: Known


async def begin(connection: Driver) -> bool:
    """Let the transaction see one moment of the database, and look up keys.

    Returns:
        Whether rows lie on several machines, so that neighbours are to be read with `read_spread_neighbours`.
    """
    await see_one_moment(connection)
    return await look_up(connection)


async def read_asked(connection: Driver, workspace: str, wanted: Sequence[Wanted], as_of: int) -> dict[int, Known]:
    """Return what was seen by a moment of what is asked for, by its position; for a profile id, who founded it."""
    rows = await fetch(connection, _ASKED, asked(workspace, wanted) | {"as_of": as_of})
    return {number: _known(*rest) for number, *rest in rows}


async def read_profiles(
    connection: Driver, workspace: str, profiles: Collection[bytes], as_of: int, most: int
) -> list[Known]:
    """Return identifiers of today's profiles that were seen by a moment, at most so many."""
    parameters = {"workspace": workspace, "ids": Keys(profiles), "as_of": as_of, "most": most}
    return [_known(*row) for row in await fetch(connection, _PROFILES, parameters)]


async def read_neighbours(  # noqa: PLR0917  # two of them are limits
    connection: Driver, workspace: str, as_of: int, keys: Collection[bytes], most: int, most_rows: int
) -> list[Neighbour]:
    """Return what was seen with identifiers up to a moment, and the decisions about them that hold.

    Args:
        connection: The schema `identity`.
        workspace: Whose they are.
        as_of: The moment, in microseconds since 1970.
        keys: The identifiers.
        most: Of each identifier, so many that have a larger key than itself, and so many that have a smaller one.
        most_rows: So many in all.
    """
    parameters = {"workspace": workspace, "as_of": as_of, "own": Keys(keys), "most": most, "most_rows": most_rows}
    rows = await fetch(connection, _NEIGHBOURS, parameters)
    return [Neighbour(of, at, verdict and Verdict(verdict), _known(*rest)) for of, at, verdict, *rest in rows]


async def read_spread_neighbours(  # noqa: PLR0917  # two of them are limits
    connection: Driver, workspace: str, as_of: int, keys: Collection[bytes], most: int, most_rows: int
) -> list[Neighbour]:
    """Do the same as `read_neighbours` where rows lie on several machines."""
    rows: list[Neighbour] = []
    parameters = {"workspace": workspace, "as_of": as_of, "most": most}
    left = sorted(keys)
    while left and len(rows) < most_rows:
        seen = [
            (own, *row)
            for own in left[:_AT_ONCE]
            for row in await fetch(connection, _AROUND_ONE, {**parameters, "own": Key(own)})
        ]
        others = Keys({other for _, other, *_ in seen})
        found = [_known(*row) for row in await fetch(connection, _SOME, {**parameters, "keys": others})]
        known = {one.row.key: one for one in found}
        rows += [
            Neighbour(of, at, verdict and Verdict(verdict), known[other])
            for of, other, at, verdict in seen
            if other in known
        ]
        left = left[_AT_ONCE:]
    return rows[:most_rows]


def _known(value: str | None, first_seen_at: datetime, *row: object) -> Known:
    return Known(value, first_seen_at, Stored(*row))  # type: ignore[arg-type]
