"""Queries of which people belong to which companies: identifiers of both that messages showed together."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sima_runtime.database import Driver, execute, fetch
from sima_runtime.keys import Keys

from sima_identity.batch import AffiliationId, Seen
from sima_identity.explaining import Evidence
from sima_identity.store.arrays import choices, instant, numbers
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
# What is shared or blocked is nobody's, so it leads to no company and to none of its people. Of each key, as many are
# read in the order of the index as a page can hold, however many there are.
_PAIRS = """SELECT person.key, person.kind, person.value, person.profile_id,
        account.key, account.kind, account.value, account.profile_id
    FROM unnest(%(keys)s::uuid[]) AS own(key) CROSS JOIN LATERAL (
        SELECT {other} AS key FROM (
            SELECT DISTINCT {other} FROM affiliations WHERE workspace = %(workspace)s AND {own} = own.key
                AND (%(after)s::uuid[] IS NULL OR (own.key, {other}) > ((%(after)s::uuid[])[1], (%(after)s::uuid[])[2]))
        ) AS seen JOIN identifiers ON (key, workspace) = ({other}, %(workspace)s)
        WHERE NOT (shared OR blocked) ORDER BY {other} LIMIT %(limit)s
    ) AS tied(key)
    JOIN identifiers AS {own} ON ({own}.key, {own}.workspace) = (own.key, %(workspace)s)
    JOIN identifiers AS {other} ON ({other}.key, {other}.workspace) = (tied.key, %(workspace)s)
    WHERE NOT ({own}.shared OR {own}.blocked)
    ORDER BY own.key, tied.key LIMIT %(limit)s"""
_PAIRS_OF_PERSON = _PAIRS.format(own="person", other="account")
_PAIRS_OF_ACCOUNT = _PAIRS.format(own="account", other="person")
_EVIDENCE = f"""SELECT person, account, source, message_id, first_at
    FROM unnest(%(person)s::uuid[], %(account)s::uuid[]) AS given(wanted_person, wanted_account) CROSS JOIN LATERAL (
        SELECT person, account, source, message_id, first_at FROM affiliations
        WHERE workspace = %(workspace)s AND person = wanted_person AND account = wanted_account
        ORDER BY source LIMIT {MOST_EVIDENCE}) AS found"""


class Named(NamedTuple):
    """An identifier that belongs to a profile."""

    key: bytes
    kind: str
    value: str | None
    profile_id: bytes


class Affiliation(NamedTuple):
    """A person and a company were seen together, by these identifiers; `evidence` by source, the first few."""

    person: Named
    account: Named
    evidence: Sequence[Evidence]


async def missing(connection: Driver, workspace: str, seen: Mapping[AffiliationId, Seen]) -> list[AffiliationId]:
    """Return those that are not stored, or were seen earlier than is stored."""
    ids = list(seen)
    rows = await fetch(connection, _MISSING, _parameters(workspace, ids, seen))
    return [ids[number - 1] for (number,) in rows]


async def write(connection: Driver, workspace: str, seen: Mapping[AffiliationId, Seen]) -> None:
    """Store when identifiers were seen together first. All that are neither blocked nor hubs must be locked."""
    messages = [each.message_id for each in seen.values()]
    await execute(connection, _WRITE, {**_parameters(workspace, list(seen), seen), "message_id": messages})


async def listed(
    connection: Driver,
    workspace: str,
    keys: Collection[bytes],
    after: tuple[bytes, bytes] | None,
    limit: int,
    *,
    accounts: bool,
) -> list[Affiliation]:
    """Return what ties identifiers of a person (or of a company, if `accounts`) to others, in the order of keys."""
    parameters = {
        "workspace": workspace,
        "keys": Keys(keys),
        "after": after and Keys(after),
        "limit": limit,
    }
    rows = await fetch(connection, _PAIRS_OF_ACCOUNT if accounts else _PAIRS_OF_PERSON, parameters)
    pairs = [(Named(*row[:4]), Named(*row[4:])) for row in rows]
    given = {
        "workspace": workspace,
        "person": Keys([person.key for person, _ in pairs]),
        "account": Keys([account.key for _, account in pairs]),
    }
    evidence: defaultdict[tuple[bytes, bytes], list[Evidence]] = defaultdict(list)
    for person, account, *rest in await fetch(connection, _EVIDENCE, given) if pairs else ():
        evidence[person, account].append(Evidence(*rest))
    return [Affiliation(person, account, evidence[person.key, account.key]) for person, account in pairs]


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
