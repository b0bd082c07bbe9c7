"""Queries of what was seen up to a moment, by the time of messages, and of the decisions that hold."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Keys

from sima_identity.evidence import Verdict
from sima_identity.records import Stored, Wanted
from sima_identity.store.arrays import instant, microseconds
from sima_identity.store.graph import STORED, look_up, see_one_moment
from sima_identity.store.lookups import asked

_AS_OF = instant("%(as_of)s::bigint")
_ASKED = f"""SELECT number, value, first_seen_at, {STORED}
    FROM unnest(%(keys)s::uuid[], %(key_numbers)s::bigint[]) AS wanted(wanted_key, number) CROSS JOIN LATERAL (
        SELECT * FROM identifiers WHERE workspace = %(workspace)s AND key = wanted_key OFFSET 0) AS found
    WHERE first_seen_at <= {_AS_OF}
    UNION ALL
    SELECT number, value, first_seen_at, {STORED}
    FROM unnest(%(profile_ids)s::uuid[], %(profile_numbers)s::bigint[]) AS wanted(id, number) CROSS JOIN LATERAL (
        SELECT * FROM identifiers WHERE workspace = %(workspace)s AND founded_id = wanted.id OFFSET 0) AS found
    WHERE first_seen_at <= {_AS_OF}"""

_PROFILES = f"""SELECT value, first_seen_at, {STORED} FROM unnest(%(ids)s::uuid[]) AS wanted(id) CROSS JOIN LATERAL (
        SELECT * FROM identifiers WHERE workspace = %(workspace)s AND profile_id = wanted.id OFFSET 0) AS found
    WHERE first_seen_at <= {_AS_OF} LIMIT %(most)s"""


def _seen(own: str, other: str) -> str:
    """SQL of what was seen with an identifier that is at one end of its edges, at most so many, each once.

    In the order of the index, so that of a hub no more is read than that.
    """
    return f"""(SELECT {other} AS other, min(first_at) AS first_at, NULL AS verdict FROM edges
        WHERE workspace = %(workspace)s AND {own} = wanted.own AND first_at <= {_AS_OF}
        GROUP BY {other} ORDER BY {other} LIMIT %(most)s)"""


def _decided(own: str, other: str) -> str:
    """SQL of what holds about an identifier that is at one end of decided pairs."""
    return f"""SELECT {other}, NULL, verdict FROM decided_pairs
        WHERE workspace = %(workspace)s AND {own} = wanted.own AND holds"""


# OFFSET 0 keeps it a look-up by index for every row.
_NEIGHBOURS = f"""SELECT own, {microseconds("seen.first_at")}, verdict,
        found.value, found.first_seen_at, {STORED}
    FROM unnest(%(own)s::uuid[]) AS wanted(own) CROSS JOIN LATERAL (
        {_seen("low", "high")} UNION ALL {_seen("high", "low")}
        UNION ALL {_decided("low", "high")} UNION ALL {_decided("high", "low")}
    ) AS seen CROSS JOIN LATERAL (
        SELECT * FROM identifiers WHERE workspace = %(workspace)s AND key = other AND first_seen_at <= {_AS_OF} OFFSET 0
    ) AS found LIMIT %(most_rows)s"""


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


async def begin(connection: Driver) -> None:
    """Let the transaction see one moment of the database, and look up keys."""
    await see_one_moment(connection)
    await look_up(connection)


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


def _known(value: str | None, first_seen_at: datetime, *row: object) -> Known:
    return Known(value, first_seen_at, Stored(*row))  # type: ignore[arg-type]
