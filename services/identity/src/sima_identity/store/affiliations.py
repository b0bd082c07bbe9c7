"""Queries of which people belong to which companies: identifiers of both that messages showed together."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.keys import Keys

from sima_identity.batch import AffiliationId, Seen
from sima_identity.evidence import Pair
from sima_identity.explaining import Evidence
from sima_identity.store.arrays import NOBODY, choices, instant, numbers
from sima_identity.store.links import MOST_EVIDENCE

_MISSING = f"""SELECT wanted.number
    FROM unnest(%(person)s::uuid[], %(account)s::uuid[], %(source)s::integer[], %(seen_at)s::bigint[])
        WITH ORDINALITY AS wanted(person, account, source, seen_at, number)
    LEFT JOIN LATERAL (
        SELECT first_at FROM affiliations
        WHERE workspace = %(workspace)s AND person = wanted.person AND account = wanted.account
            AND source = (%(sources)s::text[])[wanted.source] OFFSET 0
    ) AS found ON true
    WHERE (first_at <= {instant("seen_at")}) IS NOT TRUE"""
_WRITE = f"""INSERT INTO affiliations (workspace, person, account, source, message_id, first_at)
    SELECT %(workspace)s, person, account, (%(sources)s::text[])[source], nullif(message_id, ''), {instant("seen_at")}
    FROM unnest(%(person)s::uuid[], %(account)s::uuid[], %(source)s::integer[], %(seen_at)s::bigint[],
        %(message_id)s::text[]) AS given(person, account, source, seen_at, message_id)
    ORDER BY person, account, source
    ON CONFLICT (person, account, workspace, source) DO UPDATE SET
        message_id = excluded.message_id, first_at = excluded.first_at
    WHERE excluded.first_at < affiliations.first_at"""
# Of each key, in the order of the index, as many as a page can hold: from the beginning, or behind the page before.
_PAIRS = """SELECT own.key, tied.key
    FROM unnest(%(keys)s::uuid[], %(after)s::uuid[]) AS own(key, after) CROSS JOIN LATERAL (
        SELECT DISTINCT {other} AS key FROM affiliations
        WHERE workspace = %(workspace)s AND {own} = own.key AND {other} > own.after
        ORDER BY {other} LIMIT %(limit)s
    ) AS tied ORDER BY own.key, tied.key LIMIT %(limit)s"""
_PAIRS_OF_PERSON = _PAIRS.format(own="person", other="account")
_PAIRS_OF_ACCOUNT = _PAIRS.format(own="account", other="person")
_NAMED = """SELECT key, kind, value, profile_id FROM identifiers
    WHERE workspace = %s AND key = ANY(%s) AND NOT (shared OR blocked)"""
_EVIDENCE = f"""SELECT person, account, source, message_id, first_at
    FROM unnest(%(person)s::uuid[], %(account)s::uuid[]) AS given(wanted_person, wanted_account) CROSS JOIN LATERAL (
        SELECT person, account, source, message_id, first_at FROM affiliations
        WHERE workspace = %(workspace)s AND person = wanted_person AND account = wanted_account
        ORDER BY source LIMIT {MOST_EVIDENCE}) AS found"""


class Named(NamedTuple):
    """An identifier that is somebody's, and not shared; `value` is None for protected kinds."""

    key: bytes
    kind: str
    value: str | None
    profile_id: bytes


async def missing(connection: Driver, workspace: str, seen: Mapping[AffiliationId, Seen]) -> list[AffiliationId]:
    """Return those that are not stored, or were seen earlier than is stored."""
    ids = list(seen)
    rows = await fetch(connection, _MISSING, _parameters(workspace, ids, seen))
    return [ids[number - 1] for (number,) in rows]


async def write(connection: Driver, workspace: str, seen: Mapping[AffiliationId, Seen]) -> None:
    """Store when identifiers were seen together first. All that are neither blocked nor hubs must be locked."""
    messages = [each.message_id for each in seen.values()]
    await execute(connection, _WRITE, {**_parameters(workspace, list(seen), seen), "message_id": messages})


async def pairs(
    connection: Driver, workspace: str, keys: Sequence[bytes], after: Pair | None, limit: int, *, accounts: bool
) -> list[Pair]:
    """Return pairs of one of some identifiers and what was seen with it, in the order of their keys.

    Args:
        connection: The schema `identity`.
        workspace: Whose they are.
        keys: Identifiers of a person; or of a company, if `accounts`.
        after: The pair behind which to begin.
        limit: At most so many.
        accounts: See `keys`.
    """
    left = sorted(key for key in keys if after is None or key >= after[0])
    parameters = {
        "workspace": workspace,
        "keys": Keys(left),
        "after": Keys([after[1] if after and key == after[0] else NOBODY for key in left]),
        "limit": limit,
    }
    rows = await fetch(connection, _PAIRS_OF_ACCOUNT if accounts else _PAIRS_OF_PERSON, parameters)
    return [(own, other) for own, other in rows]


async def named(connection: Driver, workspace: str, keys: Collection[bytes]) -> dict[bytes, Named]:
    """Return those of some identifiers, by key, that are neither shared nor blocked."""
    return {row[0]: Named(*row) for row in await fetch(connection, _NAMED, (workspace, Keys(keys)))}


async def evidence(
    connection: Driver, workspace: str, tied: Sequence[tuple[bytes, bytes]]
) -> dict[tuple[bytes, bytes], list[Evidence]]:
    """Return what showed pairs of a person's and a company's identifier, by source, the first few."""
    given = {
        "workspace": workspace,
        "person": Keys([person for person, _ in tied]),
        "account": Keys([account for _, account in tied]),
    }
    found: defaultdict[tuple[bytes, bytes], list[Evidence]] = defaultdict(list)
    for person, account, *rest in await fetch(connection, _EVIDENCE, given):
        found[person, account].append(Evidence(*rest))
    return found


def _parameters(workspace: str, ids: Sequence[AffiliationId], seen: Mapping[AffiliationId, Seen]) -> dict[str, object]:
    sources, source = choices([each.source for each in ids])
    return {
        "workspace": workspace,
        "person": Keys([each.person for each in ids]),
        "account": Keys([each.account for each in ids]),
        "source": source,
        "sources": sources,
        "seen_at": numbers([seen[each].first_at for each in ids]),
    }
