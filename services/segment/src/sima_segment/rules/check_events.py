"""The meaning of what begins with `events(...)`."""

from dataclasses import replace
from typing import Final

from sima_segment.rules import words
from sima_segment.rules.context import Context
from sima_segment.rules.schema import ColumnType
from sima_segment.rules.syntax import Call, Name, Syntax
from sima_segment.rules.times import duration
from sima_segment.rules.tree import Aggregate, And, Events, Function, Node

_NARROWING: Final = ("within", "filter")
_FIGURES: Final = frozenset(Function)


def events_value(context: Context, chain: tuple[Call, ...]) -> Node:
    """Return the figure that a chain of calls asks for; its first call is `events`."""
    first, last = chain[0], chain[-1]
    if not context.outside_filter(first.at):
        return context.report("a filter cannot ask about other events", last.at)
    events = Events(context.name_argument(first, "order_completed"))
    for step in chain[1:-1]:
        events = _narrowed(context, events, step)
    return _figure(context, events, last)


def _narrowed(context: Context, events: Events, step: Call) -> Events:
    if step.function == "within":
        return _within(context, events, step)
    if step.function == "filter":
        return _filtered(context, events, step)
    if step.function in _FIGURES:
        context.report(f"{step.function}() gives a value; nothing more can be asked about the events", step.at)
    else:
        context.note(words.unknown_event_method(step.function, step.at))
    return events


def _within(context: Context, events: Events, step: Call) -> Events:
    if events.within is not None:
        context.report("within() is already given", step.at)
    return replace(events, within=context.read_argument(step, "90d", duration))


def _filtered(context: Context, events: Events, step: Call) -> Events:
    match step.arguments:
        case (Name(_, variable), condition):
            return _with_condition(context, events, variable, condition)
        case _:
            message = "filter() takes a name for the event, and a condition"
            context.report(message, step.at, 'filter(e, e.category == "books")')
            return events


def _with_condition(context: Context, events: Events, variable: str, syntax: Syntax) -> Events:
    with context.filtering(variable):
        condition = context.typed(syntax, ColumnType.BOOLEAN)
    return replace(events, condition=And((events.condition, condition)) if events.condition else condition)


def _figure(context: Context, events: Events, last: Call) -> Node:
    if last.of is None or last.function in _NARROWING:
        if last.of is not None:
            _narrowed(context, events, last)
        message = "say what to ask about the events: count(), exists(), sum() or another"
        return context.report(message, last.at, "exists()")
    if last.function not in _FIGURES:
        return context.note(words.unknown_event_method(last.function, last.at))
    function = Function(last.function)
    if function not in (Function.COUNT, Function.EXISTS):
        return Aggregate(function, events, context.name_argument(last, "total"))
    if last.arguments:
        return context.report(f"{function}() takes nothing; narrow the events with filter()", last.at)
    return Aggregate(function, events)
