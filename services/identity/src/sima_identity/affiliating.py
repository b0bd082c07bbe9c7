"""Says to which companies somebody belongs, and who belongs to a company."""

from collections.abc import Sequence
from typing import NamedTuple

from sima_runtime.database import Database, Driver

from sima_identity.evidence import Pair
from sima_identity.explaining import Evidence
from sima_identity.policies import Policies
from sima_identity.records import Wanted
from sima_identity.store import affiliations, lookups
from sima_identity.store.affiliations import Named


class Affiliation(NamedTuple):
    """A person and a company were seen together, by these identifiers; `evidence` by source, the first few."""

    person: Named
    account: Named
    evidence: Sequence[Evidence]


class Page(NamedTuple):
    """Affiliations, and the pair behind which the next page begins; None: this was the last."""

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
            found: list[Affiliation] = []
            while len(found) <= size:
                pairs = await affiliations.pairs(connection, workspace, own, after, size + 1, accounts=accounts)
                found += await _told(connection, workspace, pairs, accounts=accounts)
                if len(pairs) <= size:
                    break
                after = pairs[-1]
        shown = found[:size]
        return Page(shown, _ends(shown[-1], accounts=accounts) if len(found) > size else None)


async def _told(connection: Driver, workspace: str, pairs: Sequence[Pair], *, accounts: bool) -> list[Affiliation]:
    """The affiliations that pairs stand for."""
    known = await affiliations.named(connection, workspace, {key for pair in pairs for key in pair})
    tied = [pair[::-1] if accounts else pair for pair in pairs if pair[0] in known and pair[1] in known]
    evidence = await affiliations.evidence(connection, workspace, tied)
    return [Affiliation(known[person], known[account], evidence[person, account]) for person, account in tied]


def _ends(affiliation: Affiliation, *, accounts: bool) -> Pair:
    """The pair that stands for an affiliation."""
    ends = affiliation.person.key, affiliation.account.key
    return ends[::-1] if accounts else ends
