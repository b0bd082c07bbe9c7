"""Queries by which profiles are found."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sima_runtime.database import Driver, fetch
from sima_runtime.keys import Keys

from sima_identity.records import Wanted, shown_version

#: One answer may hold so many identifiers: more would not fit into a message.
MOST_MEMBERS = 100_000

# One statement, so that profile and identifiers are of one moment. A profile that is asked for twice comes once.
_LOOKUP = """WITH by_key AS MATERIALIZED (
    SELECT wanted.number, key, profile_id
    FROM unnest(%(keys)s::uuid[], %(key_numbers)s::bigint[]) AS wanted(key, number)
    JOIN identifiers USING (key) WHERE workspace = %(workspace)s
), by_profile AS MATERIALIZED (
    SELECT wanted.number, key, profile_id
    FROM unnest(%(profile_ids)s::uuid[], %(profile_numbers)s::bigint[]) AS wanted(founded_id, number)
    JOIN identifiers USING (founded_id) WHERE workspace = %(workspace)s
), found AS MATERIALIZED (
    SELECT * FROM by_key UNION ALL SELECT * FROM by_profile
), profiles AS (SELECT DISTINCT profile_id FROM found WHERE profile_id IS NOT NULL)
SELECT number, key, profile_id, NULL::text, NULL::text, NULL::boolean, NULL::boolean, NULL::timestamptz, NULL::integer
FROM found
UNION ALL
(SELECT NULL::bigint, key, profile_id, kind, value, shared, blocked, first_seen_at, policy_version
FROM identifiers JOIN profiles USING (profile_id) WHERE workspace = %(workspace)s LIMIT %(most)s)
UNION ALL
SELECT NULL::bigint, key, identifiers.profile_id, kind, value, shared, blocked, first_seen_at, policy_version
FROM identifiers JOIN found USING (key) WHERE workspace = %(workspace)s AND found.profile_id IS NULL"""


class Member(NamedTuple):
    """An identifier of a profile; `value` is None for protected kinds."""

    key: bytes
    kind: str
    value: str | None
    shared: bool
    blocked: bool
    first_seen_at: datetime
    policy_version: int


class Found(NamedTuple):
    """A profile with its identifiers, in no order; without profile id it is a blocked identifier alone."""

    profile_id: bytes | None
    members: Sequence[Member]

    @property
    def policy_version(self) -> int:
        """The version of the policy under which they were grouped."""
        return max((shown_version(member.policy_version) for member in self.members), default=0)


#: Nobody is known so.
NOBODY = Found(None, ())


async def lookup(connection: Driver, workspace: str, wanted: Sequence[Wanted]) -> dict[int, Found]:
    """Find profiles by the position of what is asked for; what is not known is absent.

    Of profiles that have more than `MOST_MEMBERS` identifiers together only one more than that is read.
    """
    parameters = asked(workspace, wanted) | {"most": MOST_MEMBERS + 1}
    homes: dict[int, bytes] = {}
    members: defaultdict[bytes, dict[bytes, Member]] = defaultdict(dict)
    profile_ids: dict[bytes, bytes | None] = {}
    for number, key, profile_id, *rest in await fetch(connection, _LOOKUP, parameters):
        home = profile_id or key  # a blocked identifier is at home with itself
        if number is None:
            members[home][key] = Member(key, *rest)
        else:
            homes[number] = home
            profile_ids[home] = profile_id
    return {number: Found(profile_ids[home], list(members[home].values())) for number, home in homes.items()}


def asked(workspace: str, wanted: Sequence[Wanted]) -> dict[str, Any]:
    """Return the parameters of a query that say what is asked for: keys and profile ids, each with its position."""
    by_key = {number: key for number, (key, _) in enumerate(wanted) if key}
    by_profile = {number: profile_id for number, (_, profile_id) in enumerate(wanted) if profile_id}
    return {
        "workspace": workspace,
        "keys": Keys(by_key.values()),
        "key_numbers": list(by_key),
        "profile_ids": Keys(by_profile.values()),
        "profile_numbers": list(by_profile),
    }
