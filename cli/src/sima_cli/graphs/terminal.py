"""The graph of a profile as a tree for a terminal: each link stands once, below the stronger of its two."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from sima_cli.graphs.folding import Folded, counted
from sima_cli.graphs.model import Decided, Graph, Line, Node, Standing
from sima_cli.graphs.wording import few, headline, sides
from sima_cli.words import decided, refused

_BINDS, _REFUSED = "━━", "╌╌"
_MEANINGS = {
    Standing.SHARED: "shared: seen with too many people to be one person's",
    Standing.BLOCKED: "blocked: junk, which names nobody",
}
_ROWS = 3  # of one sort below one identifier
_SOURCES = 2
_ID_SHOWN = 8

_Reason = tuple[str | None, str, str]


def terminal(graph: Graph, folded: Folded) -> RenderableType:
    """Return what a terminal shows of a graph."""
    nodes = {node.own: node for node in (*graph.members, *graph.others)}
    below: defaultdict[str, list[Line]] = defaultdict(list)
    for line in graph.lines:
        below[line.one].append(line)
    tree = Tree(Text(headline(graph, folded), style="bold"), guide_style="dim")
    for node in graph.members:
        branch = tree.add(_standing(node))
        for row in _rows(below[node.own], nodes):
            branch.add(row)
    parts: list[RenderableType] = [tree]
    if graph.decisions:
        parts.append(_decisions(graph.decisions))
    parts += [Text(sentence, style="yellow") for sentence in folded.sentences()]
    return Group(*parts, Text(f"{_BINDS} binds   {_REFUSED} does not bind", style="dim"))


def _standing(node: Node) -> Text:
    text = Text(node.name, style="cyan")
    return text.append(f"  ({_MEANINGS[node.standing]})", style="yellow") if node.standing else text


def _rows(lines: Sequence[Line], nodes: dict[str, Node]) -> Iterator[Text]:
    """Yield a row for all that one reason joins to an identifier or keeps from it: those that bind, then the others."""
    groups: defaultdict[_Reason, list[Node]] = defaultdict(list)
    for line in lines:
        groups[line.refusal, line.remedy, _because(line)].append(nodes[line.other])
    for binds in (True, False):
        rows = [each for each in groups.items() if (each[0][0] is None) is binds]
        shown = len(rows) if len(rows) <= _ROWS + 1 else _ROWS  # to say that there is one more takes a row, too
        yield from (_row(reason, found) for reason, found in rows[:shown])
        if hidden := sum(len(found) for _, found in rows[shown:]):
            yield Text(f"{_BINDS if binds else _REFUSED} and {hidden:,} more for other reasons", style="dim")


def _row(reason: _Reason, found: Sequence[Node]) -> Text:
    refusal, remedy, because = reason
    names = [f"{node.name} ({node.standing})" if node.standing else node.name for node in found]
    text = Text(f"{_BINDS if refusal is None else _REFUSED} ").append(few(names))
    if refusal is not None:
        text.append(f"  does not bind ({refused(refusal)}): {remedy}", style="yellow")
    return text.append(f"  [{because}]", style="dim") if because else text


def _because(line: Line) -> str:
    seen = ", ".join(line.seen[:_SOURCES])
    more = f"{counted(len(line.seen) - _SOURCES, 'more source')}" if len(line.seen) > _SOURCES else ""
    decisions = ", ".join(f"decision {own[:_ID_SHOWN]}…" for own in line.decisions[:_SOURCES])
    return ", ".join(filter(None, (seen, more, decisions)))


def _decisions(decisions: Sequence[Decided]) -> Tree:
    tree = Tree(Text("Decisions", style="bold"), guide_style="dim")
    for one in decisions:
        branch = tree.add(Text(f"{decided(one.kind)} {one.own}", style="dim" if one.taken_back else ""))
        branch.add(Text(sides(one)))
        branch.add(Text(one.why))
        branch.add(Text(f"taken back by {one.taken_back}" if one.taken_back else "holds"))
    return tree
