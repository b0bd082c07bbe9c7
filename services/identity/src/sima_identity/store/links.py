"""Queries of all that lies between identifiers, as it is told to people."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Keys

from sima_identity.evidence import Pair, Refusal, Verdict
from sima_identity.explaining import Evidence, Link
from sima_identity.guards import Member
from sima_identity.store.arrays import microseconds

#: Sources of one link that are told of.
MOST_EVIDENCE = 20

# Of each pair: evidence by source, then what was decided about it and holds.
# Between two that are both closed, the reason that is stored is of the time when the first of them was.
_BETWEEN = f"""WITH known AS MATERIALIZED (
    SELECT key, blocked, hub FROM identifiers
    WHERE workspace = %(workspace)s AND key = ANY(%(low)s::uuid[] || %(high)s::uuid[])
), wanted AS MATERIALIZED (
    SELECT low, high, CASE WHEN one.blocked OR other.blocked THEN '{Refusal.BLOCKED}'
        WHEN one.hub OR other.hub THEN '{Refusal.HUB}' END AS closed
    FROM unnest(%(low)s::uuid[], %(high)s::uuid[]) AS given(low, high)
    JOIN known AS one ON one.key = low JOIN known AS other ON other.key = high
)
SELECT low, high, source, message_id, first_at, coalesce(closed, refusal), NULL::uuid, NULL::text
    FROM (SELECT wanted.*, source, message_id, first_at, refusal,
            row_number() OVER (PARTITION BY edges.low, edges.high ORDER BY source) AS place
        FROM wanted JOIN edges ON edges.low = wanted.low AND edges.high = wanted.high
        WHERE workspace = %(workspace)s) AS found
    WHERE place <= {MOST_EVIDENCE}
UNION ALL
SELECT wanted.low, wanted.high, NULL::text, NULL::text, NULL::timestamptz, coalesce(closed, refusal), decision_id,
    verdict
    FROM wanted CROSS JOIN LATERAL (
        SELECT refusal, decision_id, verdict FROM decided_pairs
        WHERE workspace = %(workspace)s AND low = wanted.low AND high = wanted.high AND holds
        ORDER BY decision_id) AS found"""
_PAIRS_OF = """SELECT low, high FROM (
        SELECT low, high FROM edges WHERE workspace = %(workspace)s AND low = ANY(%(keys)s)
        UNION SELECT low, high FROM edges WHERE workspace = %(workspace)s AND high = ANY(%(keys)s)
        UNION SELECT low, high FROM decided_pairs WHERE workspace = %(workspace)s AND low = ANY(%(keys)s) AND holds
        UNION SELECT low, high FROM decided_pairs WHERE workspace = %(workspace)s AND high = ANY(%(keys)s) AND holds
    ) AS pairs ORDER BY low, high LIMIT %(limit)s"""

_MEMBERS = f"""SELECT profile_id, key, kind, {microseconds("first_seen_at")} FROM identifiers
    WHERE workspace = %s AND profile_id = ANY(%s)"""
_APART = """SELECT low, high, decision_id FROM decided_pairs WHERE workspace = %(workspace)s
    AND low = ANY(%(keys)s) AND high = ANY(%(keys)s) AND holds AND verdict = 'never' ORDER BY decision_id"""


async def between(connection: Driver, workspace: str, pairs: Sequence[Pair]) -> list[Link]:
    """Return all that lies between pairs of identifiers, in their order."""
    parameters = {
        "workspace": workspace,
        "low": Keys([low for low, _ in pairs]),
        "high": Keys([high for _, high in pairs]),
    }
    evidence: defaultdict[Pair, list[Evidence]] = defaultdict(list)
    decided: defaultdict[Pair, list[bytes]] = defaultdict(list)
    refusals: dict[Pair, Refusal | None] = {}
    for low, high, source, message_id, first_at, refusal, decision, verdict in await fetch(
        connection, _BETWEEN, parameters
    ):
        if decision is None:
            evidence[low, high].append(Evidence(source, message_id, first_at))
        else:
            decided[low, high].append(decision)
        if verdict == Verdict.NEVER:
            refusals.setdefault((low, high), Refusal.NEVER_LINK)
        else:
            refusals[low, high] = refusal and Refusal(refusal)
    return [Link(ends, evidence[ends], decided[ends], refusals.get(ends)) for ends in pairs]


async def pairs_of(connection: Driver, workspace: str, keys: Collection[bytes], limit: int) -> list[Pair]:
    """Return pairs of identifiers with an end among some, by keys, at most so many."""
    parameters = {"workspace": workspace, "keys": Keys(keys), "limit": limit}
    return [(low, high) for low, high in await fetch(connection, _PAIRS_OF, parameters)]


async def members(connection: Driver, workspace: str, profiles: Collection[bytes]) -> list[Member]:
    """Return the identifiers of profiles."""
    return [Member(*row) for row in await fetch(connection, _MEMBERS, (workspace, Keys(profiles)))]


async def apart(connection: Driver, workspace: str, keys: Collection[bytes]) -> list[tuple[Pair, bytes]]:
    """Return pairs of identifiers of which somebody decided that they are not one person, each with the decision."""
    rows = await fetch(connection, _APART, {"workspace": workspace, "keys": Keys(keys)})
    return [((low, high), decision) for low, high, decision in rows]
