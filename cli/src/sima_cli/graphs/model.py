"""What is drawn: the identifiers of a profile, those around it, what lies between them, and what was decided."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_sdk.identifiers import BUILT_IN_KINDS

from sima_cli import shapes
from sima_cli.output import visible

_KEY_SHOWN = 8
_SEVERAL_PEOPLE = shapes.refusal(pb.Link(refusal=pb.LINK_REFUSAL_SEVERAL_PEOPLE))
_HUB = shapes.refusal(pb.Link(refusal=pb.LINK_REFUSAL_HUB))
_BLOCKED = shapes.refusal(pb.Link(refusal=pb.LINK_REFUSAL_BLOCKED))


class Standing(StrEnum):
    """Whether an identifier can be somebody's."""

    OPEN = ""
    SHARED = "shared"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Node:
    """An identifier.

    Attributes:
        own: What tells it from all others: `kind:value`, with the whole key where there is no value.
        kind: Its kind.
        value: Its value; of a protected kind, which nobody knows, the beginning of its key. Nothing in it steers.
        standing: Whether it can be somebody's, as far as that is known.
    """

    own: str
    kind: str
    value: str
    standing: Standing = Standing.OPEN

    @property
    def name(self) -> str:
        """How people write it, also behind other commands."""
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True)
class Line:
    """What lies between two identifiers.

    Attributes:
        one: `own` of one of them, the stronger if both are of the profile.
        other: `own` of the other.
        seen: What showed them together: source and message.
        decisions: Ids of the decisions about the two.
        refusal: Why it binds nobody; None if it binds.
        remedy: What would have to change for it to bind; empty if it binds.
    """

    one: str
    other: str
    seen: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    refusal: str | None = None
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision.

    Attributes:
        own: Its id.
        kind: What was decided.
        names: One side, as people write it.
        others: The other side.
        why: Who decided, on which day, and why.
        taken_back: Who took it back, on which day, and why; empty if it holds.
    """

    own: str
    kind: str
    names: tuple[str, ...]
    others: tuple[str, ...]
    why: str
    taken_back: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A profile with all that lies within and around it.

    Attributes:
        profile_id: The profile; empty if the identifier is nobody's.
        members: Its identifiers, strongest kinds first.
        others: Those that are not its own and were seen with one of them.
        lines: Everything between two of them.
        decisions: Those that hold first, of these the newest first.
        partial: The service knows more than it answered.
    """

    profile_id: str
    members: tuple[Node, ...]
    others: tuple[Node, ...] = ()
    lines: tuple[Line, ...] = ()
    decisions: tuple[Decided, ...] = ()
    partial: bool = False


def read(answer: pb.GetProfileGraphResponse) -> Graph:
    """Return what is drawn of an answer; the order of its links and of identifiers of one kind makes no difference."""
    members = _by_kind(map(_member, answer.identifiers))
    ranks = {node.own: rank for rank, node in enumerate(members)}
    standings = {node.own: node.standing for node in members}
    others = sorted(set(_others(answer.links, standings)), key=lambda node: (node.own, node.standing))
    ranks |= {node.own: len(ranks) + rank for rank, node in enumerate(others)}
    lines = [_line(link, ranks) for link in answer.links]
    return Graph(
        profile_id=answer.profile_id,
        members=tuple(members),
        others=tuple(_once(others)),
        lines=tuple(sorted(lines, key=lambda line: (ranks[line.one], ranks[line.other]))),
        decisions=tuple(sorted(map(_decided, answer.decisions), key=lambda one: bool(one.taken_back))),
        partial=answer.partial,
    )


def _by_kind(nodes: Iterable[Node]) -> list[Node]:
    """Sort by value within each kind: there strength is the order of keys, which tells people nothing."""
    found = list(nodes)
    kinds = {node.kind: rank for rank, node in reversed(list(enumerate(found)))}
    return sorted(found, key=lambda node: (kinds[node.kind], node.own))


def _once(nodes: Sequence[Node]) -> Iterator[Node]:
    """Leave out a node of which nothing is known where another link tells its standing."""
    told = {node.own: node for node in nodes}  # the last of equals, and no standing sorts first
    yield from told.values()


def _node(message: Identifier) -> Node:
    value = visible(message.value) or f"{message.key.hex()[:_KEY_SHOWN]}…"
    return Node(shapes.identifier(message), message.kind, value)


def _member(message: pb.KnownIdentifier) -> Node:
    standing = Standing.SHARED if message.shared else Standing.BLOCKED if message.blocked else Standing.OPEN
    return replace(_node(message.identifier), standing=standing)


def _others(links: Iterable[pb.Link], standings: dict[str, Standing]) -> Iterator[Node]:
    for link in links:
        for near, far in ((link.identifier, link.other), (link.other, link.identifier)):
            if (node := _node(far)).own not in standings:
                own = standings.get(shapes.identifier(near), Standing.OPEN)
                yield replace(node, standing=_standing(shapes.refusal(link), own, node.kind))


def _standing(refusal: str | None, near: Standing, kind: str) -> Standing:
    """Return what a refusal says about the identifier that is not the profile's: of one of the two it is true."""
    if refusal == _BLOCKED and near is not Standing.BLOCKED:
        return Standing.BLOCKED
    weak = kind in BUILT_IN_KINDS and not BUILT_IN_KINDS[kind].strong
    if near is not Standing.SHARED and (refusal == _HUB or (refusal == _SEVERAL_PEOPLE and weak)):
        return Standing.SHARED
    return Standing.OPEN


def _line(link: pb.Link, ranks: dict[str, int]) -> Line:
    one, other = sorted(map(shapes.identifier, (link.identifier, link.other)), key=ranks.__getitem__)
    seen = (visible(f"{one.source} {one.message_id}".strip()) for one in link.evidence)
    return Line(one, other, tuple(seen), tuple(link.decision_ids), shapes.refusal(link), visible(link.remedy))


def _decided(message: pb.Decision) -> Decided:
    names, others = (tuple(sorted(_node(one).name for one in side)) for side in (message.identifiers, message.others))
    why = f"{message.actor}, {shapes.instant(message.decided_at):%Y-%m-%d}: {message.reason}"
    taken_back = ""
    if message.HasField("withdrawn_at"):
        day = shapes.instant(message.withdrawn_at)
        taken_back = f"{message.withdrawn_by}, {day:%Y-%m-%d}: {message.withdrawal_reason}"
    return Decided(message.id, shapes.decision_kind(message), names, others, visible(why), visible(taken_back))
