"""What a condition can come to for a person about whom some facts are absent.

The planner asks it about people without any row in a table. If the condition cannot hold for them, the table's own
people are all that need to be looked at; if it must hold, it is enough to find those for whom it does not. The answer
may have too many outcomes, never too few.
"""

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from math import fmod, isfinite
from typing import Any, Final, TypeAlias, cast

from sima_segment.rules.tree import (
    Aggregate,
    And,
    Arithmetic,
    Choice,
    Compare,
    Consent,
    Constant,
    Function,
    Has,
    Member,
    Node,
    Not,
    OneOf,
    Or,
    TextTest,
    Trait,
)

Truths: TypeAlias = frozenset[bool | None]
Absent: TypeAlias = Callable[[Trait | Aggregate | Member | Consent], bool]

Value: TypeAlias = object
"""A constant, None for missing, or `_ANY` for whatever the data says."""

_ANY: Final = object()
_ALL: Final[Truths] = frozenset({True, False, None})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CALCULATE: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": fmod,
}  # fmt: skip


def outcomes(node: Node, absent: Absent) -> Truths:
    """Return what a condition can come to for a person without the facts that `absent` names; None is missing."""
    match node:
        case And(terms):
            return reduce(_both, (outcomes(each, absent) for each in terms))
        case Or(terms):
            return _negated(reduce(_both, (_negated(outcomes(each, absent)) for each in terms)))
        case Not(of):
            return _negated(outcomes(of, absent))
        case Choice():
            return frozenset[bool | None]().union(*(outcomes(each, absent) for each in _branches(node, absent)))
        case Compare(sign, left, right):
            return _compared(sign, _value(left, absent), _value(right, absent))
        case _:
            return _of_fact(node, absent)


def _of_fact(node: Node, absent: Absent) -> Truths:
    match node:
        case Has(Trait() as trait) if absent(trait):
            return frozenset({False})
        case Member() | Consent() if absent(node):
            return frozenset({False})
        case OneOf(value, options):
            return _among(_value(value, absent), options)
        case TextTest(_, text, part) if None in (_value(text, absent), _value(part, absent)):
            return frozenset({None})
        case Constant() | Trait() | Aggregate():
            return _ALL if (known := _value(node, absent)) is _ANY else frozenset({cast(bool | None, known)})
        case _:
            return _ALL


def _both(one: Truths, other: Truths) -> Truths:
    return frozenset(False if False in (a, b) else None if None in (a, b) else True for a in one for b in other)


def _negated(truths: Truths) -> Truths:
    return frozenset(None if each is None else not each for each in truths)


def _branches(choice: Choice, absent: Absent) -> tuple[Node, ...]:
    truths = outcomes(choice.condition, absent)
    then = (choice.then,) if True in truths else ()
    return (*then, choice.otherwise) if truths - {True} else then


def _compared(sign: str, left: Value, right: Value) -> Truths:
    if left is None or right is None:
        return frozenset({None})
    return _ALL if _ANY in (left, right) else frozenset({_COMPARE[sign](left, right)})


def _among(value: Value, options: tuple[Constant, ...]) -> Truths:
    if value is None:
        return frozenset({None})
    return _ALL if value is _ANY else frozenset({any(value == each.value for each in options)})


def _value(node: Node, absent: Absent) -> Value:
    """Return the one value that a node can have, None if it can only be missing, else `_ANY`."""
    match node:
        case Constant(value):
            return value
        case Trait() if absent(node):
            return None
        case Aggregate(function) if absent(node):
            return _of_nothing(function)
        case Arithmetic(sign, left, right):
            return _calculated(sign, _value(left, absent), _value(right, absent))
        case Choice():
            values = {_value(each, absent) for each in _branches(node, absent)}
            return values.pop() if len(values) == 1 else _ANY
        case _:
            return _ANY


def _of_nothing(function: Function) -> int | bool | None:
    return {Function.COUNT: 0, Function.SUM: 0, Function.EXISTS: False}.get(function)


def _calculated(sign: str, left: Value, right: Value) -> Value:
    if left is None or right is None or (sign in "/%" and right == 0):
        return None
    if _ANY in (left, right):
        return _ANY
    result = _CALCULATE[sign](float(cast(float, left)), float(cast(float, right)))
    return result if isfinite(result) else _ANY
