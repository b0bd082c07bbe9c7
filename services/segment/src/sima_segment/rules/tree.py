"""What a rule means: the tree that the checker builds and the compiler, the references and the planner read.

Trait and Property carry no type: their values have the type of the data, and the operator around them says which
type it looks at. Every other value has one type.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from sima_segment.rules.problems import START, Position
from sima_segment.rules.schema import ColumnType


class Function(StrEnum):
    """What can be asked about a set of events."""

    COUNT = "count"
    SUM = "sum"
    EXISTS = "exists"
    MIN = "min"
    MAX = "max"
    AVG = "avg"


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written in the rule; whole numbers are kept as such.

    The kind is stored because to Python `True` equals `1`, and two different rules must never be equal.
    """

    value: str | int | float | bool | datetime
    kind: ColumnType


@dataclass(frozen=True, slots=True)
class Trait:
    """The folded value of a trait, of whatever type the data has."""

    name: str


@dataclass(frozen=True, slots=True)
class Property:
    """A property of the event that a filter looks at, of whatever type the data has."""

    name: str


@dataclass(frozen=True, slots=True)
class OccurredAt:
    """When the event that a filter looks at happened."""


@dataclass(frozen=True, slots=True)
class Events:
    """The person's events of one name, up to the instant of evaluation.

    Attributes:
        name: Of the events.
        within: Only those younger than this. None: of any age.
        condition: Only those for which this holds. None: all.
    """

    name: str
    within: timedelta | None = None
    condition: "Node | None" = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One figure over events; `argument` is the property for sum, min, max and avg."""

    function: Function
    events: Events
    argument: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """Whether the person is in another segment; `at` is for messages and no part of the meaning."""

    segment: str
    at: Position = field(default=START, compare=False)


@dataclass(frozen=True, slots=True)
class Consent:
    """Whether the person granted a purpose."""

    purpose: str


@dataclass(frozen=True, slots=True)
class Has:
    """Whether there is any value."""

    of: Trait | Property


@dataclass(frozen=True, slots=True)
class Compare:
    """`==`, `!=`, `<`, `<=`, `>` or `>=`."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether a value is among constants."""

    value: "Node"
    options: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class TextTest:
    """`startsWith`, `endsWith` or `contains`."""

    function: str
    text: "Node"
    part: "Node"


@dataclass(frozen=True, slots=True)
class Not:
    """True for false and false for true; missing stays missing."""

    of: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """True if all terms are."""

    terms: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """True if any term is."""

    terms: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """`then` where the condition is true, else `otherwise`."""

    condition: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`+`, `-`, `*`, `/` or `%` of numbers; missing where it divides by zero."""

    operator: str
    left: "Node"
    right: "Node"


Node: TypeAlias = (
    Constant | Trait | Property | OccurredAt | Aggregate | Member | Consent
    | Has | Compare | OneOf | TextTest | Not | And | Or | Choice | Arithmetic
)  # fmt: skip

Inner: TypeAlias = tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule.

    Attributes:
        text: As it was written.
        condition: What it means.
    """

    text: str
    condition: Node


def children(node: Node) -> Inner:
    """Return the nodes directly below; a filter's condition belongs to its events and is not among them."""
    match node:
        case Compare(_, left, right) | Arithmetic(_, left, right) | TextTest(_, left, right):
            return (left, right)
        case And(terms) | Or(terms):
            return terms
        case Not(of) | Has(of) | OneOf(of, _):
            return (of,)
        case Choice(condition, then, otherwise):
            return (condition, then, otherwise)
        case _:
            return ()


def static_type(node: Node) -> ColumnType | None:
    """Return the type of a node's value; None if the data decides."""
    match node:
        case Trait() | Property():
            return None
        case Constant(_, kind):
            return kind
        case Choice(_, then, otherwise):
            return static_type(then) or static_type(otherwise)
        case OccurredAt():
            return ColumnType.TIME
        case _:
            return ColumnType.NUMBER if _is_number(node) else ColumnType.BOOLEAN


def of_data(node: Node) -> bool:
    """Whether the data decides about the type; of a choice, in one of the results at least."""
    match node:
        case Trait() | Property():
            return True
        case Choice(_, then, otherwise):
            return of_data(then) or of_data(otherwise)
        case _:
            return False


def divides_by_data(node: Arithmetic) -> bool:
    """Whether it may divide by zero: not if it divides by another number that is written out."""
    by_number = isinstance(node.right, Constant) and node.right.value != 0
    return node.operator in ("/", "%") and not by_number


def _is_number(node: Node) -> bool:
    return isinstance(node, Arithmetic) or (isinstance(node, Aggregate) and node.function is not Function.EXISTS)


def constant(value: str | float | bool | datetime) -> Constant:
    """Return a value as a node."""
    match value:
        case bool():
            return Constant(value, ColumnType.BOOLEAN)
        case str():
            return Constant(value, ColumnType.TEXT)
        case datetime():
            return Constant(value, ColumnType.TIME)
        case _:
            return Constant(value, ColumnType.NUMBER)
