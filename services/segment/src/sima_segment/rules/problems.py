"""What can be wrong with a rule, and where."""

from dataclasses import dataclass
from difflib import get_close_matches

from sima_sdk.errors import RefuseRequestError


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the text of a rule; both count from 1."""

    line: int
    column: int


START = Position(1, 1)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a rule.

    Attributes:
        message: What is wrong and what is expected.
        line: Line in the rule, from 1.
        column: Column in the line, from 1.
        suggestion: What was probably meant; empty if there is no idea.
    """

    message: str
    line: int
    column: int
    suggestion: str = ""


class RuleError(RefuseRequestError):
    """A rule cannot be understood; `problems` lists everything that is wrong with it, in the order of the text."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("; ".join(f"{each.line}:{each.column} {each.message}" for each in self.problems))


def problem(message: str, at: Position, suggestion: str = "") -> Problem:
    """Return a problem at a place."""
    return Problem(message, at.line, at.column, suggestion)


def closest(name: str, known: tuple[str, ...]) -> str:
    """Return the known name that was probably meant, or nothing."""
    matches = get_close_matches(name.lower(), {each.lower(): each for each in known}, n=1, cutoff=0.6)
    return next((each for each in known if matches and each.lower() == matches[0]), "")
