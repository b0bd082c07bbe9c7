"""Says to which companies somebody belongs, and who belongs to a company."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sima_runtime.database import Database, Driver

from sima_identity.evidence import Pair
from sima_identity.explaining import Evidence
from sima_identity.policies import Policies
from sima_identity.records import Wanted
from sima_identity.store import affiliations, lookups
from sima_identity.store.affiliations import Named

# Where much is shared or blocked, so many pairs are read at once, and at most so often for one page.
_AT_ONCE, _ROUNDS = 1_000, 10


class Affiliation(NamedTuple):
    """A person and a company were seen together, by these identifiers; `evidence` by source, the first few."""

    person: Named
    account: Named
    evidence: Sequence[Evidence]


class Page(NamedTuple):
    """Affiliations, perhaps few or none, and the pair behind which the next page begins; None: this was the last."""

    affiliations: Sequence[Affiliation]
    after: Pair | None


class Affiliations:
    """Answers who belongs to whom. What is shared or blocked is nobody's, so it leads nowhere."""

    def __init__(self, database: Database, policies: Policies) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policies: Knows which kinds of identifiers are those of companies.
        """
        self._database, self._policies = database, policies

    async def of(self, workspace: str, wanted: Wanted, after: Pair | None, size: int) -> Page:
        """Return a page of what ties a person to companies, or a company to its people.

        Args:
            workspace: Whose they are.
            wanted: The person or the company.
            after: The pair behind which the page begins: an identifier of what is asked for, and the other one.
            size: At most so many.
        """
        async with self._database.statement() as connection:
            profile = (await lookups.lookup(connection, workspace, [wanted])).get(0, lookups.NOBODY)
            kinds = {member.kind for member in profile.members}
            accounts = any(self._policies.base.kind(kind).account for kind in kinds)
            own = [member.key for member in profile.members if not (member.shared or member.blocked)]
            seen = await _seen(connection, workspace, own, after, size, accounts=accounts)
            tied = [pair[::-1] if accounts else pair for pair in seen.pairs]
            return Page(await _told(connection, workspace, tied, seen.known), seen.after)


class _Seen(NamedTuple):
    """Pairs of what was asked for and others, who they are, and the pair behind which there may be more."""

    pairs: Sequence[Pair]
    known: Mapping[bytes, Named]
    after: Pair | None


async def _seen(  # as the query has them
    connection: Driver, workspace: str, own: Sequence[bytes], after: Pair | None, size: int, *, accounts: bool
) -> _Seen:
    """Read pairs of which neither is shared or blocked, at most so many; fewer where too much is."""
    known: dict[bytes, Named] = {}
    found: list[Pair] = []
    for limit in (size + 1, *[max(size + 1, _AT_ONCE)] * _ROUNDS):
        pairs = await affiliations.pairs(connection, workspace, own, after, limit, accounts=accounts)
        known |= await affiliations.named(connection, workspace, {key for pair in pairs for key in pair})
        found += [pair for pair in pairs if pair[0] in known and pair[1] in known]
        if len(found) > size:
            return _Seen(found[:size], known, found[size - 1])
        if len(pairs) < limit:
            return _Seen(found, known, None)
        after = pairs[-1]
    return _Seen(found, known, after)


async def _told(
    connection: Driver, workspace: str, tied: Sequence[Pair], known: Mapping[bytes, Named]
) -> list[Affiliation]:
    """The affiliations that pairs of a person's and a company's identifier stand for."""
    evidence = await affiliations.evidence(connection, workspace, tied) if tied else {}
    return [Affiliation(known[person], known[account], evidence[person, account]) for person, account in tied]
