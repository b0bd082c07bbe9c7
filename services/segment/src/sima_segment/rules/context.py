"""What the parts of the checker share: where problems go, and what is in sight at the place being read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sima_sdk.rules import SegmentFunction

from sima_segment.rules.problems import Position, Problem, problem
from sima_segment.rules.schema import ColumnType
from sima_segment.rules.syntax import Call, Literal, Name, Syntax
from sima_segment.rules.tree import Aggregate, Constant, Node, Trait, static_type

LONGEST_NAME: Final = 200
NOUNS: Final = {
    ColumnType.NUMBER: "a number",
    ColumnType.TEXT: "a text",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.TIME: "an instant",
}

STAND_IN: Final = Trait("")
"""Takes the place of what was reported; it is of every type, so that one problem does not bring on others."""

T = TypeVar("T")


@dataclass(slots=True)
class Context(ABC):
    """The state of one check.

    Attributes:
        functions: What plugins added to the language.
        problems: What was found wrong so far.
        variable: The name of the event inside a filter. None: outside of filters.
    """

    functions: Mapping[str, SegmentFunction]
    problems: list[Problem] = field(default_factory=list)
    variable: str | None = None

    @abstractmethod
    def value(self, syntax: Syntax) -> Node:
        """Return what an expression means."""

    def typed(self, syntax: Syntax, kind: ColumnType) -> Node:
        """Return what an expression means, which must be of this type or of whatever type the data has."""
        node = self.value(syntax)
        if static_type(node) in (None, kind):
            return node
        return self.report(f"{NOUNS[kind]} is expected here", syntax.at, _meant(node, kind))

    def report(self, message: str, at: Position, suggestion: str = "") -> Node:
        """Note a problem; return what stands in for the node that could not be made."""
        return self.note(problem(message, at, suggestion))

    def note(self, found: Problem) -> Node:
        """Note a problem; return what stands in for the node that could not be made."""
        self.problems.append(found)
        return STAND_IN

    def outside_filter(self, at: Position, suggestion: str = "") -> bool:
        """Whether this is no filter, where only the event's own properties are in sight; notes it if it is one."""
        if self.variable is not None:
            self.report("a filter looks only at the event's own properties", at, suggestion)
        return self.variable is None

    def is_name(self, name: str, at: Position, example: str) -> bool:
        """Whether this can be the name of anything; notes it if not."""
        if 0 < len(name) <= LONGEST_NAME:
            return True
        self.report(f"a name of 1 to {LONGEST_NAME} characters is expected here", at, example)
        return False

    def name_argument(self, call: Call, example: str) -> str:
        """Return the name that a call takes as its only argument; empty if it was reported."""
        text = self.text_argument(call, example)
        if text is None:
            return ""
        return text if self.is_name(text, call.arguments[0].at, f'{call.function}("{example}")') else ""

    def text_argument(self, call: Call, example: str) -> str | None:
        """Return the text that a call takes as its only argument; None if it was reported."""
        match call.arguments:
            case (Literal(_, str() as text),):
                return text
            case (Name(at, name),):
                self.report(f"{call.function}() takes a text in quotes", at, f'{call.function}("{name}")')
            case _:
                self.report(f"{call.function}() takes one text", call.at, f'{call.function}("{example}")')
        return None

    def read_argument(self, call: Call, example: str, read: Callable[[str], T]) -> T | None:
        """Return what `read` makes of the text that a call takes; None if it was reported."""
        text = self.text_argument(call, example)
        try:
            return None if text is None else read(text)
        except ValueError as error:
            self.report(str(error), call.arguments[0].at, f'{call.function}("{example}")')
            return None

    @contextmanager
    def filtering(self, variable: str) -> Iterator[None]:
        """Have the event of a filter in sight under a name."""
        self.variable = variable
        yield
        self.variable = None


def number_in(node: Node) -> str:
    """Return the number that a constant text spells, to suggest it; else nothing."""
    text = node.value if isinstance(node, Constant) else None
    return text if isinstance(text, str) and text.lstrip("-").replace(".", "", 1).isdecimal() else ""


def _meant(node: Node, kind: ColumnType) -> str:
    if kind is ColumnType.BOOLEAN and isinstance(node, Aggregate):
        return f"{node.function}(...) > 0"
    return number_in(node) if kind is ColumnType.NUMBER else ""
