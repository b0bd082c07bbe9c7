"""Queries of what identifiers were seen with, a few at a time: of a hub no more is read than is asked for."""

from collections.abc import Iterable, Mapping
from typing import Any

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Key, Keys

from sima_identity.records import Neighbour

_COLUMNS = "key, kind, value, blocked, policy_version"


def _others(of: str, after: str) -> str:
    """SQL of what was seen with an identifier, in the order of the indexes; the edges of several sources count once."""
    return " UNION ALL ".join(
        f"""(SELECT {other} AS other FROM edges WHERE workspace = %(workspace)s AND {own} = {of} AND {other} > {after}
            GROUP BY {other} ORDER BY {other} LIMIT %(most)s)"""
        for own, other in (("high", "low"), ("low", "high"))
    )


# OFFSET 0 keeps it a look-up by index for every row. Whoever is erased meanwhile is missing among the identifiers.
_NEIGHBOURS = f"""SELECT own, other, found.*
    FROM unnest(%(own)s::uuid[], %(after)s::uuid[]) AS wanted(own, after) CROSS JOIN LATERAL (
        SELECT other FROM ({_others("wanted.own", "wanted.after")}) AS both_ends ORDER BY other LIMIT %(most)s
    ) AS seen LEFT JOIN LATERAL (
        SELECT {_COLUMNS} FROM identifiers WHERE workspace = %(workspace)s AND key = other OFFSET 0) AS found ON true
    ORDER BY own, other"""
# Where rows lie on several machines, LIMIT is refused for each of many identifiers: they are asked for one by one.
_OF_ONE = f"SELECT other FROM ({_others('%(own)s', '%(after)s')}) AS both_ends"
_SOME = f"SELECT {_COLUMNS} FROM identifiers WHERE workspace = %s AND key = ANY(%s)"


async def read(
    connection: Driver, workspace: str, after: Mapping[bytes, bytes], most: int, *, spread: bool
) -> tuple[list[Neighbour], dict[bytes, bytes]]:
    """Read what identifiers were seen with, in the order of its keys, each once.

    Args:
        connection: The schema `identity`.
        workspace: Whose they are.
        after: By identifier, the key behind which to begin.
        most: Of each at most so many.
        spread: Whether rows lie on several machines.

    Returns:
        What was read, and of those identifiers that may have been seen with more the key behind which to go on.
    """
    rows = await (_read_spread if spread else _read)(connection, workspace, after, most)
    counts: dict[bytes, int] = {}
    lasts: dict[bytes, bytes] = {}
    for own, other, *_ in rows:
        counts[own], lasts[own] = counts.get(own, 0) + 1, other
    more = {own: lasts[own] for own, count in counts.items() if count >= most}
    return [Neighbour(own, *found) for own, _, *found in rows if found[0] is not None], more


async def _read(connection: Driver, workspace: str, after: Mapping[bytes, bytes], most: int) -> list[tuple[Any, ...]]:
    parameters = {"workspace": workspace, "own": Keys(after.keys()), "after": Keys(after.values()), "most": most}
    return await fetch(connection, _NEIGHBOURS, parameters)


async def _read_spread(
    connection: Driver, workspace: str, after: Mapping[bytes, bytes], most: int
) -> Iterable[tuple[Any, ...]]:
    seen: list[tuple[bytes, bytes]] = []
    for own, behind in after.items():
        parameters = {"workspace": workspace, "own": Key(own), "after": Key(behind), "most": most}
        others = sorted(other for (other,) in await fetch(connection, _OF_ONE, parameters))
        seen += [(own, other) for other in others[:most]]
    rows = await fetch(connection, _SOME, (workspace, Keys({other for _, other in seen})))
    known = {row[0]: row for row in rows}
    return [(own, other, *known.get(other, (None,))) for own, other in seen]
