"""A rule as it is written: names, calls and operators, before anything is known about their meaning."""

from dataclasses import dataclass
from typing import TypeAlias

from sima_segment.rules.problems import Position

LiteralValue: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written out."""

    at: Position
    value: LiteralValue


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word: `traits`, or the variable of a filter."""

    at: Position
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`of.name`."""

    at: Position
    of: "Syntax"
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`of[key]`."""

    at: Position
    of: "Syntax"
    key: "Syntax"


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`, or `of.function(arguments)`."""

    at: Position
    of: "Syntax | None"
    function: str
    arguments: "tuple[Syntax, ...]"


@dataclass(frozen=True, slots=True)
class Items:
    """`[items]`."""

    at: Position
    items: "tuple[Syntax, ...]"


@dataclass(frozen=True, slots=True)
class Unary:
    """`!operand` or `-operand`."""

    at: Position
    operator: str
    operand: "Syntax"


@dataclass(frozen=True, slots=True)
class Binary:
    """A comparison, `in`, or arithmetic; `at` is where the left side begins."""

    at: Position
    operator: str
    left: "Syntax"
    right: "Syntax"


@dataclass(frozen=True, slots=True)
class Logic:
    """Terms joined by `&&`, or by `||`."""

    at: Position
    operator: str
    terms: "tuple[Syntax, ...]"


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? then : otherwise`."""

    at: Position
    condition: "Syntax"
    then: "Syntax"
    otherwise: "Syntax"


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something that the expression language has and rules have not; `message` says what to write instead."""

    at: Position
    message: str


Syntax: TypeAlias = Literal | Name | Select | Index | Call | Items | Unary | Binary | Logic | Conditional | Foreign
