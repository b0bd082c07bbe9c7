"""Reads the whole graph of a workspace as it is at one moment, packed, a part at a time.

PostgreSQL packs many rows into one value of fixed-size records, which numpy reads as they are: a row at a time, a graph
of millions would take minutes.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
from sima_runtime.database import Driver, execute, fetch
from sima_runtime.keys import Key

from sima_identity.evidence import Pair, Verdict
from sima_identity.records import EDGE, IDENTIFIER, Records
from sima_identity.store.arrays import microseconds
from sima_identity.store.graph import see_one_moment

# Between two parts the values of one are held against the rules, which may take longer than others may idle.
_TAKE_TIME = """SELECT set_config('statement_timeout', '10min', true), set_config('work_mem', '64MB', true),
    set_config('idle_in_transaction_session_timeout', '10min', true)"""
_ESTIMATE = "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class WHERE oid = 'identifiers'::regclass"
_IN_RANGE = (
    "workspace = %(workspace)s AND {column} >= %(first)s AND (%(behind)s::uuid IS NULL OR {column} < %(behind)s)"
)
_IDENTIFIERS = f"""SELECT coalesce(string_agg(uuid_send(key) || uuid_send(coalesce(profile_id, '{bytes(16).hex()}'))
        || int8send({microseconds("first_seen_at")}) || int8send(coalesce(founded_seq, 0)) || int4send(policy_version)
        || int2send(coalesce(array_position(%(kinds)s::text[], kind), 0)::int2)
        || int2send(shared::int::int2) || int2send(blocked::int::int2), ''::bytea ORDER BY key), ''::bytea),
    CASE WHEN %(values)s THEN array_agg(value ORDER BY key) END
    FROM identifiers WHERE {_IN_RANGE.format(column="key")}"""
_EDGES = f"""SELECT coalesce(string_agg(uuid_send(low) || uuid_send(high) || int8send({microseconds("first_at")}),
        ''::bytea), ''::bytea)
    FROM (SELECT low, high, min(first_at) AS first_at FROM edges
        WHERE {_IN_RANGE.format(column="low")} GROUP BY low, high) AS pairs"""
_DECIDED = "SELECT low, high, verdict FROM decided_pairs WHERE workspace = %s AND holds"


class Part(NamedTuple):
    """Identifiers in the order of their keys, and their values if they were asked for."""

    identifiers: Records
    values: Sequence[str | None] | None


async def begin(connection: Driver) -> None:
    """Let the transaction see one moment, for as long as it takes to read all."""
    await see_one_moment(connection)
    await execute(connection, _TAKE_TIME)


async def estimate(connection: Driver) -> int:
    """Return how many identifiers there are in all workspaces, roughly."""
    return int((await fetch(connection, _ESTIMATE))[0][0])


async def identifiers(
    connection: Driver, workspace: str, kinds: Sequence[str], parts: int, *, values: bool
) -> AsyncIterator[Part]:
    """Yield all identifiers, in so many parts."""
    for first, behind in _ranges(parts):
        parameters = {"workspace": workspace, "first": first, "behind": behind, "kinds": kinds, "values": values}
        [(packed, texts)] = await fetch(connection, _IDENTIFIERS, parameters)
        yield Part(np.frombuffer(packed, IDENTIFIER), texts)


async def edges(connection: Driver, workspace: str, parts: int) -> AsyncIterator[Records]:
    """Yield all edges, each pair once, in so many parts."""
    for first, behind in _ranges(parts):
        [(packed,)] = await fetch(connection, _EDGES, {"workspace": workspace, "first": first, "behind": behind})
        yield np.frombuffer(packed, EDGE)


async def decided(connection: Driver, workspace: str) -> list[tuple[Pair, Verdict]]:
    """Return what was decided about pairs and holds."""
    return [((low, high), Verdict(verdict)) for low, high, verdict in await fetch(connection, _DECIDED, (workspace,))]


def _ranges(parts: int) -> list[tuple[Key, Key | None]]:
    """Cut the space of keys into equal ranges: the first key of each, and the key behind it (None: there is no end)."""
    firsts = [Key((number * (1 << 128) // parts).to_bytes(16)) for number in range(parts)]
    return list(zip(firsts, [*firsts[1:], None], strict=True))
