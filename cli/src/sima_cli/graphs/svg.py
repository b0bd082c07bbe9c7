"""A picture of a graph as SVG: one file without scripts or anything from elsewhere, all its text as text."""

from xml.etree import ElementTree as ET

from sima_cli.graphs.folding import Folded, thin_out
from sima_cli.graphs.layout import Curve, Layout, Note, Place, layout
from sima_cli.graphs.model import Graph, Standing
from sima_cli.words import refused

_STYLE = """
svg { --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --binds: #0b5cad; --refused: #9a3412; --frame: #eef4fb;
  font: 13px ui-monospace, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14181d; --ink: #e6edf3; --soft: #9da7b3; --binds: #79b8ff; --refused: #ffa66b; --frame: #1d2733; }
}
.paper { fill: var(--paper); }
.frame { fill: var(--frame); stroke: var(--soft); }
text { fill: var(--ink); white-space: pre; unicode-bidi: isolate; }
.kind { fill: var(--soft); }
.title { font-size: 15px; font-weight: bold; }
.heading { font-weight: bold; }
.line { fill: none; stroke-width: 1.6; }
.binds { stroke: var(--binds); }
.refused { stroke: var(--refused); stroke-dasharray: 3 5; }
.dot { fill: var(--binds); stroke: var(--paper); stroke-width: 2; }
.dot.marked { fill: var(--paper); stroke: var(--refused); }
"""
_SQUARE = "M-6,-6 h12 v12 h-12 Z"
_CROSSED = "M-6,-6 L6,6 M-6,6 L6,-6"
_CIRCLE = "M-6,0 a6,6 0 1,0 12,0 a6,6 0 1,0 -12,0 Z"


def draw(graph: Graph, folded: Folded) -> str:
    """Return the text of an SVG file that shows what is shown of a graph."""
    drawing = layout(*thin_out(graph, folded))
    name = f"graph-{graph.profile_id or 'of-nobody'}"  # tells it from others in the same page
    size = {"width": _number(drawing.width), "height": _number(drawing.height)}
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {size['width']} {size['height']}",
            **size,
            "role": "graphics-document document",
            "aria-labelledby": f"{name}-title",
            "aria-describedby": f"{name}-desc",
        },
    )
    _child(root, "title", drawing.title, id=f"{name}-title")
    _child(root, "desc", _description(drawing), id=f"{name}-desc")
    _child(root, "style", _STYLE)
    _child(root, "rect", **size, **{"class": "paper"})
    frame = drawing.frame
    box = {side: _number(getattr(frame, side)) for side in ("x", "y", "width", "height")}
    _child(root, "rect", **box, rx="8", **{"class": "frame"})
    names = {place.node.own: place.node.name for place in drawing.places}
    for curve in drawing.curves:
        _curve(root, curve, names)
    for place in drawing.places:
        _place(root, place)
    for note in drawing.notes:
        _note(root, note)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _child(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text
    return child


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _description(drawing: Layout) -> str:
    """Say in words what the lines say; whoever cannot see them hears it first."""
    names = {place.node.own: place.node.name for place in drawing.places}
    bound = [
        f"{names[curve.line.one]} and {names[curve.line.other]}"
        for curve in drawing.curves
        if curve.line.refusal is None
    ]
    lines = f"Bound to each other: {'; '.join(bound)}." if bound else "Nothing is bound to anything."
    return f"{lines} What does not bind, the decisions and the legend stand as text in the picture."


def _curve(root: ET.Element, curve: Curve, names: dict[str, str]) -> None:
    line = curve.line
    group = _child(root, "g")
    why = f"do not bind ({refused(line.refusal)})" if line.refusal else "bind"
    because = ", ".join((*line.seen, *(f"decision {own}" for own in line.decisions)))
    _child(group, "title", f"{names[line.one]} and {names[line.other]} {why}{f': {because}' if because else ''}")
    begin, *rest = (f"{_number(x)},{_number(y)}" for x, y in curve.points)
    sort = "refused" if line.refusal else "binds"
    _child(group, "path", d=f"M{begin} C{' '.join(rest)}", **{"class": f"line {sort}"})


def _place(root: ET.Element, place: Place) -> None:
    group = _child(root, "g")
    _child(group, "title", f"{place.node.name}{f' ({place.node.standing})' if place.node.standing else ''}")
    _dot(group, place.x, place.y, place.node.standing)
    at = {"x": _number(place.text_x), "text-anchor": "end" if place.left else "start"}
    _child(group, "text", place.rows[0], y=_number(place.y - 4), **at, **{"class": "kind"})
    _child(group, "text", place.rows[1], y=_number(place.y + 13), **at)


def _dot(parent: ET.Element, x: float, y: float, standing: Standing) -> None:
    """Draw a disc; what is shared is an empty square, and what is blocked is crossed out."""
    shape = {Standing.SHARED: _SQUARE, Standing.BLOCKED: f"{_CIRCLE} {_CROSSED}"}.get(standing, _CIRCLE)
    move = f"translate({_number(x)} {_number(y)})"
    _child(parent, "path", d=shape, transform=move, **{"class": "dot marked" if standing else "dot"})


def _note(root: ET.Element, note: Note) -> None:
    y = note.y - 4
    if note.sort in {"binds", "refused"}:
        _child(root, "path", d=f"M{_number(note.x - 38)},{_number(y)} h30", **{"class": f"line {note.sort}"})
    elif note.sort in {"open", "shared", "blocked"}:
        _dot(root, note.x - 23, y, Standing("" if note.sort == "open" else note.sort))
    style = {"class": note.sort} if note.sort in {"title", "heading"} else {}
    _child(root, "text", note.text, x=_number(note.x), y=_number(note.y), **style)
