"""Union-find over small integers: plain, and with the limits of profiles."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

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


Times = Mapping[IdentifierKind, list[int]]


def times_of(members: Iterable[int], kinds: Sequence[IdentifierKind], first_at: Sequence[int]) -> Times:
    """Return when nodes of each kind that has a limit per period were seen first, given kind and time of every node."""
    times: defaultdict[IdentifierKind, list[int]] = defaultdict(list)
    for node in members:
        if kinds[node].most_per_period is not None:
            times[kinds[node]].append(first_at[node])
    return times


def within_periods(times: Times) -> bool:
    """Whether no period of any kind has more than the kind allows."""
    return all(_within_period(kind, sorted(firsts)) for kind, firsts in times.items())


def _within_period(kind: IdentifierKind, firsts: list[int]) -> bool:
    most, period = kind.most_per_period or 0, kind.period // timedelta(microseconds=1)
    return all(later - first >= period for first, later in zip(firsts, firsts[most:], strict=False))


class Partition:
    """Groups of nodes that grow, unless a profile may not be so."""

    def __init__(
        self,
        members: Iterable[int],
        kinds: Sequence[IdentifierKind],
        first_at: Sequence[int],
        most: int,
        never: Mapping[int, Iterable[int]],
    ) -> None:
        """Begin with every member alone.

        Args:
            members: The nodes.
            kinds: The kind of every node, by node.
            first_at: When every node was seen first, by node.
            most: Largest group.
            never: By node, those with which it must not be in one group; both ways, others than members among them.
        """
        self._parents = {node: node for node in members}
        apart = {node: [other for other in never.get(node, ()) if other in self._parents] for node in self._parents}
        self._apart = {node: others for node, others in apart.items() if others}
        self._groups = {node: [node] for node in self._parents}
        self._counts = {node: {kinds[node].name: 1} for node in self._parents}
        self._limits: Mapping[str, int] = {kinds[node].name: kinds[node].most_per_profile for node in self._parents}
        limited = [node for node in self._parents if kinds[node].most_per_period is not None]
        self._times = {node: times_of([node], kinds, first_at) for node in limited}
        self._most = most

    def group(self, node: int) -> int:
        """Return the number of a node's group: equal for two nodes as long as they are in one group."""
        return find(self._parents, node)

    def groups(self) -> Iterable[list[int]]:
        """All groups."""
        return self._groups.values()

    def keeps_apart(self, one: int, other: int) -> bool:
        """Whether the groups of two nodes must not be joined, because somebody said so."""
        root, under = self.group(one), self.group(other)
        return any(self.group(node) == under for node in self._apart.get(root, ()))

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
        if root in self._times and under in self._times and not within_periods(self._times_together(root, under)):
            return Refusal.PERIOD_LIMIT
        if self._apart and self.keeps_apart(root, under):  # last, so that it is a reason only if it is the reason
            return Refusal.NEVER_LINK
        return None

    def _times_together(self, root: int, under: int) -> Times:
        one, other = self._times.get(root, {}), self._times.get(under, {})
        return {kind: [*one.get(kind, ()), *other.get(kind, ())] for kind in one.keys() | other.keys()}

    def _merge(self, root: int, under: int) -> None:
        self._parents[under] = root
        self._groups[root] += self._groups.pop(under)
        if under in self._apart:
            self._apart.setdefault(root, []).extend(self._apart.pop(under))
        if under in self._times:
            self._times[root] = self._times_together(root, under)
            del self._times[under]
        counts = self._counts[root]
        for kind, more in self._counts.pop(under).items():
            counts[kind] = counts.get(kind, 0) + more
