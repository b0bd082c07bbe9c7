"""What a condition can come to for a person about whom some facts are absent.

The planner asks it whether a condition can hold without any rows of a table: if not, the table's own people are all
that need to be looked at. The answer may only err towards "it can".
"""

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from math import fmod, isfinite
from typing import Any, Final

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
    Or,
    Trait,
)

Truths = frozenset[bool | None]
Absent = Callable[[Trait | Aggregate | Member | Consent], bool]

_ANY: Final = object()
_TWO: Final[Truths] = frozenset({True, False})
_ALL: Final[Truths] = frozenset({True, False, None})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CALCULATE: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": fmod,
}  # fmt: skip


def can_hold(node: Node, absent: Absent) -> bool:
    """Whether a condition can be true for a person without the facts that `absent` names."""
    return True in _truths(node, absent)


def _truths(node: Node, absent: Absent) -> Truths:
    match node:
        case And(terms):
            return reduce(_both, (_truths(each, absent) for each in terms))
        case Or(terms):
            return _negated(reduce(_both, (_negated(_truths(each, absent)) for each in terms)))
        case Not(of):
            return _negated(_truths(of, absent))
        case Choice():
            return frozenset[bool | None]().union(*(_truths(each, absent) for each in _branches(node, absent)))
        case Compare(sign, left, right):
            return _compared(sign, _value(left, absent), _value(right, absent))
        case Has(Trait() as trait):
            return frozenset({False}) if absent(trait) else _TWO
        case Member() | Consent():
            return frozenset({False}) if absent(node) else _TWO
        case Constant() | Trait() | Aggregate():
            value = _value(node, absent)
            return _ALL if value is _ANY else frozenset({value})
        case _:
            return _ALL


def _both(one: Truths, other: Truths) -> Truths:
    return frozenset(False if False in (a, b) else None if None in (a, b) else True for a in one for b in other)


def _negated(truths: Truths) -> Truths:
    return frozenset(None if each is None else not each for each in truths)


def _branches(choice: Choice, absent: Absent) -> tuple[Node, ...]:
    truths = _truths(choice.condition, absent)
    then = (choice.then,) if True in truths else ()
    return (*then, choice.otherwise) if truths - {True} else then


def _compared(sign: str, left: Any, right: Any) -> Truths:
    if left is None or right is None:
        return frozenset({None})
    return _ALL if _ANY in (left, right) else frozenset({_COMPARE[sign](left, right)})


def _value(node: Node, absent: Absent) -> Any:
    """Return the one value that a node can have, None if it can only be missing, else `_ANY`."""
    match node:
        case Constant(value):
            return value
        case Trait():
            return None if absent(node) else _ANY
        case Aggregate(function):
            return _of_nothing(function) if absent(node) else _ANY
        case Arithmetic(sign, left, right):
            return _calculated(sign, _value(left, absent), _value(right, absent))
        case Choice():
            values = {_value(each, absent) for each in _branches(node, absent)}
            return values.pop() if len(values) == 1 else _ANY
        case _:
            return _ANY


def _of_nothing(function: Function) -> int | bool | None:
    return {Function.COUNT: 0, Function.SUM: 0, Function.EXISTS: False}.get(function)


def _calculated(sign: str, left: Any, right: Any) -> Any:
    if left is None or right is None or (sign in "/%" and right == 0):
        return None
    if _ANY in (left, right):
        return _ANY
    result = _CALCULATE[sign](float(left), float(right))
    return result if isfinite(result) else None
