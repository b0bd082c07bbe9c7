"""What a profile is folded from, and timelines."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Key, Keys

from sima_profile.consent import Statement
from sima_profile.store.feed import PAGE_BYTES
from sima_profile.store.times import microseconds_of, to_database
from sima_profile.survivorship import WEIGHED, Observation

#: So many observations of an identifier are read as they lie; of more, the latest of each source, by their index.
FEW = 100

_OBSERVED_AT = microseconds_of("observed_at")
_COLUMNS = f"owner, trait, {_OBSERVED_AT}, confidence, source, method, type, value"
# One statement, so that all is of one moment, and because three cost more. Rows with a number of events are activities,
# rows with a consent are statements, all others are observations. Owners are looked up one by one, here and below, and
# consents by their keys alone (which are hashed with the workspace's secret): asked in another way, PostgreSQL may
# rather read the whole workspace.
_MATERIAL = f"""WITH named AS MATERIALIZED (
    SELECT workspace, keys, purpose, granted, source, stated_at FROM consents WHERE keys && %(owners)s)
SELECT listed.*, NULL::boolean AS granted, NULL::bigint AS events, NULL::bigint AS last_at
    FROM unnest(%(owners)s) AS owners (key) CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM observations
        WHERE workspace = %(workspace)s AND owner = owners.key LIMIT {FEW + 1}) AS listed
UNION ALL
(SELECT DISTINCT ON (key, purpose)
        key, purpose, {microseconds_of("stated_at")}, NULL, source, NULL, NULL, NULL, granted, NULL, NULL
    FROM named CROSS JOIN unnest(keys) AS key
    WHERE workspace = %(workspace)s AND key = ANY(%(owners)s)
    ORDER BY key, purpose, stated_at DESC, granted, source DESC)
UNION ALL
SELECT owners.key, NULL, {microseconds_of("first_at")}, NULL, NULL, NULL, NULL, NULL, NULL,
        events, {microseconds_of("last_at")}
    FROM unnest(%(owners)s) AS owners (key) CROSS JOIN LATERAL (
        SELECT count(name) AS events, min(occurred_at) AS first_at, max(occurred_at) AS last_at FROM facts
        WHERE workspace = %(workspace)s AND owner = owners.key HAVING count(*) > 0) AS active"""
# Leaps through the index from one (owner, trait, source, method) to the next, and takes the latest of each; the order
# is that of `survivorship.Observation`.
_LATEST = f"""WITH RECURSIVE groups AS (
    SELECT first.* FROM unnest(%(owners)s) AS owners (key) CROSS JOIN LATERAL (
        SELECT owner, trait, source, method FROM observations
        WHERE workspace = %(workspace)s AND owner = owners.key ORDER BY trait, source, method LIMIT 1) AS first
    UNION ALL
    SELECT next.* FROM groups CROSS JOIN LATERAL (
        SELECT owner, trait, source, method FROM observations
        WHERE workspace = %(workspace)s AND owner = groups.owner
            AND (trait, source, method) > (groups.trait, groups.source, groups.method)
        ORDER BY trait, source, method LIMIT 1) AS next)
SELECT latest.* FROM groups CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM observations
    WHERE workspace = %(workspace)s AND owner = groups.owner AND trait = groups.trait AND source = groups.source
        AND method = groups.method AND trait <> ALL(%(unions)s)
    ORDER BY observations.observed_at DESC, confidence DESC, type DESC, value DESC LIMIT {WEIGHED}) AS latest
UNION ALL
SELECT every.* FROM unnest(%(owners)s) AS owners (key) CROSS JOIN unnest(%(unions)s) AS unions (name)
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (type, value) {_COLUMNS} FROM observations
    WHERE workspace = %(workspace)s AND owner = owners.key AND trait = unions.name
    ORDER BY type, value, observations.observed_at DESC, confidence DESC, source DESC, method DESC) AS every"""

# One more than the page holds is looked for, to know whether there are more.
_TIMELINE = f"""SELECT
    id, name, properties, source, {microseconds_of("occurred_at")}, {microseconds_of("received_at")}, number < found
FROM (
    SELECT *, count(*) OVER () AS found, row_number() OVER newest AS number,
        sum(octet_length(properties)) OVER newest AS bytes
    FROM (
        SELECT event.* FROM unnest(%(owners)s) AS owners (key) CROSS JOIN LATERAL (
            SELECT id, name, properties, source, occurred_at, received_at FROM facts
            WHERE workspace = %(workspace)s AND owner = owners.key AND name IS NOT NULL
                AND (%(names)s::text[] = '{{{{}}}}' OR name = ANY(%(names)s::text[])) {{before}}
            ORDER BY occurred_at DESC, id DESC LIMIT %(limit)s + 1) AS event
        ORDER BY occurred_at DESC, id DESC LIMIT %(limit)s + 1) AS candidates
    WINDOW newest AS (ORDER BY occurred_at DESC, id DESC)) AS page
WHERE number <= %(limit)s AND (number = 1 OR bytes <= {PAGE_BYTES}) ORDER BY number"""
_FIRST_PAGE = _TIMELINE.format(before="")
_NEXT_PAGE = _TIMELINE.format(before="AND (occurred_at, id) < (%(at)s, %(id)s)")


class Activity(NamedTuple):
    """What one identifier's facts span.

    Attributes:
        events: How many events there are.
        first_at: When the earliest fact happened.
        last_at: When the latest one did.
    """

    events: int
    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Material:
    """What profiles are folded from.

    Attributes:
        observations: Owner, trait and observation.
        statements: The latest consent statement for each identifier and purpose.
        activities: By owner.
    """

    observations: list[tuple[bytes, str, Observation]]
    statements: list[Statement]
    activities: dict[bytes, Activity]


class StoredEvent(NamedTuple):
    """One event of a timeline; times in microseconds since 1970."""

    id: bytes
    name: str
    properties: bytes
    source: str
    occurred_at: int
    received_at: int


class Timeline(NamedTuple):
    """A page of events, and whether there are more behind it."""

    events: list[StoredEvent]
    more: bool


async def material(connection: Driver, workspace: str, owners: Collection[bytes], unions: Sequence[str]) -> Material:
    """Return all that the profiles of some identifiers are folded from.

    Args:
        connection: In autocommit.
        workspace: Whose.
        owners: The identifiers of all the profiles.
        unions: The traits of which every value counts.
    """
    parameters = {"workspace": workspace, "owners": Keys(owners)}
    observations: list[tuple[bytes, str, Observation]] = []
    statements: list[Statement] = []
    activities: dict[bytes, Activity] = {}
    for *found, granted, number, last_at in await fetch(connection, _MATERIAL, parameters):
        key, name, at, confidence, source, *rest = found
        if number is not None:
            activities[key] = Activity(number, at, last_at)
        elif granted is not None:
            statements.append(Statement(key, name, granted, source, at))
        else:
            observations.append((key, name, Observation(at, confidence, source, *rest)))
    if any(number > FEW for number in Counter(owner for owner, *_ in observations).values()):
        # All of them again, for owners may have changed between the two statements.
        latest = await fetch(connection, _LATEST, parameters | {"unions": list(unions)})
        observations = [(owner, trait, Observation(*rest)) for owner, trait, *rest in latest]
    return Material(observations, statements, activities)


async def events(
    connection: Driver,
    workspace: str,
    owners: Collection[bytes],
    *,
    names: Sequence[str],
    before: tuple[int, bytes] | None,
    limit: int,
) -> Timeline:
    """Return a page of the events of some identifiers, newest first, behind the place `before` (time and id)."""
    parameters: dict[str, Any] = {
        "workspace": workspace,
        "owners": Keys(owners),
        "names": list(names),
        "limit": limit,
    }
    if before is not None:
        parameters |= {"at": to_database(before[0]), "id": Key(before[1])}
    rows = await fetch(connection, _FIRST_PAGE if before is None else _NEXT_PAGE, parameters)
    return Timeline([StoredEvent(*row) for *row, _ in rows], more=bool(rows) and rows[-1][-1])
