"""The query of what is known of a batch already, which answers most calls."""

from dataclasses import dataclass, field

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Keys

from sima_identity.batch import Batch, EdgeId
from sima_identity.evidence import Pair
from sima_identity.records import State
from sima_identity.store.arrays import choices, instant, numbers
from sima_identity.store.graph import SEEN_TOGETHER

# Identifiers that are stored; those of them that were seen alone earlier than is stored; and edges, by their numbers,
# that are stored as early as they were seen: those that have been looked at (true), and those that have not (false).
# DISTINCT ON keeps each part a look-up by index for every key, whatever the planner thinks of the table's size.
_READ = f"""SELECT 0, key, profile_id, shared, blocked, policy_version, NULL::bigint[]
    FROM unnest(%(keys)s::uuid[]) AS wanted(wanted_key), LATERAL (
        SELECT DISTINCT ON (key) key, profile_id, shared, blocked, policy_version FROM identifiers
        WHERE workspace = %(workspace)s AND key = wanted_key) AS found
UNION ALL
SELECT 1, key, NULL::uuid, NULL::boolean, NULL::boolean, NULL::integer, NULL::bigint[]
    FROM unnest(%(alone)s::uuid[], %(alone_at)s::bigint[]) AS wanted(wanted_key, seen_at), LATERAL (
        SELECT DISTINCT ON (key) key, first_seen_at FROM identifiers
        WHERE workspace = %(workspace)s AND key = wanted_key) AS found
    WHERE first_seen_at > {instant("seen_at")}
UNION ALL
SELECT 2, NULL::uuid, NULL::uuid, refusal IS DISTINCT FROM 'pending', NULL::boolean, NULL::integer,
    array_agg(wanted.number)
    FROM unnest(%(low)s::uuid[], %(high)s::uuid[], %(source)s::integer[], %(seen_at)s::bigint[])
        WITH ORDINALITY AS wanted(low, high, source, seen_at, number), LATERAL (
        SELECT DISTINCT ON (low) first_at, refusal FROM edges
        WHERE workspace = %(workspace)s AND low = wanted.low AND high = wanted.high
            AND evidence = %(evidence)s AND source = (%(sources)s::text[])[wanted.source]
    ) AS found
    WHERE first_at <= {instant("seen_at")} GROUP BY refusal IS DISTINCT FROM 'pending'"""


@dataclass(slots=True)
class Reading:
    """What is known of a batch.

    Attributes:
        states: Of the identifiers that are stored.
        unknown: Identifiers that are not stored, or were seen alone earlier than is stored.
        missing: Edges that are not stored, or were seen earlier than is stored.
        pending: Pairs whose neighbourhood has not been looked at.
    """

    states: dict[bytes, State] = field(default_factory=dict)
    unknown: set[bytes] = field(default_factory=set)
    missing: list[EdgeId] = field(default_factory=list)
    pending: set[Pair] = field(default_factory=set)


async def read(connection: Driver, workspace: str, batch: Batch) -> Reading:
    """Read what is known of a batch, in one query."""
    edges = list(batch.edges)
    sources, source = choices([edge.source for edge in edges])
    parameters = {
        "workspace": workspace,
        "keys": Keys(batch.identifiers),
        "alone": Keys(batch.alone),
        "alone_at": numbers(batch.alone.values()),
        "low": Keys([edge.low for edge in edges]),
        "high": Keys([edge.high for edge in edges]),
        "source": source,
        "sources": sources,
        "seen_at": numbers([seen.first_at for seen in batch.edges.values()]),
        "evidence": SEEN_TOGETHER,
    }
    reading = Reading()
    earlier: set[bytes] = set()
    missing = dict(enumerate(edges, 1))
    for part, key, profile_id, flag, blocked, policy_version, stored in await fetch(connection, _READ, parameters):
        if part == 0:
            reading.states[key] = State(profile_id, flag, blocked, policy_version)
        elif part == 1:
            earlier.add(key)
        else:
            found = [missing.pop(number) for number in stored]
            reading.pending.update(() if flag else ((edge.low, edge.high) for edge in found))
    reading.missing = list(missing.values())
    reading.unknown = (batch.identifiers.keys() - reading.states.keys()) | earlier
    return reading
