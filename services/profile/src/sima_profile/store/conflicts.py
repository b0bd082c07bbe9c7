"""One message with two contents: the smaller hash counts, whichever came first; the other is kept beside."""

from collections.abc import Collection, Iterable, Sequence

import orjson
from sima_runtime.database import execute, fetch
from sima_runtime.epochs import CURRENT_EPOCH
from sima_runtime.keys import Key, Keys

from sima_profile.batch import Arrival
from sima_profile.owners import Ownership
from sima_profile.rows import Owned
from sima_profile.store.appending import Append, OvertakenError
from sima_profile.store.times import to_database

_LOCK = f"""SELECT id, content, (epoch, xid) > ({CURRENT_EPOCH}, pg_current_xact_id())
    FROM facts WHERE workspace = %s AND id = ANY(%s) ORDER BY id FOR UPDATE"""

_SET_ASIDE = """INSERT INTO conflicts
    SELECT workspace, id, content, occurred_at, received_at, source, keys, name, properties,
        (SELECT coalesce(jsonb_agg(jsonb_build_array(trait, type, value, method, confidence) ORDER BY position), '[]')
            FROM observations WHERE workspace = fact.workspace AND fact_id = fact.id),
        (SELECT coalesce(jsonb_agg(jsonb_build_array(purpose, granted) ORDER BY position), '[]')
            FROM consents WHERE workspace = fact.workspace AND fact_id = fact.id)
    FROM facts AS fact WHERE workspace = %(workspace)s AND id = ANY(%(facts)s)
    ON CONFLICT DO NOTHING"""
_RETRACT = """INSERT INTO retractions (workspace, id, relation, occurred_at, epoch)
    SELECT workspace, id, 'events', occurred_at, %(epoch)s
        FROM facts WHERE workspace = %(workspace)s AND id = ANY(%(facts)s) AND name IS NOT NULL
    UNION ALL SELECT workspace, id, 'observations', observed_at, %(epoch)s
        FROM observations WHERE workspace = %(workspace)s AND fact_id = ANY(%(facts)s)
    UNION ALL SELECT workspace, id, 'consents', stated_at, %(epoch)s
        FROM consents WHERE workspace = %(workspace)s AND fact_id = ANY(%(facts)s)"""
_REMOVE_PARTS = tuple(
    f"DELETE FROM {table} WHERE workspace = %(workspace)s AND fact_id = ANY(%(facts)s)"
    for table in ("observations", "consents")
)
# The row takes a new place in the feed.
_REPLACE = """UPDATE facts SET occurred_at = %(occurred_at)s, received_at = %(received_at)s, keys = %(keys)s,
        owner = %(owner)s, contested = %(contested)s, name = %(name)s, properties = %(properties)s,
        content = %(content)s, epoch = %(epoch)s, xid = pg_current_xact_id(), seq = nextval('feed_seq')
    WHERE workspace = %(workspace)s AND id = %(fact)s"""
_KEEP = """INSERT INTO conflicts
    (workspace, fact_id, content, occurred_at, received_at, source, keys, name, properties, traits, consents)
    VALUES (%(workspace)s, %(fact)s, %(content)s, %(occurred_at)s, %(received_at)s, %(source)s, %(keys)s, %(name)s,
        %(properties)s, %(traits)s, %(consents)s)
    ON CONFLICT DO NOTHING"""


async def lock(append: Append, facts: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the content hashes of stored facts, which nobody else replaces before the transaction ends.

    Raises:
        OvertakenError: One was replaced by a transaction that began after this one. The feed would show what this
            transaction puts in its place before what the other one retracts, so it has to begin again.
    """
    rows = await fetch(append.connection, _LOCK, (append.workspace, Keys(facts)))
    if any(overtaken for *_, overtaken in rows):
        raise OvertakenError
    return {fact: content for fact, content, _ in rows}


async def replace(append: Append, arrivals: Sequence[Owned]) -> None:
    """Put new contents of locked facts in the place of the stored ones, which are set aside and retracted.

    The new parts are the caller's to append.
    """
    parameters = append.parameters() | {"facts": Keys([arrival.id for arrival, _ in arrivals])}
    for statement in (_SET_ASIDE, _RETRACT, *_REMOVE_PARTS):
        await execute(append.connection, statement, parameters)
    rows = [append.parameters() | _row(arrival) | _owner(ownership) for arrival, ownership in arrivals]
    async with append.connection.cursor() as cursor:
        await cursor.executemany(_REPLACE, rows)


async def keep(append: Append, losers: Iterable[Arrival]) -> None:
    """Keep contents that lost; one that is kept already changes nothing."""
    async with append.connection.cursor() as cursor:
        await cursor.executemany(_KEEP, [append.parameters() | _row(arrival) for arrival in losers])


def _owner(ownership: Ownership) -> dict[str, object]:
    owner, contested = ownership
    return {"owner": owner and Key(owner), "contested": contested}


def _row(arrival: Arrival) -> dict[str, object]:
    fact = arrival.fact
    return {
        "fact": Key(arrival.id),
        "content": Key(fact.content),
        "occurred_at": to_database(arrival.occurred_at),
        "source": fact.source,
        "keys": Keys(arrival.belonging.keys),
        "name": fact.event,
        "properties": fact.properties,
        "traits": orjson.dumps(fact.traits, default=tuple).decode(),
        "consents": orjson.dumps(fact.consents, default=tuple).decode(),
    }
