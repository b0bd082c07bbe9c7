"""What a policy would change about all people of a workspace: the grouping from scratch, beside what is stored. Pure.

Which identifiers are closed and what hangs together is found for the whole graph at once; who is one person then, for
some neighbourhoods at a time, with `cluster_identifiers`, which does not tell the difference.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sima_sdk.identifiers import IdentifierKind

from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Decisions, Edge, Node, Pair, Verdict
from sima_identity.policy import Policy
from sima_identity.profile_ids import founded_id
from sima_identity.records import Records

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Identifiers that are grouped at once.
_PORTION = 20_000
#: Of a group of an example, so many identifiers are shown.
SHOWN = 20


class Group(NamedTuple):
    """Identifiers that are one person: their profile id (None: a new one, or nobody's), some keys, and how many."""

    profile_id: bytes | None
    keys: Sequence[bytes]
    size: int


class Regrouping(NamedTuple):
    """An example of what changes."""

    before: Sequence[Group]
    after: Sequence[Group]


class Effect(NamedTuple):
    """What a policy would change, as in the contract."""

    profiles_before: int
    profiles_after: int
    merges: int
    splits: int
    identifiers_moved: int
    shared_before: int
    shared_after: int
    blocked_before: int
    blocked_after: int
    merge_examples: Sequence[Regrouping]
    split_examples: Sequence[Regrouping]

    def keys(self) -> set[bytes]:
        """Return the keys of all identifiers that the examples show."""
        examples = [*self.merge_examples, *self.split_examples]
        return {key for one in examples for group in (*one.before, *one.after) for key in group.keys}


@dataclass(frozen=True, slots=True)
class Graph:
    """All of a workspace, by number: the place of each identifier in the order of keys.

    Attributes:
        identifiers: Records of `IDENTIFIER`, in the order of their keys.
        blocked: Which of them the policy blocks.
        low: Of each pair that was seen together, one identifier ...
        high: ... and the other ...
        first_at: ... and when that was first.
        decisions: What was decided about pairs.
    """

    identifiers: Records
    blocked: Flags
    low: Numbers
    high: Numbers
    first_at: Numbers
    decisions: Decisions


def numbered(identifiers: Records, blocked: Flags, edges: Records, decided: Iterable[tuple[Pair, Verdict]]) -> Graph:
    """Return a graph by number; its edges are records of `EDGE`, of which those to who is gone lead nowhere."""
    (low, is_low), (high, is_high) = (_places(identifiers["key"], edges[end]) for end in ("low", "high"))
    there = is_low & is_high
    said: dict[Verdict, set[Pair]] = {verdict: set() for verdict in Verdict}
    for ends, verdict in decided:
        said[verdict].add(ends)
    return Graph(
        identifiers,
        blocked,
        low[there],
        high[there],
        edges["first_at"][there].astype(np.int64),
        Decisions(frozenset(said[Verdict.ALWAYS]), frozenset(said[Verdict.NEVER])),
    )


def _places(keys: NDArray[np.bytes_], wanted: NDArray[np.bytes_]) -> tuple[Numbers, Flags]:
    """Return where in sorted keys others stand, and which of them do."""
    places = np.searchsorted(keys, wanted)
    found = np.zeros(len(wanted), dtype=bool)
    within = places < len(keys)
    found[within] = keys[places[within]] == wanted[within]
    return places, found


class Preview:
    """Groups a graph under a policy, a portion at a time."""

    def __init__(self, graph: Graph, policy: Policy, kinds: Sequence[str], one_in: int) -> None:
        """Set up.

        Args:
            graph: Who is there.
            policy: The rules to try out.
            kinds: The names of the kinds by their places in `identifiers["kind"]`, from 1 on.
            one_in: Look at every so many-th neighbourhood only.
        """
        self._graph, self._policy, self._names = graph, policy, ["", *kinds]
        self._closed = graph.blocked | self._hubs()
        self._edges = self._open_edges()
        self._labels = components(len(graph.identifiers), *self._ways())
        self._before = _profiles(graph.identifiers)
        self._after = np.where(graph.blocked, -1, np.arange(len(graph.identifiers)))
        self._shared = self._closed & ~graph.blocked
        self.looked_at = self._sample(one_in)

    def portions(self) -> Iterator[int]:
        """Group everything, and yield after each portion how many identifiers have been grouped."""
        labels = self._labels
        sizes = np.bincount(labels, minlength=len(labels))
        nodes = np.flatnonzero((sizes[labels] > 1) & self.looked_at)  # who is alone stays alone
        nodes = nodes[np.argsort(labels[nodes], kind="stable")]
        edges = self._edges[self.looked_at[self._graph.low[self._edges]]]
        edges = edges[np.argsort(labels[self._graph.low[edges]], kind="stable")]
        ends_at = labels[self._graph.low[edges]]
        grouped = int(self.looked_at.sum()) - len(nodes)
        yield grouped
        for first, behind in _cuts(labels[nodes]):
            within = (
                np.searchsorted(ends_at, labels[nodes[first]]),
                np.searchsorted(ends_at, labels[nodes[behind - 1]], "right"),
            )
            self._group(nodes[first:behind], edges[slice(*within)])
            grouped += behind - first
            yield grouped

    def effect(self, secret: bytes, examples: int) -> Effect:
        """Return what changes, with so many examples of merges and of splits; `secret` is the workspace's."""
        looked_at, rows = self.looked_at, self._graph.identifiers
        before, after = self._before[looked_at], self._after[looked_at]
        pairs, counts = np.unique(np.stack([before, after]), axis=1, return_counts=True)
        befores, afters = (_counts(ends) for ends in (before, after))
        both = (pairs >= 0).all(axis=0)
        kept = both & (counts == befores[pairs[0]]) & (counts == afters[pairs[1]])
        merged = _several(pairs[1][both])
        split = np.union1d(_several(pairs[0][pairs[0] >= 0]), pairs[0][(pairs[0] >= 0) & (pairs[1] < 0)])
        return Effect(
            profiles_before=len(np.unique(before[before >= 0])),
            profiles_after=len(np.unique(after[after >= 0])),
            merges=len(merged),
            splits=len(split),
            identifiers_moved=int(counts[~kept & (pairs >= 0).any(axis=0)].sum()),
            shared_before=int((rows["shared"] != 0)[looked_at].sum()),
            shared_after=int(self._shared[looked_at].sum()),
            blocked_before=int((rows["blocked"] != 0)[looked_at].sum()),
            blocked_after=int(self._graph.blocked[looked_at].sum()),
            merge_examples=[self._example(secret, self._after == one) for one in _largest(merged, afters, examples)],
            split_examples=[self._example(secret, self._before == one) for one in _largest(split, befores, examples)],
        )

    def _hubs(self) -> Flags:
        """Which identifiers were seen with too many others."""
        graph, kinds = self._graph, self._kinds()
        strong = np.array([kind.strong for kind in kinds])[graph.identifiers["kind"]]
        counted = ~graph.blocked
        degrees = [
            np.bincount(graph.low, weights=weights[graph.high], minlength=len(counted))
            + np.bincount(graph.high, weights=weights[graph.low], minlength=len(counted))
            for weights in (counted & strong, counted)
        ]
        most = np.array([kind.shared_above for kind in kinds])[graph.identifiers["kind"]]
        hubs: Flags = counted & ((degrees[0] > most) | (degrees[1] > self._policy.most_identifiers))
        return hubs

    def _kinds(self) -> list[IdentifierKind]:
        return [self._policy.kind(name) for name in self._names]

    def _open_edges(self) -> Numbers:
        """The places of the edges that may bind."""
        graph = self._graph
        never = self._pairs(graph.decisions.never)
        count = len(graph.identifiers)
        apart = np.isin(graph.low * count + graph.high, never[0] * count + never[1])
        return np.flatnonzero(~(self._closed[graph.low] | self._closed[graph.high] | apart))

    def _ways(self) -> tuple[Numbers, Numbers]:
        """All that joins neighbourhoods: open edges, and decisions."""
        graph, always = self._graph, self._pairs(self._graph.decisions.always - self._graph.decisions.never)
        always = always[:, ~self._closed[always].any(axis=0)]
        ends = [graph.low[self._edges], graph.high[self._edges]]
        return np.concatenate([ends[0], always[0]]), np.concatenate([ends[1], always[1]])

    def _pairs(self, pairs: Collection[Pair]) -> Numbers:
        """The numbers of pairs of keys, in two rows; those that nobody has seen are left out."""
        keys = self._graph.identifiers["key"]
        ends = np.array(sorted(pairs), "S16").reshape(-1, 2).T
        places = np.minimum(np.searchsorted(keys, ends), max(len(keys) - 1, 0))
        return places[:, (keys[places] == ends).all(axis=0)] if len(keys) else places[:, :0]

    def _sample(self, one_in: int) -> Flags:
        """Which identifiers to look at: all of what hangs together or did so, for some of that."""
        order = np.argsort(self._before, kind="stable")
        same = (self._before[order][1:] == self._before[order][:-1]) & (self._before[order][1:] >= 0)
        one, other = self._ways()
        whole = components(
            len(order), np.concatenate([one, order[1:][same]]), np.concatenate([other, order[:-1][same]])
        )
        drawn: Flags = _first_bytes(self._graph.identifiers["key"]) % np.uint64(one_in) == 0
        sample: Flags = drawn[whole]
        return sample

    def _group(self, nodes: Numbers, edges: Numbers) -> None:
        graph = self._graph
        rows = graph.identifiers[nodes]
        keys = _keys(rows)
        places = dict(zip(keys, nodes.tolist(), strict=True))
        names = [self._names[kind] for kind in rows["kind"].tolist()]
        ends = (_keys(graph.identifiers[side[edges]]) for side in (graph.low, graph.high))
        found = cluster_identifiers(
            (Node(key, kind, None, at) for key, kind, at in zip(keys, names, rows["first_at"].tolist(), strict=True)),
            map(Edge, *ends, graph.first_at[edges].tolist()),
            self._policy,
            graph.decisions,
        )
        for members in found.clusters:
            self._after[[places[key] for key in members]] = places[members[0]]
        self._shared[[places[key] for key in found.shared]] = True

    def _example(self, secret: bytes, members: Flags) -> Regrouping:
        nodes = np.flatnonzero(members & self.looked_at)
        return Regrouping(
            [self._group_of(nodes[self._before[nodes] == one], secret, None) for one in _in_order(self._before[nodes])],
            [self._group_of(nodes[self._after[nodes] == one], secret, one) for one in _in_order(self._after[nodes])],
        )

    def _group_of(self, nodes: Numbers, secret: bytes, after: int | None) -> Group:
        """Identifiers that are one person now, or (with the number of their group) would be."""
        rows = self._graph.identifiers[nodes]
        profile: bytes | None = _profile_ids(rows[:1])[0]
        if after is not None:
            founders = rows[rows["founded_seq"] > 0]
            oldest = founders[np.argsort(founders["founded_seq"])][:1]
            profile = founded_id(secret, _keys(oldest)[0]) if after >= 0 and len(oldest) else None
        return Group(profile if profile != bytes(16) else None, _keys(rows[:SHOWN]), len(nodes))


def components(count: int, one: Numbers, other: Numbers) -> Numbers:
    """Return the smallest node that each of `count` nodes hangs together with, given the two ends of every edge.

    Each round hooks roots to smaller ones and then makes all ways as short as can be (Shiloach and Vishkin, 1982).
    """
    labels = np.arange(count)
    while True:
        roots = np.stack([labels[one], labels[other]])
        differ = roots[0] != roots[1]
        if not differ.any():
            return labels
        one, other, roots = one[differ], other[differ], roots[:, differ]
        np.minimum.at(labels, roots.max(axis=0), roots.min(axis=0))
        while True:
            shorter = labels[labels]
            if (shorter == labels).all():
                break
            labels = shorter


def _first_bytes(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    first: NDArray[np.uint64] = np.ascontiguousarray(keys).view(">u8").reshape(-1, 2)[:, 0]
    return first


def _keys(rows: Records) -> list[bytes]:
    keys: list[bytes] = np.ascontiguousarray(rows["key"]).view("V16").tolist()
    return keys


def _profile_ids(rows: Records) -> list[bytes]:
    profiles: list[bytes] = np.ascontiguousarray(rows["profile"]).view("V16").tolist()
    return profiles


def _profiles(identifiers: Records) -> Numbers:
    """The number of each identifier's profile; -1: it has none."""
    profiles, numbers = np.unique(identifiers["profile"], return_inverse=True)
    nobody = len(profiles) > 0 and profiles[0] == b""
    return numbers.astype(np.int64) - 1 if nobody else numbers.astype(np.int64)


def _cuts(labels: Numbers) -> Iterator[tuple[int, int]]:
    """Cut sorted labels into portions between which none is divided: the first place of each, and the one behind it."""
    starts = np.append(np.flatnonzero(np.diff(labels, prepend=-1)), len(labels))
    first = 0
    while first < len(labels):
        behind = int(starts[np.searchsorted(starts, min(first + _PORTION, len(labels)))])
        yield first, behind
        first = behind


def _counts(numbers: Numbers) -> Numbers:
    """How often each number from 0 on comes."""
    return np.bincount(numbers[numbers >= 0], minlength=1)


def _several(numbers: Numbers) -> Numbers:
    """The numbers that come more than once."""
    found, counts = np.unique(numbers, return_counts=True)
    several: Numbers = found[counts > 1]
    return several


def _largest(numbers: Numbers, sizes: Numbers, most: int) -> list[int]:
    largest: list[int] = numbers[np.argsort(-sizes[numbers], kind="stable")][:most].tolist()
    return largest


def _in_order(numbers: Numbers) -> list[int]:
    different: list[int] = np.unique(numbers).tolist()
    return different
