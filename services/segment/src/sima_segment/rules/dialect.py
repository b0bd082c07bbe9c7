"""Ibis expressions to DuckDB's SQL, and the one parameter that the SQL has: the instant of evaluation."""

from datetime import timedelta
from decimal import Decimal
from math import isfinite
from typing import Final

import ibis
import ibis.expr.datashape as ds
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.rules as rlz
import ibis.expr.types as ir
import sqlglot.expressions as sge
from ibis.backends.sql.compilers import DuckDBCompiler

INSTANT: Final = "instant"


class InstantParameter(ops.Value):  # type: ignore[misc]
    """The instant of evaluation, bound when the SQL is executed."""

    shape = ds.scalar
    dtype = dt.timestamp


class ListsShareAValue(ops.Value):  # type: ignore[misc]
    """Whether two lists share a value; missing if one of the lists is, where their intersection would be empty."""

    left: ops.Value[dt.Array]
    right: ops.Value[dt.Array]

    shape = rlz.shape_like("args")
    dtype = dt.boolean


class _Compiler(DuckDBCompiler):  # type: ignore[misc]
    __slots__ = ()

    def visit_NonNullLiteral(  # noqa: N802 - the compiler finds it by this name
        self, op: ops.Literal, *, value: object, dtype: dt.DataType
    ) -> sge.Expression | None:
        """Write fractions with an exponent: without one, DuckDB takes them for decimals, which overflow."""
        if isinstance(value, float) and isfinite(value):
            number: sge.Expression = sge.Literal.number(f"{Decimal(repr(value)):e}")
            return number
        found: sge.Expression | None = super().visit_NonNullLiteral(op, value=value, dtype=dtype)
        return found

    def visit_InstantParameter(self, _op: InstantParameter) -> sge.Expression:  # noqa: N802 - the compiler finds it by this name
        moment: sge.Expression = self.cast(sge.Parameter(this=sge.Var(this=INSTANT)), dt.timestamp)
        return moment

    def visit_ListsShareAValue(  # noqa: N802 - the compiler finds it by this name
        self, _op: ListsShareAValue, *, left: sge.Expression, right: sge.Expression
    ) -> sge.Expression:
        shared: sge.Expression = self.f.list_has_any(left, right)
        return shared


_COMPILER: Final = _Compiler()


def instant(back: timedelta = timedelta()) -> ir.Value:
    """Return the instant of evaluation, or one that lies `back` before it."""
    now = InstantParameter().to_expr()
    return now - ibis.interval(seconds=int(back.total_seconds())) if back else now


def share_a_value(left: ir.Value, right: ir.Value) -> ir.Value:
    """Return whether two lists share a value; missing if one of the lists is."""
    return ListsShareAValue(left, right).to_expr()


@ibis.udf.agg.builtin  # type: ignore[untyped-decorator]
def fsum(numbers: float) -> float:  # type: ignore[empty-body]
    """DuckDB's sum that carries along what each addition loses, so that the order of rows hardly matters."""


@ibis.udf.agg.builtin  # type: ignore[untyped-decorator]
def favg(numbers: float) -> float:  # type: ignore[empty-body]
    """Average by such a sum."""


@ibis.udf.scalar.builtin(name="round")  # type: ignore[untyped-decorator]
def nearest(number: float) -> float:  # type: ignore[empty-body]
    """The nearest whole number, as a double; that of Ibis itself becomes an integer."""


def column_sql(table: ir.Table) -> str:
    """Return the SQL of the only column of an expression over one table, which is `t0` there."""
    [column] = _COMPILER.to_sqlglot(table).expressions
    sql: str = column.unalias().sql("duckdb")
    return sql


def literal(text: str) -> str:
    """Return a text as it stands in SQL."""
    return "'" + text.replace("'", "''") + "'"


def to_sql(table: ir.Table) -> tuple[str, bool]:
    """Return the SQL of a table expression, with its tables unqualified, and whether it depends on the instant."""
    tree = _COMPILER.to_sqlglot(table)
    return tree.sql("duckdb"), tree.find(sge.Parameter) is not None
