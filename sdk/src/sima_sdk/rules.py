"""Functions that a plugin adds to the rule language."""

from collections.abc import Callable
from dataclasses import dataclass

Argument = str | float | bool


@dataclass(frozen=True, slots=True)
class SegmentFunction:
    """A named piece of rule text: `rfm.score()` in a rule is replaced by what `expand` returns.

    Because the function is text of the rule language itself, it means the same live, in a full evaluation and on any
    engine, and it can be explained like any other rule.

    Attributes:
        name: How rules call it: `<plugin>.<function>`.
        summary: One line for people.
        expand: Takes the call's literal arguments and returns an expression in the rule language; raises ValueError,
            with a text for the author of the rule, for arguments that make no sense. Pure.
    """

    name: str
    summary: str
    expand: Callable[..., str]
