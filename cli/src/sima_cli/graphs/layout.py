"""Where everything stands in the picture of a graph. Pure: the same graph always gives the same picture.

The identifiers of the profile stand one below the other on the left, strongest kinds first, and those around it on the
right. All lines run between the two columns, so that none passes behind an identifier that it does not concern, and
what is to be read stands outside. All lengths are in pixels at the picture's natural size.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from sima_cli.graphs.folding import Folded
from sima_cli.graphs.model import Decided, Graph, Line, Node, Standing
from sima_cli.graphs.wording import few, headline, sides, whose
from sima_cli.words import decided, refused

#: Of one sign of the text, as wide as any usual font of one width makes it.
CELL = 8.0
#: How much larger than all other text the title is.
TITLE = 15 / 13
#: From one line of text to the next.
LEADING = 18.0

_MARGIN = 24.0
_CELLS = 32  # of one line of an identifier
_GAP = 14.0  # from a dot to its text
_DOT = 7.0  # from the middle of a dot to its edge
_ROW = 52.0
_GUTTER = 260.0
_SHALLOWEST = 36.0
_LABEL = _CELLS * CELL

Sort = Literal["title", "heading", "text", "binds", "refused", "open", "shared", "blocked"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Whether the two have more than an edge in common."""
        across = self.x < other.x + other.width and other.x < self.x + self.width
        return across and self.y < other.y + other.height and other.y < self.y + self.height

    def holds(self, other: "Box") -> bool:
        """Whether the other lies within it."""
        across = self.x <= other.x and other.x + other.width <= self.x + self.width
        return across and self.y <= other.y and other.y + other.height <= self.y + self.height


@dataclass(frozen=True, slots=True)
class Place:
    """Where an identifier stands.

    Attributes:
        node: The identifier.
        x: Of the middle of its dot.
        y: Of the middle of its dot.
        left: Its text stands on the left of the dot.
        rows: Its text: kind and standing, then the value.
    """

    node: Node
    x: float
    y: float
    left: bool
    rows: tuple[str, str]

    @property
    def box(self) -> Box:
        """Dot and text."""
        x = self.x - _GAP - _LABEL if self.left else self.x - _DOT
        return Box(x, self.y - LEADING, _LABEL + _GAP + _DOT, 2 * LEADING)

    @property
    def text_x(self) -> float:
        """Where the text ends if it stands on the left, else where it begins."""
        return self.x - _GAP if self.left else self.x + _GAP


@dataclass(frozen=True, slots=True)
class Curve:
    """How a line runs: from one dot to the other, drawn toward two points on the way (a cubic Bézier curve)."""

    line: Line
    points: tuple[tuple[float, float], ...]

    def at(self, share: float) -> tuple[float, float]:
        """Return the place behind so much of the way, from 0 to 1."""
        weights = ((1 - share) ** 3, 3 * share * (1 - share) ** 2, 3 * share**2 * (1 - share), share**3)
        x, y = (sum(w * p[axis] for w, p in zip(weights, self.points, strict=True)) for axis in (0, 1))
        return x, y


@dataclass(frozen=True, slots=True)
class Note:
    """One line of text, by where it begins; a sign of the legend stands before it unless it is only text."""

    x: float
    y: float
    text: str
    sort: Sort = "text"


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole picture.

    Attributes:
        width: Of the picture.
        height: Of the picture.
        title: What it shows, in one sentence.
        places: Every identifier.
        curves: Every line.
        notes: All other text.
        frame: Around the identifiers of the profile.
    """

    width: float
    height: float
    title: str
    places: tuple[Place, ...]
    curves: tuple[Curve, ...]
    notes: tuple[Note, ...]
    frame: Box


def layout(graph: Graph, folded: Folded) -> Layout:
    """Place what is shown of a graph, and say what is not."""
    left = _MARGIN + _LABEL + _GAP
    right = left + _GUTTER
    width = right + _GAP + _LABEL + _MARGIN
    title = headline(graph, folded)
    notes = list(_wrapped(title, _MARGIN, 36.0, width, "title"))
    top = notes[-1].y + 46.0
    members = _column(graph.members, left, top, is_left=True)
    others = _column(_near(graph), right, top, is_left=False)
    notes.append(Note(_MARGIN, top - 24.0, whose(graph), "heading"))
    if others:
        notes.append(Note(right - _DOT, top - 24.0, "Somebody else, or nobody", "heading"))
    rows = max(len(members), len(others))
    frame = Box(_MARGIN / 2, top - 10.0, left + _DOT + 5.0 - _MARGIN / 2, len(members) * _ROW + 8.0)
    y = top + rows * _ROW + 2 * LEADING
    for paragraph in _paragraphs(graph, folded):
        for sort, text in paragraph:
            found = list(_wrapped(text, _MARGIN, y, width, sort))
            notes += found
            y += len(found) * LEADING
        y += LEADING
    places = (*members, *others)
    return Layout(width, y, title, places, tuple(_curves(graph, places)), tuple(notes), frame)


def shortened(text: str, cells: int) -> str:
    """Return a text that is at most so many cells wide; what is cut off is marked."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + "…"


def _column(nodes: Sequence[Node], x: float, top: float, *, is_left: bool) -> tuple[Place, ...]:
    return tuple(Place(node, x, top + (rank + 0.5) * _ROW, is_left, _label(node)) for rank, node in enumerate(nodes))


def _label(node: Node) -> tuple[str, str]:
    kind = f"{node.kind} ({node.standing})" if node.standing else node.kind
    return shortened(kind, _CELLS), shortened(node.value, _CELLS)


def _near(graph: Graph) -> list[Node]:
    """Sort those around the profile by the height of what they were seen with, so that few lines cross."""
    ranks = {node.own: rank for rank, node in enumerate(graph.members)}
    heights: defaultdict[str, list[int]] = defaultdict(list)
    for line in graph.lines:
        if line.one in ranks and line.other not in ranks:
            heights[line.other].append(ranks[line.one])
    middles = {own: sum(found) / len(found) for own, found in heights.items()}
    return sorted(graph.others, key=lambda node: (middles.get(node.own, len(ranks)), node.own))


def _curves(graph: Graph, places: Iterable[Place]) -> Iterator[Curve]:
    by_own = {place.node.own: place for place in places}
    for line in graph.lines:
        yield Curve(line, _way(by_own[line.one], by_own[line.other], max(len(graph.members), len(graph.others))))


def _way(one: Place, other: Place, rows: int) -> tuple[tuple[float, float], ...]:
    """Bend a line within one column into the gutter, the farther the longer it is; all others swing across."""
    if one.x == other.x:
        share = abs(one.y - other.y) / (rows * _ROW)
        depth = _SHALLOWEST + share * (_GUTTER - 2 * _SHALLOWEST)
        bend = one.x + (depth if one.left else -depth)
        return (one.x, one.y), (bend, one.y), (bend, other.y), (other.x, other.y)
    middle = (one.x + other.x) / 2
    return (one.x, one.y), (middle, one.y), (middle, other.y), (other.x, other.y)


def _paragraphs(graph: Graph, folded: Folded) -> Iterator[list[tuple[Sort, str]]]:
    nodes = {node.own: node for node in (*graph.members, *graph.others)}
    yield _legend(graph)
    if any(line.refusal for line in graph.lines):
        yield [("heading", "What does not bind, and what would have to change"), *_refusals(graph.lines, nodes)]
    if graph.decisions:
        yield [("heading", "Decisions"), *chain.from_iterable(map(_decision, graph.decisions))]
    yield [("text", sentence) for sentence in folded.sentences()]


def _legend(graph: Graph) -> list[tuple[Sort, str]]:
    standings = {node.standing for node in (*graph.members, *graph.others)}
    signs: list[tuple[Sort, str, bool]] = [
        ("open", "an identifier", True),
        ("shared", "shared: seen with several people", Standing.SHARED in standings),
        ("blocked", "blocked: junk, which names nobody", Standing.BLOCKED in standings),
        ("binds", "binds: seen together, or somebody decided it", True),
        ("refused", "does not bind, for a reason that stands below", any(line.refusal for line in graph.lines)),
    ]
    return [(sort, text) for sort, text, is_there in signs if is_there]


def _refusals(lines: Iterable[Line], nodes: dict[str, Node]) -> Iterator[tuple[Sort, str]]:
    """Say each reason once, with all that it keeps apart."""
    apart: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line.refusal is not None:
            name = shortened(nodes[line.other].name, _CELLS)
            apart[f"{refused(line.refusal)}: {line.remedy}"][shortened(nodes[line.one].name, _CELLS)].append(name)
    for reason, pairs in apart.items():
        yield "text", reason
        yield from (("text", f"    {one} and {few(others)}") for one, others in pairs.items())


def _decision(one: Decided) -> Iterator[tuple[Sort, str]]:
    yield "text", f"{decided(one.kind)} {one.own}: {sides(one)}"
    yield "text", f"    {one.why}"
    if one.taken_back:
        yield "text", f"    taken back by {one.taken_back}"


def _wrapped(text: str, x: float, y: float, width: float, sort: Sort) -> Iterator[Note]:
    """Break a text into lines that are no wider than the picture; only the first has the sign of its sort."""
    begin = x if sort in {"title", "heading", "text"} else x + 5 * CELL
    cells = int((width - _MARGIN - begin) // (CELL * (TITLE if sort == "title" else 1)))
    lines = Text(text).wrap(Console(width=cells), cells)
    for number, line in enumerate(lines or [Text(text)]):
        own: Sort = "text" if number and sort not in {"title", "heading"} else sort
        yield Note(begin, y + number * LEADING, line.plain.rstrip(), own)
