"""Reads what is needed to explain the grouping."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sima_runtime.database import Database, Driver
from sima_runtime.errors import NotFoundError

from sima_identity.decisions import Decision
from sima_identity.evidence import Refusal, pair
from sima_identity.explaining import Link, chain
from sima_identity.guards import Surroundings
from sima_identity.neighbourhood import Neighbourhoods, StoredWays
from sima_identity.policies import Policies
from sima_identity.records import Stored, StoredEdge, Wanted
from sima_identity.store import decisions, graph, hubs, links, lookups
from sima_identity.store.lookups import Member

#: Links and decisions of a graph, so that it fits into one answer.
MOST_LINKS = 2_000
MOST_DECISIONS = 1_000
_MOST_GUARDED = 10  # links of one way of which it is told what exactly refuses them
_GUARDED = {Refusal.HUB, Refusal.NEVER_LINK, Refusal.KIND_LIMIT, Refusal.PERIOD_LIMIT, Refusal.SIZE_LIMIT}


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

    def __init__(self, database: Database, policies: Policies, limit: int) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policies: Knows the rules.
            limit: Of a neighbourhood with more identifiers only a part is searched.
        """
        self._database, self._policies, self._limit = database, policies, limit

    async def explain(self, workspace: str, one: bytes, other: bytes) -> Explanation:
        """Say why two identifiers are one person, or what keeps them apart.

        Raises:
            NotFoundError: One of them was never seen; its name says which field.
        """
        async with self._database.transaction() as connection:
            await graph.see_one_moment(connection)
            known = {row.key: row for row in await graph.read_identifiers(connection, workspace, {one, other})}
            if unseen := [field for field, key in (("identifier", one), ("other", other)) if key not in known]:
                raise NotFoundError("identifier", unseen[0])
            person = _common(row.profile_id for row in known.values())
            if person is None:
                edges, partial = await self._around(connection, workspace, known.values())
            else:
                edges, partial = await _within(connection, workspace, person), False
            way = chain(edges, one, other)
            found = await links.between(connection, workspace, way or [pair(one, other)])
            if not way:  # though nothing leads from one to the other, somebody may have decided about the two
                found = [link for link in found if link.decisions]
            found = await self._guarded(connection, workspace, found)
        return Explanation(person is not None, found, partial)

    async def graph(self, workspace: str, wanted: Wanted) -> ProfileGraph:
        """Return all that is known about a profile's identifiers.

        Raises:
            NotFoundError: Nobody is known so.
        """
        async with self._database.transaction() as connection:
            await graph.see_one_moment(connection)
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

    async def _guarded(self, connection: Driver, workspace: str, way: list[Link]) -> list[Link]:
        """Add to the first links of a way that do not bind which rules and decisions refuse them."""
        refused = [link for link in way if link.refusal in _GUARDED][:_MOST_GUARDED]
        if not refused:
            return way
        policy = (await self._policies.in_force(connection, workspace)).policy
        around = await _surroundings(connection, workspace, refused)
        guarded = {
            link.pair: link._replace(
                broken=around.broken(link.pair, link.refusal, policy),
                kept_apart_by=around.kept_apart_by(link.pair) if link.refusal is Refusal.NEVER_LINK else (),
            )
            for link in refused
            if link.refusal
        }
        return [guarded.get(link.pair, link) for link in way]

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


async def _surroundings(connection: Driver, workspace: str, refused: Iterable[Link]) -> Surroundings:
    """Read what says why links do not bind."""
    known = await graph.read_identifiers(connection, workspace, {end for link in refused for end in link.pair})
    to_join = {end for link in refused if link.refusal is not Refusal.HUB for end in link.pair}
    joined = {row.profile_id for row in known if row.key in to_join and row.profile_id is not None}
    members = await links.members(connection, workspace, joined)
    apart = await links.apart(connection, workspace, [member.key for member in members])
    degrees = await hubs.degrees_of(connection, workspace, [row.key for row in known if row.hub])
    return Surroundings({row.key: (row.kind, row.profile_id) for row in known}, members, apart, degrees)


async def _within(connection: Driver, workspace: str, person: bytes) -> Iterable[StoredEdge]:
    """Return the edges of a person: what binds lies among them, so no way through the person is missed."""
    members = await decisions.members(connection, workspace, person)
    return await graph.read_edges(connection, workspace, [key for key, _ in members])


def _common(profiles: Iterable[bytes | None]) -> bytes | None:
    """Return the one profile of all; None if there are several, or one has none."""
    different = set(profiles)
    return different.pop() if len(different) == 1 else None
