"""Chains of dots and calls, taken apart without recursion: `traits.a.b`, `events("x").within("1d").count()`."""

from sima_segment.rules.syntax import Call, Index, Literal, Name, Select, Syntax


def path(syntax: Syntax) -> tuple[Name, str] | None:
    """Return the word that a chain of names begins with, and the rest joined by dots; None if it is no such chain."""
    parts: list[str] = []
    while not isinstance(syntax, Name):
        match syntax:
            case Select(_, of, name) | Index(_, of, Literal(_, str() as name)):
                parts.append(name)
                syntax = of
            case _:
                return None
    return syntax, ".".join(reversed(parts))


def links(call: Call) -> tuple[Call, ...]:
    """Return the calls of a chain, first to last."""
    chain = [call]
    while isinstance(chain[-1].of, Call):
        chain.append(chain[-1].of)
    return tuple(reversed(chain))


def called(call: Call, function: str) -> bool:
    """Whether this is a call of a function that belongs to nothing."""
    return call.of is None and call.function == function
