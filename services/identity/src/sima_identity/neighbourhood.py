"""Finds out how far a neighbourhood reaches, ring by ring, and stops where it becomes too large for a call."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol

from sima_identity.evidence import Refusal, Verdict
from sima_identity.records import StoredEdge

ReadEdges = Callable[[Collection[bytes]], Awaitable[list[StoredEdge]]]

#: Behind these nothing can matter: what is blocked or a hub binds nobody, whoever else comes.
ENDS = (Refusal.BLOCKED, Refusal.HUB)


class Ways(Protocol):
    """Knows which edges lead on."""

    async def learn(self, edges: Iterable[StoredEdge]) -> None:
        """Find out what has to be known of the ends of edges."""

    def leads_on(self, edge: StoredEdge) -> bool:
        """Whether what lies behind an edge, of which it learnt, belongs to the neighbourhood."""


class StoredWays:
    """The ways as they are stored: where all was grouped under the policy in force."""

    async def learn(self, edges: Iterable[StoredEdge]) -> None:
        """There is nothing to find out."""

    def leads_on(self, edge: StoredEdge) -> bool:
        """Whether neither end is blocked or a hub, nor are the two kept apart."""
        return edge.refusal not in ENDS and edge.verdict is not Verdict.NEVER


class Neighbourhoods:
    """The connected components around some identifiers, through everything that is neither blocked nor a hub."""

    def __init__(self, seeds: Iterable[bytes], limit: int | None, ways: Ways) -> None:
        """Begin with the identifiers around which to look.

        Args:
            seeds: Stored identifiers that are neither blocked nor hubs.
            limit: A component with more identifiers is not loaded further; None: there is no such limit.
            ways: Knows which edges lead on.
        """
        self._parents = {seed: seed for seed in seeds}
        self._sizes = dict.fromkeys(self._parents, 1)
        self._limit, self._ways = limit, ways

    async def load(self, read_edges: ReadEdges) -> None:
        """Read ring after ring until every component is whole or too large."""
        frontier: Collection[bytes] = list(self._parents)
        while frontier:
            before = set(self._parents)
            edges = await read_edges(frontier)
            await self._ways.learn(edges)
            for edge in edges:
                if self._ways.leads_on(edge):
                    self._unite(edge.low, edge.high)
            frontier = [key for key in self._parents.keys() - before if not self._is_too_large(key)]

    def members(self) -> frozenset[bytes]:
        """All identifiers of the components that are whole."""
        return frozenset(key for key in self._parents if not self._is_too_large(key))

    def _find(self, key: bytes) -> bytes:
        parents = self._parents
        while (parent := parents[key]) != key:
            parents[key] = key = parents[parent]
        return key

    def _unite(self, one: bytes, other: bytes) -> None:
        for key in (one, other):
            if key not in self._parents:
                self._parents[key], self._sizes[key] = key, 1
        root, under = self._find(one), self._find(other)
        if root != under:
            self._parents[under] = root
            self._sizes[root] += self._sizes.pop(under)

    def _is_too_large(self, key: bytes) -> bool:
        return self._limit is not None and self._sizes[self._find(key)] > self._limit


def leading_out(edges: Iterable[StoredEdge], members: Collection[bytes], ways: Ways) -> set[StoredEdge]:
    """Return the edges that lead out of a component that was thought to be whole."""
    return {edge for edge in edges if ways.leads_on(edge) and not (edge.low in members and edge.high in members)}
