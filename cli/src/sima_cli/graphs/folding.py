"""What of a large graph is shown, and how much is left out."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sima_cli.graphs.model import Graph, Line, Node, Standing

_LINES_DRAWN = 60
_DECISIONS = 12


@dataclass(frozen=True, slots=True)
class Folded:
    """How much is left out.

    Attributes:
        members: Identifiers of the profile, by kind.
        others: Identifiers that are not the profile's, by kind.
        bind: Links that bind.
        refused: Links that do not.
        decisions: Decisions.
        unknown: The service left out links or decisions, too, nobody knows how many.
    """

    members: tuple[tuple[str, int], ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    bind: int = 0
    refused: int = 0
    decisions: int = 0
    unknown: bool = False

    def sentences(self) -> Iterator[str]:
        """Say what is left out; nothing if all is shown."""
        for kinds, name in ((self.members, "of the profile"), (self.others, "around it")):
            if kinds:
                each = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
                yield f"Folded: {counted(sum(count for _, count in kinds), 'more identifier')} {name} ({each})."
        if self.bind:
            yield f"Folded: {counted(self.bind, 'more link')} that bind{'' if self.bind > 1 else 's'}."
        if self.refused:
            yield f"Folded: {counted(self.refused, 'more link')} that {'do' if self.refused > 1 else 'does'} not bind."
        if self.decisions:
            yield f"Folded: {counted(self.decisions, 'more decision')}; `sima identity decisions` lists all."
        if self.unknown:
            yield "There are more links or decisions than one answer holds; what is counted here is what it held."


def fold(graph: Graph, most: int) -> tuple[Graph, Folded]:
    """Return what is shown of a graph, and how much is not.

    Args:
        graph: The whole.
        most: Of the profile's identifiers and of those around it at most so many each. The strongest half is always
            shown; among the others, what is shared, blocked, refused or decided comes first.
    """
    telling = set(_telling(graph))
    members = _chosen(graph.members, telling, most)
    near = {node.own for node in members}
    seen_with_shown = {end for line in graph.lines if line.one in near for end in (line.one, line.other)}
    others = _chosen(graph.others, seen_with_shown, most)
    shown = near | {node.own for node in others}
    lines = tuple(line for line in graph.lines if line.one in shown and line.other in shown)
    part = replace(graph, members=members, others=others, lines=lines, decisions=graph.decisions[:_DECISIONS])
    bind, refused = counts(graph.lines)
    bind_shown, refused_shown = counts(lines)
    return part, Folded(
        members=_missing(graph.members, members),
        others=_missing(graph.others, others),
        bind=bind - bind_shown,
        refused=refused - refused_shown,
        decisions=len(graph.decisions) - len(part.decisions),
        unknown=graph.partial,
    )


def thin_out(graph: Graph, folded: Folded) -> tuple[Graph, Folded]:
    """Return a graph without the links by which a picture would become a tangle, and how much is left out then.

    Links that are refused or decided stay. Of the others each identifier keeps that to the strongest it was seen with;
    while there is room, the next, and so on.
    """
    most = max(_LINES_DRAWN, len(graph.members) + len(graph.others))
    turns: defaultdict[str, int] = defaultdict(int)
    by_turn: list[tuple[int, Line]] = []
    for line in graph.lines:
        if line.refusal is None and not line.decisions:
            by_turn.append((turns[line.other], line))
            turns[line.other] += 1
    by_turn.sort(key=lambda each: each[0])
    dropped = {(line.one, line.other) for _, line in by_turn[most:]}
    lines = tuple(line for line in graph.lines if (line.one, line.other) not in dropped)
    return replace(graph, lines=lines), replace(folded, bind=folded.bind + len(dropped))


def counted(count: int, name: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def counts(lines: Collection[Line]) -> tuple[int, int]:
    """Return how many lines bind, and how many do not."""
    refused = sum(line.refusal is not None for line in lines)
    return len(lines) - refused, refused


def _telling(graph: Graph) -> Iterator[str]:
    """Yield the identifiers by which it can be seen that something went another way than by evidence alone."""
    yield from (node.own for node in graph.members if node.standing is not Standing.OPEN)
    for line in graph.lines:
        if line.refusal or line.decisions:
            yield from (line.one, line.other)


def _chosen(nodes: Sequence[Node], first: Collection[str], most: int) -> tuple[Node, ...]:
    """Return at most so many nodes in their order: half of them the first of all, then those that come first."""
    strongest = range(min((most + 1) // 2, len(nodes)))
    rest = sorted(range(len(strongest), len(nodes)), key=lambda rank: (nodes[rank].own not in first, rank))
    ranks = sorted([*strongest, *rest[: most - len(strongest)]])
    return tuple(nodes[rank] for rank in ranks)


def _missing(all_: Iterable[Node], shown: Iterable[Node]) -> tuple[tuple[str, int], ...]:
    missing = Counter(node.kind for node in all_)
    missing.subtract(node.kind for node in shown)
    return tuple((kind, count) for kind, count in missing.items() if count)
