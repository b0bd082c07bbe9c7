"""The words of the rule language, and what is said about a word that is none of them."""

from collections.abc import Iterable
from typing import Final

from sima_segment.rules.problems import Position, Problem, closest, problem
from sima_segment.rules.syntax import Name

FUNCTIONS: Final = ("events", "segment", "consent", "has", "timestamp")
EVENT_METHODS: Final = ("within", "filter", "count", "sum", "exists", "min", "max", "avg")
TEXT_METHODS: Final = ("startsWith", "endsWith", "contains")

_LIKELY: Final = {
    "sequence": 'events("first").exists() && events("second").exists()',
    "account": "traits.name",
    "computed": "traits.name",
    "size": 'events("name").count()',
    "len": 'events("name").count()',
    "now": 'events("name").within("30d")',
    "duration": 'within("30d")',
    "average": "avg",
    "mean": "avg",
    "any": "exists",
    "where": "filter",
    "total": "sum",
    "date": 'timestamp("2026-01-31T00:00:00Z")',
    "includes": "contains",
    "last": "within",
    "since": "within",
    "matches": "contains",
}


def unknown_function(name: str, at: Position, plugin_functions: Iterable[str]) -> Problem:
    """Return the problem of a call of something that is no function."""
    known = (*FUNCTIONS, *plugin_functions)
    return problem(
        f"{name}() is no function of rules; they know {_listed(known)}",
        at,
        _LIKELY.get(name) or closest(name, known),
    )


def unknown_event_method(name: str, at: Position) -> Problem:
    """Return the problem of a question that cannot be asked about events."""
    return problem(
        f"{name}() cannot be asked about events; {_listed(EVENT_METHODS)} can",
        at,
        _LIKELY.get(name) or closest(name, EVENT_METHODS),
    )


def unknown_method(name: str, at: Position) -> Problem:
    """Return the problem of a question that cannot be asked about a value."""
    known = (*TEXT_METHODS, *EVENT_METHODS)
    return problem(
        f"{name}() cannot be asked about a value; {_listed(TEXT_METHODS)} can",
        at,
        _LIKELY.get(name) or closest(name, known),
    )


def unknown_name(root: Name, rest: str, variable: str | None) -> Problem:
    """Return the problem of a bare word, with the names behind its dots; it was probably a property, or a trait."""
    message = f"{root.name} is no name of rules"
    if variable is not None:
        message = f"{root.name} is no name in this filter, where the event is {variable}"
        return problem(message, root.at, f"{variable}.{rest or root.name}")
    meant = closest(root.name, ("traits", *FUNCTIONS))
    if meant in FUNCTIONS:
        return problem(message, root.at, f"{meant}(...)")
    return problem(message, root.at, f"traits.{rest or root.name}")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
