"""Union-find over small integers: plain, and with the limits of profiles."""

from collections.abc import Iterable, Mapping, Sequence

from sima_sdk.identifiers import IdentifierKind

from sima_identity.evidence import Refusal


def find(parents: list[int] | dict[int, int], node: int) -> int:
    """Return the root of a node, and halve the way to it."""
    while (parent := parents[node]) != node:
        parents[node] = node = parents[parent]
    return node


def unite(parents: list[int], one: int, other: int) -> None:
    """Make two nodes have one root."""
    root, under = find(parents, one), find(parents, other)
    if root != under:
        parents[under] = root


class Partition:
    """Groups of nodes that grow, unless a profile may not be so."""

    def __init__(self, members: Iterable[int], kinds: Sequence[IdentifierKind], most: int) -> None:
        """Begin with every member alone.

        Args:
            members: The nodes.
            kinds: The kind of every node, by node.
            most: Largest group.
        """
        self._parents = {node: node for node in members}
        self._groups = {node: [node] for node in self._parents}
        self._counts = {node: {kinds[node].name: 1} for node in self._parents}
        self._limits: Mapping[str, int] = {kinds[node].name: kinds[node].most_per_profile for node in self._parents}
        self._most = most

    def group(self, node: int) -> int:
        """Return the number of a node's group: equal for two nodes as long as they are in one group."""
        return find(self._parents, node)

    def groups(self) -> Iterable[list[int]]:
        """All groups."""
        return self._groups.values()

    def join(self, one: int, other: int) -> Refusal | None:
        """Put the groups of two nodes together, or say why that must not be."""
        root, under = self.group(one), self.group(other)
        if root == under:
            return None
        if len(self._groups[root]) < len(self._groups[under]):
            root, under = under, root
        if (refusal := self._refusal(root, under)) is None:
            self._merge(root, under)
        return refusal

    def _refusal(self, root: int, under: int) -> Refusal | None:
        if len(self._groups[root]) + len(self._groups[under]) > self._most:
            return Refusal.SIZE_LIMIT
        counts = self._counts[root]
        if any(counts.get(kind, 0) + more > self._limits[kind] for kind, more in self._counts[under].items()):
            return Refusal.KIND_LIMIT
        return None

    def _merge(self, root: int, under: int) -> None:
        self._parents[under] = root
        self._groups[root] += self._groups.pop(under)
        counts = self._counts[root]
        for kind, more in self._counts.pop(under).items():
            counts[kind] = counts.get(kind, 0) + more
