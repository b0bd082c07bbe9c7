"""Which identifiers are one person: one pure function of the identifiers and of what was seen together.

The result depends on the content alone, never on the order in which it came. It is the union of the results of the
connected components (through everything that is not closed), which is why a service may cluster component by component.

1. What is *closed* binds nobody: blocked values, and hubs, which were seen with more strong identifiers than their
   kind allows, or with more identifiers than a profile can have. That counts what was seen, whatever anybody decided.
   For all else, a pair of which somebody decided that it is not one person counts as never seen together.
2. Decisions that a pair is one person come first, then edges between strong identifiers (an e-mail address, a card):
   they make the people, unless a limit or a decision forbids it. A weak identifier that a decision joins to a person is
   that person's as a strong one is.
3. Weak identifiers (a cookie, a device) follow the people, nearest first, and never join two of them: a weak
   identifier that leads to several people is shared, and so are two that were seen together and lead to different
   people. Shared identifiers bind nobody. See docs/adr/0001-weak-evidence-never-joins-two-people.md.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sima_identity.evidence import Clustering, Decisions, Edge, Node, Pair, Refusal
from sima_identity.partition import Partition, find, times_of, unite, within_periods
from sima_identity.policy import Policy

_NumberedPair = tuple[int, int]
_NumberedEdge = tuple[int, int, int]
_Neighbours = defaultdict[int, list[int]]
# If both ends are closed, the reason that holds for longer is the one to tell.
_BY_WEIGHT = (Refusal.BLOCKED, Refusal.HUB, Refusal.PENDING)
_FAR = 1 << 30


_UNDECIDED = Decisions()


def cluster_identifiers(
    identifiers: Iterable[Node], edges: Iterable[Edge], policy: Policy, decisions: Decisions = _UNDECIDED
) -> Clustering:
    """Group identifiers into people.

    Args:
        identifiers: All identifiers, each at least once; those with a blocked value are given as closed.
        edges: What was seen together; of equal pairs the earliest counts.
        policy: The rules.
        decisions: What people decided; pairs with an identifier that is not given count for nothing.
    """
    graph = _Graph(identifiers, edges, policy, decisions)
    found = _Findings()
    graph.close_hubs()
    _refuse_closed(graph, found)
    graph.name()
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
    refused: dict[_NumberedPair, Refusal] = field(default_factory=dict)


class _Graph:
    """Identifiers and edges by number, for speed."""

    def __init__(
        self, identifiers: Iterable[Node], edges: Iterable[Edge], policy: Policy, decisions: Decisions
    ) -> None:
        self.policy = policy
        nodes = {node.key: node for node in identifiers}
        self.keys = list(nodes)
        kinds = {name: policy.kind(name) for name in {node.kind for node in nodes.values()}}
        self.kinds = [kinds[node.kind] for node in nodes.values()]
        limits = [(kind.most_per_profile, kind.most_per_period) for kind in kinds.values()]
        self.least_limit = min(filter(None, [policy.most_identifiers, *itertools.chain.from_iterable(limits)]))
        self.closed = [node.closed for node in nodes.values()]
        self.first_at = [node.first_at for node in nodes.values()]
        numbers = {key: number for number, key in enumerate(self.keys)}
        self.decided = _numbered(decisions.always - decisions.never, numbers)
        never = _numbered(decisions.never, numbers)
        self.never = _both_ways(never)
        self.edges = _earliest(edges, numbers)
        self.apart = {edge: self.edges.pop(edge) for edge in never & self.edges.keys()}
        self.named = [kind.strong for kind in self.kinds]
        self.parents_of_people = list(range(len(self.keys)))

    def close_hubs(self) -> None:
        """Close every identifier that was seen with too many others."""
        strong, all_ = [0] * len(self.keys), [0] * len(self.keys)
        counts = [reason is not Refusal.BLOCKED for reason in self.closed]
        counts_as_strong = [counted and kind.strong for counted, kind in zip(counts, self.kinds, strict=True)]
        for one, other in itertools.chain(self.edges, self.apart):
            all_[one] += counts[other]
            all_[other] += counts[one]
            strong[one] += counts_as_strong[other]
            strong[other] += counts_as_strong[one]
        for node, kind in enumerate(self.kinds):
            if self.closed[node] is None and self.policy.makes_hub(kind, strong[node], all_[node]):
                self.closed[node] = Refusal.HUB

    def name(self) -> None:
        """Let weak identifiers name a person if a decision joins them to an identifier that does."""
        parents = list(range(len(self.keys)))
        for one, other in self.decided:
            if self.closed[one] is None and self.closed[other] is None:
                unite(parents, one, other)
        named = {find(parents, node) for node, kind in enumerate(self.kinds) if kind.strong} if self.decided else set()
        for pair in self.decided:
            for node in pair:
                self.named[node] = self.named[node] or find(parents, node) in named

    def makes_people(self, one: int, other: int) -> bool:
        """Whether an edge joins people, rather than letting a weak identifier follow one."""
        if (one, other) in self.decided:
            return self.named[one] and self.named[other]
        return self.kinds[one].strong and self.kinds[other].strong

    def by_strength(self, members: list[int]) -> list[bytes]:
        """Keys of members, strongest first."""
        if len(members) > 1:
            members.sort(key=lambda node: (-self.kinds[node].priority, self.keys[node]))
        return [self.keys[node] for node in members]

    def pair(self, edge: _NumberedPair) -> Pair:
        """The keys of an edge."""
        return self.keys[edge[0]], self.keys[edge[1]]

    def order(self, edge: _NumberedEdge) -> tuple[bool, int, int, int, Pair]:
        """Place of an edge among all: what binds most first, then what was seen first. Only content decides."""
        one, other, first_at = edge
        ends = sorted((self.kinds[one].priority, self.kinds[other].priority))
        return (one, other) not in self.decided, -ends[0], -ends[1], first_at, self.pair((one, other))


def _numbered(pairs: Iterable[Pair], numbers: Mapping[bytes, int]) -> set[_NumberedPair]:
    return {(numbers[low], numbers[high]) for low, high in pairs if low in numbers and high in numbers}


def _both_ways(pairs: Iterable[_NumberedPair]) -> _Neighbours:
    others: _Neighbours = defaultdict(list)
    for one, other in pairs:
        others[one].append(other)
        others[other].append(one)
    return others


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
    found.refused.update(dict.fromkeys(graph.apart, Refusal.NEVER_LINK))
    for edge in itertools.chain(graph.edges, graph.decided, graph.apart):
        reasons = {closed[edge[0]], closed[edge[1]]} - {None}
        if reasons:
            found.refused[edge] = min(filter(None, reasons), key=_BY_WEIGHT.index)


def _components(graph: _Graph) -> Iterator[tuple[list[int], list[_NumberedEdge]]]:
    """What hangs together through open edges, and those edges."""
    closed = graph.closed
    parents = list(range(len(closed)))
    all_edges = graph.edges | {edge: graph.edges.get(edge, 0) for edge in graph.decided}
    open_edges = [
        (one, other, first_at)
        for (one, other), first_at in all_edges.items()
        if closed[one] is None and closed[other] is None
    ]
    for one, other, _ in open_edges:
        unite(parents, one, other)
        if graph.makes_people(one, other):
            unite(graph.parents_of_people, one, other)
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
    person = None
    for node in members:
        if node in graph.never:
            return False
        if graph.named[node]:
            root = find(graph.parents_of_people, node)
            if person is not None and root != person:
                return False
            person = root
    return len(members) <= graph.least_limit or _is_within_limits(graph, members)


def _is_within_limits(graph: _Graph, members: list[int]) -> bool:
    counts = Counter(graph.kinds[node].name for node in members)
    within_kinds = all(counts[kind.name] <= kind.most_per_profile for kind in map(graph.policy.kind, counts))
    if not within_kinds or len(members) > graph.policy.most_identifiers:
        return False
    return within_periods(times_of(members, graph.kinds, graph.first_at))


def _divide(graph: _Graph, members: list[int], edges: list[_NumberedEdge], found: _Findings) -> None:
    """Group a component in which something stands against joining all."""
    partition = Partition(members, graph.kinds, graph.first_at, graph.policy.most_identifiers, graph.never)
    edges.sort(key=graph.order)
    makes_people = [graph.makes_people(one, other) for one, other, _ in edges]
    weak = [edge for edge, makes in zip(edges, makes_people, strict=True) if not makes]
    _join(partition, itertools.compress(edges, makes_people), found)
    people = {node: partition.group(node) for node in members if graph.named[node]}
    distances, shared = _follow(people, weak, partition)
    found.shared.update(dict.fromkeys(shared, Refusal.SEVERAL_PEOPLE))
    open_edges = []
    for edge in weak:
        if edge[0] in shared or edge[1] in shared or _are_two(people, edge):
            found.refused[edge[:2]] = Refusal.SEVERAL_PEOPLE
        else:
            open_edges.append(edge)
    # Nearest first, so that a limit keeps out what is farther from the person; sorting keeps the order of equals.
    open_edges.sort(key=lambda edge: max(distances.get(edge[0], _FAR), distances.get(edge[1], _FAR)))
    _join(partition, open_edges, found)
    found.clusters.extend(partition.groups())


def _are_two(people: Mapping[int, int], edge: _NumberedEdge) -> bool:
    """Whether the ends of an edge name two people: one of them is weak, and a decision made it the other person's."""
    one, other = people.get(edge[0]), people.get(edge[1])
    return one is not None and other is not None and one != other


def _join(partition: Partition, edges: Iterable[_NumberedEdge], found: _Findings) -> None:
    for one, other, _ in edges:
        refusal = partition.join(one, other)
        if refusal is not None:
            found.refused[one, other] = refusal


def _follow(
    people: dict[int, int], edges: list[_NumberedEdge], partition: Partition
) -> tuple[dict[int, int], set[int]]:
    """Spread from the people over the other identifiers, one step at a time, as far as each leads to one person.

    Args:
        people: The person of every identifier that names one, by number.
        edges: Open edges of which an end names nobody, or names another person than is seen with it.
        partition: Knows who must not be joined; what leads to a person that it must not belong to does not lead there.

    Returns:
        How many steps each identifier that was reached is away from a strong one, and which of them are shared.
    """
    neighbours = _following(edges, people)
    distances, shared = dict.fromkeys(people, 0), set()
    frontier, distance = people, 0
    while frontier:
        distance += 1
        reached = _next_step(frontier, distances, neighbours, partition)
        distances.update(dict.fromkeys(reached, distance))
        single = {node: next(iter(leads_to)) for node, leads_to in reached.items() if len(leads_to) == 1}
        frontier = {node: person for node, person in single.items() if _agrees(node, single, neighbours)}
        shared |= reached.keys() - frontier.keys()
    return distances, shared


def _following(edges: list[_NumberedEdge], people: Collection[int]) -> _Neighbours:
    """By identifier, its neighbours that name nobody themselves."""
    neighbours: _Neighbours = defaultdict(list)
    for one, other, _ in edges:
        if other not in people:
            neighbours[one].append(other)
        if one not in people:
            neighbours[other].append(one)
    return neighbours


def _next_step(
    frontier: dict[int, int], seen: dict[int, int], neighbours: _Neighbours, partition: Partition
) -> dict[int, set[int]]:
    """What is reached from the frontier for the first time, and all people that it leads to."""
    reached: defaultdict[int, set[int]] = defaultdict(set)
    for node, person in frontier.items():
        for neighbour in neighbours[node]:
            if neighbour not in seen and not partition.keeps_apart(neighbour, person):
                reached[neighbour].add(person)
    return reached


def _agrees(node: int, single: dict[int, int], neighbours: _Neighbours) -> bool:
    """Whether nothing as near as the node itself was seen with it and leads to somebody else."""
    person = single[node]
    return all(single.get(neighbour, person) == person for neighbour in neighbours[node])
