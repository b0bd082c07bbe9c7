"""Graphs as people see them: whatever there is, in a terminal and in a picture, is legible, true and harmless."""

import re
from collections.abc import Sequence
from itertools import combinations
from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_cli import shapes
from sima_cli.graphs.folding import Folded, fold, thin_out
from sima_cli.graphs.layout import CELL, TITLE, Box, layout, shortened
from sima_cli.graphs.model import Graph, Line, Node, Standing, read
from sima_cli.graphs.svg import draw
from sima_cli.graphs.terminal import terminal
from sima_cli.words import refused

KINDS = ("user_id", "passport", "email", "phone", "device_id", "anonymous_id")
REFUSALS = [number for number in pb.LinkRefusal.values() if number]
SVG = "{http://www.w3.org/2000/svg}"
#: Whatever a channel may have sent, and what would end a tag, a text or a line.
TEXTS = st.text(max_size=60) | st.sampled_from(
    ['</text><script>alert("x")</script>', "a&b", "\x1b[2J\u202e", "東京" * 40]
)


def identifier(number: int, text: str = "") -> Identifier:
    """An identifier that no other number has; passports have no value, as in the service."""
    kind = KINDS[number % len(KINDS)]
    return Identifier(
        kind=kind, value="" if kind == "passport" else f"{text}{number}", key=number.to_bytes(4, "big") * 4
    )


@st.composite
def answers(draws: st.DrawFn, most: int = 30) -> pb.GetProfileGraphResponse:
    """What the service may answer: members, links within and to others, decisions."""
    members, others = draws(st.integers(1, most)), draws(st.integers(0, most))
    texts = draws(st.lists(TEXTS, min_size=1, max_size=5))
    names = [identifier(number, texts[number % len(texts)]) for number in range(members + others)]
    known = [
        pb.KnownIdentifier(identifier=name, shared=draws(st.booleans()), blocked=draws(st.booleans()))
        for name in sorted(names[:members], key=lambda one: KINDS.index(one.kind))
    ]
    ends = st.tuples(st.integers(0, members - 1), st.integers(0, members + others - 1))
    pairs = {(low, high) for low, high in draws(st.lists(ends, max_size=80)) if low < high}
    links = [link(names[low], names[high], draws(st.sampled_from([0, *REFUSALS])), texts[0]) for low, high in pairs]
    decided = [decision(names[:2], texts[-1], bool(number % 2)) for number in range(draws(st.integers(0, 20)))]
    return pb.GetProfileGraphResponse(profile_id="0f" * 16, identifiers=known, links=links, decisions=decided)


def link(one: Identifier, other: Identifier, refusal: int, text: str = "crm") -> pb.Link:
    """What lies between two identifiers."""
    made = pb.Link(identifier=one, other=other, refusal=refusal, remedy=f"mend {text}" if refusal else "")  # type: ignore[arg-type]
    made.evidence.add(source=text, message_id="m-1")
    return made


def decision(names: Sequence[Identifier], text: str, taken_back: bool) -> pb.Decision:
    """A decision, taken back perhaps."""
    made = pb.Decision(id="d0" * 16, kind=pb.DECISION_KIND_SPLIT, identifiers=names[:1], others=names[1:])
    made.actor, made.reason = "ops", text
    made.decided_at.seconds = 1_767_225_600
    if taken_back:
        made.withdrawn_at.seconds, made.withdrawn_by, made.withdrawal_reason = 1_767_225_600, "ops", text
    return made


def crowd(size: int) -> pb.GetProfileGraphResponse:
    """A profile of so many identifiers, each seen with the strongest, each fifth with somebody else."""
    names = [identifier(number, "name-") for number in range(size + size // 5)]
    known = [
        pb.KnownIdentifier(identifier=name) for name in sorted(names[:size], key=lambda one: KINDS.index(one.kind))
    ]
    links = [link(names[0], name, 0) for name in names[1:size]]
    links += [link(names[number], names[size + number // 5], pb.LINK_REFUSAL_HUB) for number in range(0, size - 4, 5)]
    return pb.GetProfileGraphResponse(profile_id="0f" * 16, identifiers=known, links=links)


def printed(graph: Graph, folded: Folded, width: int = 100) -> str:
    """What a terminal shows."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal(graph, folded))
    return capture.get()


def numbers(text: str) -> list[int]:
    """All numbers of a text that are words of their own."""
    return [int(found.replace(",", "")) for found in re.findall(r"(?<![\w-])\d[\d,]*(?![\w-])", text)]


@given(answers(), st.integers(1, 40))
def test_no_two_identifiers_of_a_picture_overlap(answer: pb.GetProfileGraphResponse, most: int) -> None:
    """Dots and texts have their own room, whatever the graph."""
    drawing = layout(*fold(read(answer), most))
    texts = [Box(note.x, note.y - 14, cell_len(note.text) * CELL, 16) for note in drawing.notes]
    boxes = [*(place.box for place in drawing.places), *texts]
    assert [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])] == []


@given(answers(), st.integers(1, 40))
def test_everything_stands_within_the_picture(answer: pb.GetProfileGraphResponse, most: int) -> None:
    """Identifiers, the ways of all lines, and every text as wide as it is."""
    drawing = layout(*fold(read(answer), most))
    paper = Box(0, 0, drawing.width, drawing.height)
    assert all(paper.holds(place.box) for place in drawing.places)
    assert paper.holds(drawing.frame)
    assert all(paper.holds(Box(*curve.at(step / 8), 0, 0)) for curve in drawing.curves for step in range(9))
    for note in drawing.notes:
        factor = TITLE if note.sort == "title" else 1
        assert note.x + cell_len(note.text) * CELL * factor <= drawing.width
        assert 0 < note.y < drawing.height
    assert all(cell_len(row) * CELL <= 256 for p in drawing.places for row in p.rows)


@given(answers())
def test_no_line_passes_behind_an_identifier_that_it_does_not_concern(answer: pb.GetProfileGraphResponse) -> None:
    """So nobody reads a link that is not there."""
    drawing = layout(*fold(read(answer), 40))
    for curve in drawing.curves:
        way = [Box(*curve.at(step / 32), 0.1, 0.1) for step in range(33)]
        strangers = [p for p in drawing.places if p.node.own not in {curve.line.one, curve.line.other}]
        assert not any(place.box.overlaps(point) for place in strangers for point in way)


@given(answers(), st.randoms(use_true_random=False))
def test_the_same_graph_gives_the_same_picture(answer: pb.GetProfileGraphResponse, random: Random) -> None:
    """The order of links, of their ends and of identifiers of one kind is that of keys, and makes no difference."""
    other = pb.GetProfileGraphResponse()
    other.CopyFrom(answer)
    del other.links[:], other.identifiers[:]
    for each in random.sample(list(answer.links), len(answer.links)):
        turned = other.links.add()
        turned.CopyFrom(each)
        if random.random() < 0.5:
            turned.identifier.CopyFrom(each.other)
            turned.other.CopyFrom(each.identifier)
    shuffled = random.sample(list(answer.identifiers), len(answer.identifiers))
    other.identifiers.extend(sorted(shuffled, key=lambda one: KINDS.index(one.identifier.kind)))
    assert draw(*fold(read(other), 10)) == draw(*fold(read(answer), 10))
    assert printed(*fold(read(other), 10)) == printed(*fold(read(answer), 10))


@given(answers())
def test_a_picture_is_xml_in_which_every_value_is_only_text(answer: pb.GetProfileGraphResponse) -> None:
    """A real parser reads it; what a channel sent becomes neither a tag nor a reference to anything elsewhere."""
    graph, folded = fold(read(answer), 40)
    picture = draw(graph, folded)
    root = ET.fromstring(picture)  # noqa: S314 - our own
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "g", "path", "text"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in attributes if "href" in name or "src" in name or name.startswith("on")]
    style = root.findtext(f"{SVG}style") or ""
    assert not re.search(r"url|@import|https?:", style)
    titles = {element.text for element in root.iter(f"{SVG}title")}
    for node in (*graph.members, *graph.others):
        assert any(title and title.startswith(node.name) for title in titles)
    labelled = {root.get("aria-labelledby"), root.get("aria-describedby")}
    assert labelled == {element.get("id") for element in root if element.get("id")}
    assert not {"\x1b", "\u202e"} & set(picture)


@given(answers())
def test_every_link_is_drawn_or_counted(answer: pb.GetProfileGraphResponse) -> None:
    """What is solid binds, what is dashed does not, and nothing goes missing."""
    graph, folded = thin_out(*fold(read(answer), 8))
    paths = [each.get("class") for each in ET.fromstring(draw(*fold(read(answer), 8))).iterfind(f"{SVG}g/{SVG}path")]  # noqa: S314
    refused = sum(link.refusal != 0 for link in answer.links)
    assert paths.count("line refused") == sum(line.refusal is not None for line in graph.lines)
    assert paths.count("line refused") + folded.refused == refused
    assert paths.count("line binds") + folded.bind == len(answer.links) - refused
    assert len(graph.members) + sum(count for _, count in folded.members) == len(answer.identifiers)
    assert len(graph.decisions) + folded.decisions == len(answer.decisions)


@given(answers(), st.integers(1, 12))
def test_the_terminal_says_everything_or_how_much_it_does_not(answer: pb.GetProfileGraphResponse, most: int) -> None:
    """Each identifier has its row; the numbers of what is folded stand below; nothing steers."""
    graph, folded = fold(read(answer), most)
    said = printed(graph, folded, width=10_000)
    rows = [line.lstrip("├└─│ ") for line in said.splitlines()]
    assert all(any(row.startswith(node.name) for row in rows) for node in graph.members)
    assert all(str(node.standing) in said for node in graph.members)
    missing = [sum(count for _, count in kinds) for kinds in (folded.members, folded.others)]
    for count in (*missing, folded.bind, folded.refused, folded.decisions):
        assert count == 0 or count in numbers(said)
    for line in graph.lines:
        assert line.refusal is None or f"({refused(line.refusal)})" in said or "for other reasons" in said
    assert not set("\x1b\u202e") & set(said)


@pytest.mark.parametrize("size", [1, 5, 50, 1_000])
def test_a_graph_of_any_size_is_legible(size: int) -> None:
    """At most some hundred lines of a terminal, and a picture of at most two screens; small ones are whole."""
    graph, folded = fold(read(crowd(size)), 25)
    said = printed(graph, folded).splitlines()
    assert len(said) <= 250
    drawing = layout(*thin_out(graph, folded))
    assert drawing.height <= 3_000
    assert len(drawing.curves) <= 120
    assert (list(folded.sentences()) == []) is (size <= 25)
    if size == 1_000:
        assert "975 more identifiers of the profile" in " ".join(said)


def test_what_is_told_of_in_a_link_comes_before_what_is_merely_there() -> None:
    """A refusal far down a large profile is shown, and its reason."""
    answer = crowd(1_000)
    last = answer.identifiers[-1].identifier
    del answer.links[999:]
    answer.links.append(link(last, Identifier(kind="email", value="eve@example.com"), pb.LINK_REFUSAL_NEVER_LINK))
    said = printed(*fold(read(answer), 4))
    assert f"{last.kind}:{last.value}" in said
    assert "does not bind (decided to be apart): mend crm" in " ".join(said.split())


def test_protected_values_are_shown_by_the_beginning_of_their_key() -> None:
    """Nobody knows the value; two of them are told apart all the same."""
    passports = [Identifier(kind="passport", key=bytes([number]) * 16) for number in (1, 2)]
    answer = pb.GetProfileGraphResponse(identifiers=[pb.KnownIdentifier(identifier=one) for one in passports])
    assert [node.name for node in read(answer).members] == ["passport:01010101…", "passport:02020202…"]


@pytest.mark.parametrize(
    ("member", "other", "refusal", "standing"),
    [
        ("email", "device_id", pb.LINK_REFUSAL_SEVERAL_PEOPLE, Standing.SHARED),
        ("device_id", "email", pb.LINK_REFUSAL_SEVERAL_PEOPLE, Standing.OPEN),
        ("email", "phone", pb.LINK_REFUSAL_HUB, Standing.SHARED),
        ("user_id", "email", pb.LINK_REFUSAL_BLOCKED, Standing.BLOCKED),
        ("user_id", "email", pb.LINK_REFUSAL_NEVER_LINK, Standing.OPEN),
    ],
)
def test_of_what_is_not_the_profiles_own_the_refusal_tells_its_standing(
    member: str, other: str, refusal: "pb.LinkRefusal.ValueType", standing: Standing
) -> None:
    """Only where it can be meant of nothing else."""
    one, two = Identifier(kind=member, value="1"), Identifier(kind=other, value="2")
    known = [pb.KnownIdentifier(identifier=one)]
    told = read(pb.GetProfileGraphResponse(identifiers=known, links=[link(one, two, refusal), link(two, one, 5)]))
    assert [node.standing for node in told.others] == [standing]
    shared = [pb.KnownIdentifier(identifier=one, shared=True)]
    if standing is Standing.SHARED:
        [untold] = read(pb.GetProfileGraphResponse(identifiers=shared, links=[link(one, two, refusal)])).others
        assert untold.standing is Standing.OPEN


@given(st.text(), st.integers(2, 40))
@settings(max_examples=300)
def test_a_text_that_is_cut_fits_and_says_so(text: str, cells: int) -> None:
    """Wide signs count twice."""
    cut = shortened(text, cells)
    assert cell_len(cut) <= cells
    assert cut == text or cut.endswith("…")


@pytest.mark.parametrize("size", [20, 90])
def test_in_a_tangle_each_identifier_keeps_its_strongest_link(size: int) -> None:
    """What is refused or decided stays, too."""
    nodes = tuple(Node(f"email:{number:02}", "email", f"{number:02}") for number in range(size))
    lines = [Line(one.own, other.own, ("crm",)) for one, other in combinations(nodes, 2)]
    lines[-1] = Line(lines[-1].one, lines[-1].other, decisions=("d0",))
    thinned, folded = thin_out(Graph("p", nodes, lines=tuple(lines)), Folded())
    assert {line.other for line in thinned.lines if line.one == nodes[0].own} == {node.own for node in nodes[1:]}
    assert lines[-1] in thinned.lines
    assert len(thinned.lines) <= max(60, size) + 1
    assert len(thinned.lines) + folded.bind == len(lines)


@pytest.mark.parametrize("sorts", range(1, 9))
def test_no_row_says_that_there_is_one_more(sorts: int) -> None:
    """It would take as much room as what it hides: four sorts are shown, and of more than that three."""
    names = [identifier(0), *(Identifier(kind="email", value=f"{number}@example.com") for number in range(sorts))]
    links = [link(names[0], other, pb.LINK_REFUSAL_HUB, f"s{number}") for number, other in enumerate(names[1:])]
    known = [pb.KnownIdentifier(identifier=names[0])]
    said = printed(*fold(read(pb.GetProfileGraphResponse(profile_id="0f" * 16, identifiers=known, links=links)), 25))
    assert said.count("does not bind (seen with too many)") == (sorts if sorts <= 4 else 3)
    assert ("more for other reasons" in said) is (sorts > 4)


@pytest.mark.parametrize(
    ("kind", "shared", "heading"),
    [
        ("email", False, "One person"),
        ("phone", True, "Shared, so nobody's alone"),
        ("domain", False, "One company"),
        ("domain", True, "Shared, so nobody's alone"),
    ],
)
def test_a_picture_says_what_stands_in_its_box(kind: str, shared: bool, heading: str) -> None:
    """What is shared has a profile of its own, and is no person."""
    known = [pb.KnownIdentifier(identifier=Identifier(kind=kind, value="x"), shared=shared)]
    drawing = layout(*fold(read(pb.GetProfileGraphResponse(profile_id="0f" * 16, identifiers=known)), 25))
    assert heading in [note.text for note in drawing.notes if note.sort == "heading"]


@pytest.mark.parametrize("number", REFUSALS)
def test_every_refusal_is_said_in_words(number: "pb.LinkRefusal.ValueType") -> None:
    """None of them is a code."""
    code = shapes.refusal(pb.Link(refusal=number))
    assert code is not None
    assert refused(code) != code
    assert "_" not in refused(code)
