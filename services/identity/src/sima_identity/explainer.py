"""Reads what is needed to explain the grouping."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sima_runtime.database import Database, Driver
from sima_runtime.errors import NotFoundError

from sima_identity.decisions import Decision
from sima_identity.explaining import Link, chain
from sima_identity.neighbourhood import Neighbourhoods, StoredWays
from sima_identity.records import Stored, StoredEdge, Wanted
from sima_identity.store import decisions, graph, links, lookups
from sima_identity.store.lookups import Member

#: Links and decisions of a graph, so that it fits into one answer.
MOST_LINKS = 2_000
MOST_DECISIONS = 1_000


class Explanation(NamedTuple):
    """Whether two identifiers are one person, the way from one to the other, and whether all was searched for it."""

    linked: bool
    chain: Sequence[Link]
    partial: bool


class ProfileGraph(NamedTuple):
    """A profile with all that lies between its identifiers and around them; `partial` if there is more than shown."""

    profile_id: bytes | None
    members: Sequence[Member]
    links: Sequence[Link]
    decisions: Sequence[Decision]
    partial: bool
    policy_version: int


class Explainer:
    """Answers why the grouping is as it is."""

    def __init__(self, database: Database, limit: int) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            limit: Of a neighbourhood with more identifiers only a part is searched.
        """
        self._database, self._limit = database, limit

    async def explain(self, workspace: str, one: bytes, other: bytes) -> Explanation:
        """Say why two identifiers are one person, or what keeps them apart.

        Raises:
            NotFoundError: One of them was never seen.
        """
        async with self._database.statement() as connection:
            known = {row.key: row for row in await graph.read_identifiers(connection, workspace, {one, other})}
            if known.keys() != {one, other}:
                raise NotFoundError("identifier", "unseen")
            person = _common(row.profile_id for row in known.values())
            if person is None:
                edges, partial = await self._around(connection, workspace, known.values())
            else:
                edges, partial = await _within(connection, workspace, person), False
            found = await links.between(connection, workspace, chain(edges, one, other))
        return Explanation(person is not None, found, partial)

    async def graph(self, workspace: str, wanted: Wanted) -> ProfileGraph:
        """Return all that is known about a profile's identifiers.

        Raises:
            NotFoundError: Nobody is known so.
        """
        async with self._database.statement() as connection:
            found = (await lookups.lookup(connection, workspace, [wanted])).get(0)
            if found is None:
                raise NotFoundError("profile", wanted.profile_id.hex() if wanted.profile_id else "identifier")
            keys = [member.key for member in found.members]
            pairs = await links.pairs_of(connection, workspace, keys, MOST_LINKS + 1)
            between = await links.between(connection, workspace, pairs[:MOST_LINKS])
            whole = Wanted(None, found.profile_id) if found.profile_id else wanted
            decided = await decisions.listed(connection, workspace, whole, None, MOST_DECISIONS + 1)
        partial = len(pairs) > MOST_LINKS or len(decided) > MOST_DECISIONS
        decided = decided[:MOST_DECISIONS]
        return ProfileGraph(found.profile_id, found.members, between, decided, partial, found.policy_version)

    async def _around(
        self, connection: Driver, workspace: str, known: Collection[Stored]
    ) -> tuple[Iterable[StoredEdge], bool]:
        """Return what lies around identifiers, and whether that is only a part."""
        seeds = {row.key for row in known if not row.closed}
        edges: set[StoredEdge] = set()

        async def read(keys: Collection[bytes]) -> list[StoredEdge]:
            found = await graph.read_edges(connection, workspace, keys)
            edges.update(found)
            return found

        neighbourhoods = Neighbourhoods(seeds, self._limit, StoredWays())
        await neighbourhoods.load(read)
        # Of what is closed, hubs above all, only what leads to those that were met is read.
        if closed := {row.key for row in known if row.closed}:
            met = {end for edge in edges for end in edge.pair} | {row.key for row in known}
            edges.update(await graph.read_edges_between(connection, workspace, closed, met))
        return edges, not neighbourhoods.members() >= seeds


async def _within(connection: Driver, workspace: str, person: bytes) -> Iterable[StoredEdge]:
    """Return the edges of a person: what binds lies among them, so no way through the person is missed."""
    members = await decisions.members(connection, workspace, person)
    return await graph.read_edges(connection, workspace, [key for key, _ in members])


def _common(profiles: Iterable[bytes | None]) -> bytes | None:
    """Return the one profile of all; None if there are several, or one has none."""
    different = set(profiles)
    return different.pop() if len(different) == 1 else None
