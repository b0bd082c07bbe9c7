"""Functions of plugins: rule text that takes the place of the call."""

import inspect

import structlog
from sima_sdk.rules import SegmentFunction

from sima_segment.rules.parser import parse_syntax
from sima_segment.rules.problems import RuleError
from sima_segment.rules.syntax import Call, Literal, LiteralValue, Name, Syntax, Unary

_log = structlog.get_logger(__name__)


class MacroError(ValueError):
    """A call of a plugin's function does not give a rule; the message says why."""


def function_name(call: Call) -> str:
    """Return the full name of the function that a call may mean: `plugin.function`; empty if it can mean none."""
    match call.of:
        case None:
            return call.function
        case Name(_, plugin):
            return f"{plugin}.{call.function}"
        case _:
            return ""


def expand(call: Call, function: SegmentFunction) -> Syntax:
    """Return what a call stands for; everything in it stands at the place of the call.

    Raises:
        MacroError: The arguments do not fit, or the function does not return a rule.
    """
    text = _text(function, [_argument(each) for each in call.arguments])
    try:
        return parse_syntax(text, call.at)
    except RuleError as error:
        raise MacroError(f"{function.name}() expands to what is no rule: {error.problems[0].message}") from error


def _argument(argument: Syntax) -> LiteralValue:
    match argument:
        case Literal(_, value):
            return value
        case Unary(_, "-", Literal(_, int() | float() as number)) if not isinstance(number, bool):
            return -number
        case _:
            raise MacroError("a function of a plugin takes values written out: texts, numbers, true or false")


def _text(function: SegmentFunction, arguments: list[LiteralValue]) -> str:
    _check_count(function, arguments)
    try:
        text: object = function.expand(*arguments)
    except ValueError as error:
        raise MacroError(f"{function.name}() does not take these arguments: {error}") from error
    except Exception as error:
        _log.exception("segment_function_failed", function=function.name)
        raise MacroError(f"{function.name}() failed with {type(error).__name__}; does it take such values?") from error
    if not isinstance(text, str):
        raise MacroError(f"{function.name}() returned {type(text).__name__}, not the text of a rule")
    return text


def _check_count(function: SegmentFunction, arguments: list[LiteralValue]) -> None:
    signature = inspect.signature(function.expand)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise MacroError(f"{function.name} is called as {function.name}{_shown(signature)}") from error


def _shown(signature: inspect.Signature) -> str:
    return "(" + ", ".join(signature.parameters) + ")"
