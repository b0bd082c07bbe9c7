"""Says who was one person at a moment, by the time of messages: what was seen up to then, grouped as of today.

The grouping depends on content alone, and an edge knows the earliest time at which it was seen. So the answer is what
would be stored had nothing been observed later, under the policy in force and with all decisions that hold. What is
stored says nothing about it: a hub of today may have been one person's, and what hangs together today may not have.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from sima_runtime.database import Database
from sima_runtime.errors import InvalidFieldsError, Violation

from sima_identity.batch import Batch
from sima_identity.evidence import Refusal, Verdict, pair
from sima_identity.neighbourhood import Neighbourhoods
from sima_identity.planning import Situation, grouped
from sima_identity.policies import InForce, Policies
from sima_identity.profile_ids import founded_id, founder
from sima_identity.records import StoredEdge, Wanted
from sima_identity.store import past
from sima_identity.store.lookups import Found, Member
from sima_identity.store.past import Known, Neighbour

#: What is read in one call, in neighbours of identifiers: more would keep memory and event loop from other calls.
MOST_NEIGHBOURS = 100_000
# Of each identifier so many neighbours are read, which show that most hubs are hubs; of the others so many times more.
_AT_FIRST, _MORE = 250, 8

_Read = Callable[[Collection[bytes], int, int], Awaitable[list[Neighbour]]]


class Past:
    """Answers who was one person."""

    def __init__(
        self, database: Database, policies: Policies, secrets: Callable[[str], bytes], neighbourhood_limit: int
    ) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policies: Knows what is in force.
            secrets: Gives the secret of a workspace.
            neighbourhood_limit: Neighbourhoods with more identifiers are refused.
        """
        self._database, self._policies = database, policies
        self._secrets, self._limit = secrets, neighbourhood_limit

    async def lookup(self, workspace: str, wanted: Sequence[Wanted], as_of: int) -> dict[int, Found]:
        """Find who was one person, by the position of what is asked for; what was not seen yet is absent.

        Args:
            workspace: Whose people.
            wanted: What is asked for.
            as_of: The moment, in microseconds since 1970.

        Raises:
            InvalidFieldsError: A neighbourhood was too large by then, or all of them together.
        """
        async with self._database.transaction() as connection:
            spread = await past.begin(connection)
            in_force = await self._policies.in_force(connection, workspace)
            asked = await past.read_asked(connection, workspace, wanted, as_of)
            read = past.read_spread_neighbours if spread else past.read_neighbours
            evidence = _Evidence(partial(read, connection, workspace, as_of), in_force)
            # Who is one person today probably was then: these are looked at together, rather than one after the other.
            homes = {profile for known in asked.values() if (profile := known.row.profile_id)}
            together = await past.read_profiles(connection, workspace, homes, as_of, self._limit)
            await evidence.begin([*asked.values(), *together])
            seeds = {known.row.key for known in asked.values()}
            neighbourhoods = Neighbourhoods(seeds - evidence.closed.keys(), self._limit, evidence)
            await neighbourhoods.load(evidence.edges_of)
        members = neighbourhoods.members()
        self._check(asked, members | evidence.closed.keys())
        return await asyncio.to_thread(_found, asked, evidence, members, self._secrets(workspace))

    def _check(self, asked: Mapping[int, Known], looked_at: Collection[bytes]) -> None:
        expected = f"expected an identifier whose neighbourhood had at most {self._limit} identifiers by then"
        large = [number for number, known in sorted(asked.items()) if known.row.key not in looked_at]
        if large:
            raise InvalidFieldsError([Violation(f"keys[{number}]", expected) for number in large])


class _Evidence:
    """What was seen and decided around identifiers up to a moment; knows which edges lead on.

    Attributes:
        known: All identifiers that were met.
        closed: Those of them that bind nobody, as far as they were looked at, and why.
        in_force: The policy.
    """

    def __init__(self, read: _Read, in_force: InForce) -> None:
        self.known: dict[bytes, Known] = {}
        self.closed: dict[bytes, Refusal] = {}
        self.in_force = in_force
        self._read, self._left = read, MOST_NEIGHBOURS
        self._edges: dict[bytes, list[StoredEdge]] = {}

    async def begin(self, identifiers: Iterable[Known]) -> None:
        """Look at the first identifiers."""
        await self._look_at({known.row.key for known in identifiers if self._is_open(known)}, _AT_FIRST)

    async def edges_of(self, keys: Collection[bytes]) -> list[StoredEdge]:
        """Return the edges of identifiers that were looked at, and what was decided about them."""
        return [edge for key in keys for edge in self._edges[key]]

    async def learn(self, edges: Iterable[StoredEdge]) -> None:
        """Look at the ends of edges."""
        ends = {end for edge in edges if edge.verdict is not Verdict.NEVER for end in edge.pair}
        await self._look_at(ends - self._edges.keys(), _AT_FIRST)

    def leads_on(self, edge: StoredEdge) -> bool:
        """Whether neither end is a hub, nor are the two kept apart."""
        return edge.verdict is not Verdict.NEVER and self.closed.keys().isdisjoint(edge.pair)

    def situation(self, keys: Collection[bytes], members: Collection[bytes]) -> Situation:
        """Return what was there of some identifiers, of which the neighbourhoods of members are whole."""
        edges = {edge for key in members for edge in self._edges[key] if edge.low in keys and edge.high in keys}
        closed = {key: self.closed[key] for key in self.closed.keys() & keys}
        return Situation({key: self.known[key].row for key in keys}, frozenset(members), tuple(edges), closed)

    async def _look_at(self, keys: Collection[bytes], most: int) -> None:
        """Find out with what identifiers were seen, and which of them are hubs; for that so many may be enough."""
        if not keys:
            return
        rows = await self._read(keys, most, self._left + 1)
        self._left -= len(rows)
        if self._left < 0:
            raise _too_much()
        neighbours: defaultdict[bytes, list[Neighbour]] = defaultdict(list)
        for row in rows:
            if self._is_open(row.known):
                neighbours[row.of].append(row)
        cut = _cut(rows, most)
        undecided = {key for key in keys if not self._add(key, neighbours[key]) and key in cut}
        await self._look_at(undecided, _MORE * most)

    def _is_open(self, known: Known) -> bool:
        """Take an identifier in, and say whether it names somebody."""
        row, in_force = known.row, self.in_force
        if row.key not in self.known:
            self.known[row.key] = known
            stored = row.policy_version == in_force.version
            if row.blocked if stored else in_force.blocking.blocks(row.key, row.kind, known.value):
                self.closed[row.key] = Refusal.BLOCKED
        return self.closed.get(row.key) is not Refusal.BLOCKED

    def _add(self, key: bytes, neighbours: Sequence[Neighbour]) -> bool:
        """Note the neighbours of an identifier, and say whether it is a hub; then none of them matters."""
        policy = self.in_force.policy
        seen = [policy.kind(one.known.row.kind) for one in neighbours if one.verdict is None]
        hub = policy.makes_hub(policy.kind(self.known[key].row.kind), sum(kind.strong for kind in seen), len(seen))
        if hub:
            self.closed[key] = Refusal.HUB
        matter = () if hub else neighbours
        self._edges[key] = [
            StoredEdge(*pair(key, one.known.row.key), one.first_at or 0, None, one.verdict) for one in matter
        ]
        return hub


def _cut(rows: Iterable[Neighbour], most: int) -> set[bytes]:
    """Identifiers of which not all that was seen with them may have been read: so many on one side are."""
    sides = Counter((row.of, row.of < row.known.row.key) for row in rows if row.verdict is None)
    return {of for (of, _), count in sides.items() if count >= most}


def _found(
    asked: Mapping[int, Known], evidence: _Evidence, members: frozenset[bytes], secret: bytes
) -> dict[int, Found]:
    """Group members, of which the neighbourhoods are whole, and answer what is asked for."""
    keys = members.union(known.row.key for known in asked.values())
    situation = evidence.situation(keys, members)
    clustering = grouped(Batch(), situation, situation.closed, evidence.in_force.policy)
    homes: dict[bytes, Found] = {}
    for cluster in clustering.clusters:
        founding, new = founder(cluster, situation.stored)
        profile_id = None if new else founded_id(secret, founding)
        found = Found(profile_id, [*_members(cluster, evidence, clustering.shared)])
        homes |= dict.fromkeys(cluster, found)
    alone = ((number, known.row.key) for number, known in asked.items())
    return {number: homes.get(key) or Found(None, [*_members([key], evidence, {})]) for number, key in alone}


def _members(cluster: Iterable[bytes], evidence: _Evidence, shared: Mapping[bytes, Refusal]) -> Iterator[Member]:
    version = evidence.in_force.version
    for key in cluster:
        value, first_seen_at, row = evidence.known[key]
        blocked = evidence.closed.get(key) is Refusal.BLOCKED
        yield Member(key, row.kind, value, key in shared, blocked, first_seen_at, version)


def _too_much() -> InvalidFieldsError:
    expected = (
        f"expected identifiers that were seen with at most {MOST_NEIGHBOURS} others by then, all that hang together"
    )
    return InvalidFieldsError([Violation("keys", expected)])
