"""Which identifiers are one person: one pure function of the identifiers and of what was seen together.

The result depends on the content alone, never on the order in which it came. It is the union of the results of the
connected components (through everything that is not closed), which is why a service may cluster component by component.

1. What is *closed* binds nobody: blocked values, and hubs, which were seen with more strong identifiers than their
   kind allows, or with more identifiers than a profile can have.
2. Edges between strong identifiers (an e-mail address, a card) make the people, unless a limit forbids it.
3. Weak identifiers (a cookie, a device) follow the people, nearest first, and never join two of them: a weak
   identifier that leads to several people is shared, and so are two that were seen together and lead to different
   people. Shared identifiers bind nobody. See docs/adr/0001-weak-evidence-never-joins-two-people.md.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sima_sdk.identifiers import IdentifierKind

from sima_identity.evidence import Clustering, Edge, Node, Pair, Refusal
from sima_identity.partition import Partition, find, unite
from sima_identity.policy import Policy

_NumberedEdge = tuple[int, int, int]
_Neighbours = defaultdict[int, list[int]]
# If both ends are closed, the reason that holds for longer is the one to tell.
_BY_WEIGHT = (Refusal.BLOCKED, Refusal.HUB, Refusal.PENDING)
_FAR = 1 << 30


def cluster_identifiers(identifiers: Iterable[Node], edges: Iterable[Edge], policy: Policy) -> Clustering:
    """Group identifiers into people.

    Args:
        identifiers: All identifiers, each at least once; those with a blocked value are given as closed.
        edges: What was seen together; of equal pairs the earliest counts.
        policy: The rules.
    """
    graph = _Graph(identifiers, edges, policy)
    found = _Findings()
    graph.close_hubs()
    _refuse_closed(graph, found)
    for members, own_edges in _components(graph):
        if _is_one_person(graph, members):
            found.clusters.append(members)
        else:
            _divide(graph, members, own_edges, found)
    return Clustering(
        clusters=[graph.by_strength(members) for members in found.clusters],
        shared={graph.keys[node]: reason for node, reason in found.shared.items()},
        refused={graph.pair(edge): reason for edge, reason in found.refused.items()},
    )


@dataclass(slots=True)
class _Findings:
    """The result as it grows, in numbers."""

    clusters: list[list[int]] = field(default_factory=list)
    shared: dict[int, Refusal] = field(default_factory=dict)
    refused: dict[tuple[int, int], Refusal] = field(default_factory=dict)


class _Graph:
    """Identifiers and edges by number, for speed."""

    def __init__(self, identifiers: Iterable[Node], edges: Iterable[Edge], policy: Policy) -> None:
        self.policy = policy
        nodes = {node.key: node for node in identifiers}
        self.keys = list(nodes)
        kinds = {name: policy.kind(name) for name in {node.kind for node in nodes.values()}}
        self.kinds = [kinds[node.kind] for node in nodes.values()]
        self.least_limit = min([policy.most_identifiers, *(kind.most_per_profile for kind in kinds.values())])
        self.closed = [node.closed for node in nodes.values()]
        self.edges = _earliest(edges, {key: number for number, key in enumerate(self.keys)})
        self.strong_parents = list(range(len(self.keys)))

    def close_hubs(self) -> None:
        """Close every identifier that was seen with too many others."""
        strong, all_ = [0] * len(self.keys), [0] * len(self.keys)
        counts = [reason is not Refusal.BLOCKED for reason in self.closed]
        counts_as_strong = [counted and kind.strong for counted, kind in zip(counts, self.kinds, strict=True)]
        for one, other in self.edges:
            all_[one] += counts[other]
            all_[other] += counts[one]
            strong[one] += counts_as_strong[other]
            strong[other] += counts_as_strong[one]
        most = self.policy.most_identifiers
        for node, kind in enumerate(self.kinds):
            if self.closed[node] is None and (strong[node] > kind.shared_above or all_[node] > most):
                self.closed[node] = Refusal.HUB

    def by_strength(self, members: list[int]) -> list[bytes]:
        """Keys of members, strongest first."""
        if len(members) > 1:
            members.sort(key=lambda node: (-self.kinds[node].priority, self.keys[node]))
        return [self.keys[node] for node in members]

    def pair(self, edge: tuple[int, int]) -> Pair:
        """The keys of an edge."""
        return self.keys[edge[0]], self.keys[edge[1]]

    def order(self, edge: _NumberedEdge) -> tuple[int, int, int, Pair]:
        """Place of an edge among all: what binds most first, then what was seen first. Only content decides."""
        one, other, first_at = edge
        ends = sorted((self.kinds[one].priority, self.kinds[other].priority))
        return -ends[0], -ends[1], first_at, self.pair((one, other))


def _earliest(edges: Iterable[Edge], numbers: dict[bytes, int]) -> dict[tuple[int, int], int]:
    earliest: dict[tuple[int, int], int] = {}
    for low, high, first_at in edges:
        ends = numbers[low], numbers[high]
        if first_at < earliest.setdefault(ends, first_at):
            earliest[ends] = first_at
    return earliest


def _refuse_closed(graph: _Graph, found: _Findings) -> None:
    """Take out of the graph what is closed."""
    closed = graph.closed
    for node, reason in enumerate(closed):
        if reason is Refusal.HUB:
            found.clusters.append([node])
            found.shared[node] = reason
    for edge in graph.edges:
        reasons = {closed[edge[0]], closed[edge[1]]} - {None}
        if reasons:
            found.refused[edge] = min(filter(None, reasons), key=_BY_WEIGHT.index)


def _components(graph: _Graph) -> Iterator[tuple[list[int], list[_NumberedEdge]]]:
    """What hangs together through open edges, and those edges."""
    closed, kinds, strong_parents = graph.closed, graph.kinds, graph.strong_parents
    parents = list(range(len(closed)))
    open_edges = [
        (one, other, first_at)
        for (one, other), first_at in graph.edges.items()
        if closed[one] is None and closed[other] is None
    ]
    for one, other, _ in open_edges:
        unite(parents, one, other)
        if kinds[one].strong and kinds[other].strong:
            unite(strong_parents, one, other)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for node, reason in enumerate(closed):
        if reason is None:
            members[find(parents, node)].append(node)
    edges: defaultdict[int, list[_NumberedEdge]] = defaultdict(list)
    for edge in open_edges:
        edges[find(parents, edge[0])].append(edge)
    for root, nodes in members.items():
        yield nodes, edges[root]


def _is_one_person(graph: _Graph, members: list[int]) -> bool:
    """Whether nothing stands against joining all: no limit is reached and at most one person is known."""
    if len(members) == 1:
        return True
    kinds, strong_parents = graph.kinds, graph.strong_parents
    person = None
    for node in members:
        if kinds[node].strong:
            root = find(strong_parents, node)
            if person is not None and root != person:
                return False
            person = root
    return len(members) <= graph.least_limit or _is_within_limits(graph, members)


def _is_within_limits(graph: _Graph, members: list[int]) -> bool:
    counts = Counter(graph.kinds[node].name for node in members)
    within_kinds = all(counts[kind.name] <= kind.most_per_profile for kind in map(graph.policy.kind, counts))
    return within_kinds and len(members) <= graph.policy.most_identifiers


def _divide(graph: _Graph, members: list[int], edges: list[_NumberedEdge], found: _Findings) -> None:
    """Group a component in which something stands against joining all."""
    kinds = graph.kinds
    partition = Partition(members, kinds, graph.policy.most_identifiers)
    edges.sort(key=graph.order)
    strong = [edge for edge in edges if kinds[edge[0]].strong and kinds[edge[1]].strong]
    weak = [edge for edge in edges if not (kinds[edge[0]].strong and kinds[edge[1]].strong)]
    _join(partition, strong, found)
    people = {node: partition.group(node) for node in members if kinds[node].strong}
    distances, shared = _follow(people, weak, kinds)
    found.shared.update(dict.fromkeys(shared, Refusal.SEVERAL_PEOPLE))
    open_edges = []
    for edge in weak:
        if edge[0] in shared or edge[1] in shared:
            found.refused[edge[:2]] = Refusal.SEVERAL_PEOPLE
        else:
            open_edges.append(edge)
    # Nearest first, so that a limit keeps out what is farther from the person; sorting keeps the order of equals.
    open_edges.sort(key=lambda edge: max(distances.get(edge[0], _FAR), distances.get(edge[1], _FAR)))
    _join(partition, open_edges, found)
    found.clusters.extend(partition.groups())


def _join(partition: Partition, edges: list[_NumberedEdge], found: _Findings) -> None:
    for one, other, _ in edges:
        refusal = partition.join(one, other)
        if refusal is not None:
            found.refused[one, other] = refusal


def _follow(
    people: dict[int, int], edges: list[_NumberedEdge], kinds: list[IdentifierKind]
) -> tuple[dict[int, int], set[int]]:
    """Spread from the people over weak identifiers, one step at a time, as far as each leads to one person.

    Args:
        people: The person of every strong identifier, by number.
        edges: Open edges with a weak end.
        kinds: The kind of every identifier, by number.

    Returns:
        How many steps each identifier that was reached is away from a strong one, and which of them are shared.
    """
    neighbours = _weak_neighbours(edges, kinds)
    distances, shared = dict.fromkeys(people, 0), set()
    frontier, distance = people, 0
    while frontier:
        distance += 1
        reached = _next_step(frontier, distances, neighbours)
        distances.update(dict.fromkeys(reached, distance))
        single = {node: next(iter(leads_to)) for node, leads_to in reached.items() if len(leads_to) == 1}
        frontier = {node: person for node, person in single.items() if _agrees(node, single, neighbours)}
        shared |= reached.keys() - frontier.keys()
    return distances, shared


def _weak_neighbours(edges: list[_NumberedEdge], kinds: list[IdentifierKind]) -> _Neighbours:
    neighbours: _Neighbours = defaultdict(list)
    for one, other, _ in edges:
        if not kinds[other].strong:
            neighbours[one].append(other)
        if not kinds[one].strong:
            neighbours[other].append(one)
    return neighbours


def _next_step(frontier: dict[int, int], seen: dict[int, int], neighbours: _Neighbours) -> dict[int, set[int]]:
    """What is reached from the frontier for the first time, and all people that it leads to."""
    reached: defaultdict[int, set[int]] = defaultdict(set)
    for node, person in frontier.items():
        for neighbour in neighbours[node]:
            if neighbour not in seen:
                reached[neighbour].add(person)
    return reached


def _agrees(node: int, single: dict[int, int], neighbours: _Neighbours) -> bool:
    """Whether nothing as near as the node itself was seen with it and leads to somebody else."""
    person = single[node]
    return all(single.get(neighbour, person) == person for neighbour in neighbours[node])
