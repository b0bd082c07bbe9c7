"""The value of a node as an Ibis expression, over a scope that says where traits, properties and figures stand.

Truth has three values here as in SQL: true, false and missing (null).
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce, singledispatch
from typing import Final

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from sima_segment.rules.catalogue import Columns
from sima_segment.rules.dialect import share_a_value
from sima_segment.rules.schema import ColumnType
from sima_segment.rules.tree import (
    Aggregate,
    And,
    Arithmetic,
    Choice,
    Compare,
    Consent,
    Constant,
    Has,
    Member,
    Node,
    Not,
    OccurredAt,
    OneOf,
    Or,
    Property,
    TextTest,
    Trait,
    divides_by_data,
    of_data,
    static_type,
)

IBIS_TYPES: Final = {
    ColumnType.NUMBER: "float64",
    ColumnType.TEXT: "string",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIME: "timestamp",
    ColumnType.NUMBERS: "array<float64>",
    ColumnType.TEXTS: "array<string>",
    ColumnType.BOOLEANS: "array<boolean>",
    ColumnType.TIMES: "array<timestamp>",
}
_SCALARS: Final = (ColumnType.NUMBER, ColumnType.TEXT, ColumnType.BOOLEAN, ColumnType.TIME)
_ORDERED: Final = (ColumnType.NUMBER, ColumnType.TEXT, ColumnType.TIME)
_OPERATORS: Final[Mapping[str, type[ops.Binary]]] = {
    "==": ops.Equals, "<": ops.Less, "<=": ops.LessEqual, ">": ops.Greater, ">=": ops.GreaterEqual,
    "+": ops.Add, "-": ops.Subtract, "*": ops.Multiply, "/": ops.Divide, "%": ops.Modulus,
}  # fmt: skip
_TEXT_TESTS: Final[Mapping[str, Callable[[ir.Value, ir.Value], ir.Value]]] = {
    "startsWith": lambda text, part: text.startswith(part),
    "endsWith": lambda text, part: text.endswith(part),
    "contains": lambda text, part: text.contains(part),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the values of a row stand.

    Attributes:
        table: The rows.
        columns: Which columns each trait, or each property, has in them.
        column_name: How such a column is called.
        values: Everything else that a row has: figures over events, memberships, the time of an event.
    """

    table: ir.Table
    columns: Mapping[str, Columns]
    column_name: Callable[[str, ColumnType], str]
    values: Mapping[Node, ir.Value]

    def column(self, node: Trait | Property, kind: ColumnType) -> ir.Value | None:
        """Return the column of one type; None if there is none, which means missing."""
        has_it = kind in self.columns.get(node.name, ())
        return self.table[self.column_name(node.name, kind)] if has_it else None


@singledispatch
def truth(node: Node, scope: Scope) -> ir.Value:
    """Return a node as true, false or missing."""
    return scalar(node, ColumnType.BOOLEAN, scope)


@truth.register
def _(node: And, scope: Scope) -> ir.Value:
    return reduce(operator.and_, (truth(each, scope) for each in node.terms))


@truth.register
def _(node: Or, scope: Scope) -> ir.Value:
    return reduce(operator.or_, (truth(each, scope) for each in node.terms))


@truth.register
def _(node: Not, scope: Scope) -> ir.Value:
    return ~truth(node.of, scope)


@truth.register
def _(node: Compare, scope: Scope) -> ir.Value:
    return _compare(node.operator, node.left, node.right, scope)


@truth.register
def _(node: OneOf, scope: Scope) -> ir.Value:
    return _one_of(node.value, node.options, scope)


@truth.register
def _(node: TextTest, scope: Scope) -> ir.Value:
    return _text_test(node.function, node.text, node.part, scope)


@truth.register
def _(node: Has, scope: Scope) -> ir.Value:
    known = [column.notnull() for kind in ColumnType if (column := scope.column(node.of, kind)) is not None]
    return reduce(operator.or_, known) if known else ibis.literal(False)


def scalar(node: Node, kind: ColumnType, scope: Scope) -> ir.Value:
    """Return a node as one value of a type; missing if the data has another type there, or many values."""
    match node:
        case Constant(value):
            return _literal(value, kind)
        case Trait() | Property():
            column = scope.column(node, kind)
            return missing(kind) if column is None else column
        case Arithmetic():
            return _arithmetic(node, scope)
        case Choice(condition, then, otherwise):
            return _choose(condition, scalar(then, kind, scope), scalar(otherwise, kind, scope), scope)
        case OccurredAt() | Aggregate() | Member() | Consent():
            return scope.values[node]
        case _:
            return truth(node, scope)


def _choose(condition: Node, then: ir.Value, otherwise: ir.Value, scope: Scope) -> ir.Value:
    return ibis.cases((truth(condition, scope), then), else_=otherwise)


def missing(kind: ColumnType) -> ir.Value:
    """Return a missing value of a type."""
    return ibis.null(IBIS_TYPES[kind])


def _literal(value: str | float | bool | datetime, kind: ColumnType) -> ir.Value:
    if isinstance(value, datetime):
        return ibis.literal(value.astimezone(UTC).replace(tzinfo=None), type="timestamp")
    return ibis.literal(value) if isinstance(value, int) else ibis.literal(value, type=IBIS_TYPES[kind])


def _apply(sign: str, left: ir.Value, right: ir.Value) -> ir.Value:
    """Return an operation as it is; Python's own operators would make `== null` the question whether it is null."""
    return _OPERATORS[sign](left, right).to_expr()


def _arithmetic(node: Arithmetic, scope: Scope) -> ir.Value:
    left, right = (scalar(side, ColumnType.NUMBER, scope).cast("float64") for side in (node.left, node.right))
    if divides_by_data(node):
        right = right.nullif(0)
    return _apply(node.operator, left, right)


def _compare(sign: str, left: Node, right: Node, scope: Scope) -> ir.Value:
    """Compare; where a side has many values, it holds if it holds for any of them (`!=`: if `==` holds for none)."""
    if sign == "!=":
        return ~_compare("==", left, right, scope)
    if isinstance(left, Choice) and of_data(left):
        return _distributed(left, lambda each: _compare(sign, each, right, scope), scope)
    if isinstance(right, Choice) and of_data(right):
        return _distributed(right, lambda each: _compare(sign, left, each, scope), scope)
    kind = static_type(left) or static_type(right)
    kinds = (kind,) if kind else _SCALARS if sign == "==" else _ORDERED
    return _any_known(each for kind in kinds for each in _comparisons(sign, left, right, kind, scope))


def _distributed(choice: Choice, test: Callable[[Node], ir.Value], scope: Scope) -> ir.Value:
    return _choose(choice.condition, test(choice.then), test(choice.otherwise), scope)


def _comparisons(sign: str, left: Node, right: Node, kind: ColumnType, scope: Scope) -> Iterable[ir.Value]:
    for one, one_is_many in _forms(left, kind, scope):
        for other, other_is_many in _forms(right, kind, scope):
            yield _compare_forms(sign, one, one_is_many, other, other_is_many)


def _forms(node: Node, kind: ColumnType, scope: Scope) -> list[tuple[ir.Value, bool]]:
    """Return the columns in which values of this type can stand, each with whether it holds lists."""
    if not isinstance(node, Trait | Property):
        return [(scalar(node, kind, scope), False)]
    columns = [(scope.column(node, kind), False), (scope.column(node, kind.plural), True)]
    return [(column, many) for column, many in columns if column is not None]


def _compare_forms(sign: str, left: ir.Value, left_many: bool, right: ir.Value, right_many: bool) -> ir.Value:
    if sign == "==" and left_many and right_many:
        return share_a_value(left, right)
    if sign == "==" and (left_many or right_many):
        return left.contains(right) if left_many else right.contains(left)
    if left_many:
        left = left.mins() if sign[0] == "<" else left.maxs()
    if right_many:
        right = right.maxs() if sign[0] == "<" else right.mins()
    return _apply(sign, left, right)


def _one_of(value: Node, options: tuple[Constant, ...], scope: Scope) -> ir.Value:
    if isinstance(value, Choice) and of_data(value):
        return _distributed(value, lambda each: _one_of(each, options, scope), scope)
    by_kind: dict[ColumnType, list[ir.Value]] = {}
    for each in options:
        by_kind.setdefault(each.kind, []).append(_literal(each.value, each.kind).cast(IBIS_TYPES[each.kind]))
    return _any_known(
        _among(form, many, by_kind[kind]) for kind in by_kind for form, many in _forms(value, kind, scope)
    )


def _among(form: ir.Value, many: bool, options: list[ir.Value]) -> ir.Value:
    return share_a_value(form, ibis.array(options)) if many else form.isin(options)


def _text_test(function: str, text: Node, part: Node, scope: Scope) -> ir.Value:
    if isinstance(text, Choice) and of_data(text):
        return _distributed(text, lambda each: _text_test(function, each, part, scope), scope)
    test = _TEXT_TESTS[function]
    wanted = scalar(part, ColumnType.TEXT, scope)
    forms = _forms(text, ColumnType.TEXT, scope)
    return _any_known(_any(form, test, wanted) if many else test(form, wanted) for form, many in forms)


def _any(texts: ir.Value, test: Callable[[ir.Value, ir.Value], ir.Value], wanted: ir.Value) -> ir.Value:
    return texts.map(lambda each: test(each, wanted)).anys()


def _any_known(tests: Iterable[ir.Value]) -> ir.Value:
    """Return true if any test is true, else false if any is false, else missing."""
    found = list(tests)
    if not found:
        return missing(ColumnType.BOOLEAN)
    return found[0] if len(found) == 1 else ibis.greatest(*found)
