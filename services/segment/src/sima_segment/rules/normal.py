"""The normal form that the planner works on: `!` only before what cannot be taken apart, no `&&` directly in `&&`."""

from itertools import chain
from typing import Final

from sima_segment.rules.tree import Aggregate, And, Compare, Constant, Function, Node, Not, Or

_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_ANY: Final = frozenset({(">", 0), (">=", 1), ("!=", 0)})
_NONE: Final = frozenset({("<=", 0), ("<", 1), ("==", 0)})


def normal(node: Node) -> Node:
    """Return a condition that holds for the same people."""
    match node:
        case And(terms):
            return _flat(And, terms)
        case Or(terms):
            return _flat(Or, terms)
        case Not(of):
            return _negated(of)
        case Compare():
            return _existence(node)
        case _:
            return node


def _flat(kind: type[And] | type[Or], terms: tuple[Node, ...]) -> Node:
    inner = [normal(each) for each in terms]
    flat = chain.from_iterable(each.terms if isinstance(each, kind) else (each,) for each in inner)
    return _reduced(kind, list(dict.fromkeys(flat)))


def _reduced(kind: type[And] | type[Or], terms: list[Node]) -> Node:
    """Join terms without those that change nothing: each would be one more join over everybody."""
    constants = [each for each in terms if _is_flag(each)]
    others = [each for each in terms if not _is_flag(each)]
    deciding = [each for each in constants if isinstance(each, Constant) and each.value is (kind is Or)]
    if deciding or not others:
        return (deciding or constants)[0]
    return kind(tuple(others)) if len(others) > 1 else others[0]


def _is_flag(node: Node) -> bool:
    return isinstance(node, Constant) and isinstance(node.value, bool)


def _negated(node: Node) -> Node:
    match node:
        case Not(of):
            return normal(of)
        case And(terms):
            return _flat(Or, tuple(Not(each) for each in terms))
        case Or(terms):
            return _flat(And, tuple(Not(each) for each in terms))
        case Constant(bool() as value, kind):
            return Constant(not value, kind)
        case Compare():
            found = _existence(node)
            return Not(found) if found is node else _negated(found)
        case _:
            return Not(node)


def _existence(node: Compare) -> Node:
    """Return `exists()` for a count that is compared with nothing or with one: it needs no counting."""
    match node:
        case Compare(sign, Aggregate(Function.COUNT, events), Constant(value)):
            asked = (sign, value)
        case Compare(sign, Constant(value), Aggregate(Function.COUNT, events)):
            asked = (_MIRRORED[sign], value)
        case _:
            return node
    exists = Aggregate(Function.EXISTS, events)
    return exists if asked in _ANY else Not(exists) if asked in _NONE else node
