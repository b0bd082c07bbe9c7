"""Many rules for some people, in one statement.

For a few people, planning a statement per rule costs far more than running it. So everything that any rule reads about
a person is gathered into one wide row, in which the truth of every rule is one more column. `compile_rule` answers the
same for everybody; that both agree is a law.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import ibis
import ibis.expr.types as ir

from sima_segment.rules import schema
from sima_segment.rules.catalogue import Catalogue, Slice, slice_of
from sima_segment.rules.compiler import KEPT, CompiledRule
from sima_segment.rules.dialect import column_sql, literal
from sima_segment.rules.normal import normal
from sima_segment.rules.references import references, walk
from sima_segment.rules.schema import GRANTED, PERSON, PURPOSE, SEGMENT
from sima_segment.rules.tables import figure_alone, nothing_of, traits
from sima_segment.rules.tree import Aggregate, Consent, Events, Member, Node, Rule
from sima_segment.rules.values import Scope, missing, truth

# No condition stands beside the people: with one on another column, DuckDB goes through the whole table instead of
# looking the people up in the index.
_SOME_OF = '(SELECT {columns} FROM "{table}" AS t0 SEMI JOIN {people} USING (person){rest})'


# What DuckDB takes to plan a chain of joins grows with the cube of its length.
_PARTS_AT_ONCE = 15


@dataclass(frozen=True, slots=True)
class _Figure:
    """A column of the wide row that is worked out from the events of one name."""

    event: str
    sql: str

    @property
    def column(self) -> str:
        """Its name; figures that are the same share it."""
        return f"_figure_{blake2b(f'{self.event} {self.sql}'.encode(), digest_size=10).hexdigest()}"


@dataclass(frozen=True, slots=True)
class _Judged:
    """The truth of a rule (or missing) as a column over the wide row `t0`, and the columns that it reads there."""

    sql: str
    figures: tuple[_Figure, ...]
    traits: tuple[str, ...]
    purposes: frozenset[str]


def compile_together(
    rules: Mapping[str, Rule], levels: Iterable[Sequence[str]], catalogue: Catalogue, people: str
) -> CompiledRule:
    """Return SQL that answers who of some people is in which segment, as columns `segment` and `person`.

    Args:
        rules: The rules of all segments, by name.
        levels: The segments in groups: a rule refers only to segments of groups before its own.
        catalogue: Which columns there are.
        people: Name of the table of the people, each once.
    """
    judged = {name: _judged(rule, slice_of(catalogue, references(rule))) for name, rule in rules.items()}
    row = _wide_row(judged.values(), people)
    for level in levels:
        truths = (f'{judged[name].sql} AS "{schema.member_column(name)}"' for name in level)
        row = f"SELECT *, {', '.join(truths)} FROM ({row}) AS t0"
    names = ", ".join(map(literal, rules))
    columns = ", ".join(f'"{schema.member_column(name)}"' for name in rules)
    answers = f"SELECT {PERSON}, unnest([{names}]) AS {SEGMENT}, unnest([{columns}]) AS holds FROM ({row})"
    looks_at_events = any(each.figures for each in judged.values())
    return CompiledRule(f"SELECT {SEGMENT}, {PERSON} FROM ({answers}) WHERE holds", depends_on_time=looks_at_events)


def _wide_row(judged: Iterable[_Judged], people: str) -> str:
    """Return the SQL of one row per person, with all that the rules read."""
    columns = {trait for each in judged for trait in each.traits}
    purposes = {purpose for each in judged for purpose in each.purposes}
    figures: dict[str, set[_Figure]] = defaultdict(set)
    for each in judged:
        for figure in each.figures:
            figures[figure.event].add(figure)
    parts = [_traits(columns, people), _consents(purposes, people)]
    parts += [_figures(event, of_event, people) for event, of_event in sorted(figures.items())]
    everybody = _SOME_OF.format(columns=PERSON, table=schema.PEOPLE, people=people, rest="")
    return _joined(everybody, [part for part in parts if part], people)


def _joined(rows: str, parts: Sequence[str], people: str) -> str:
    """Return the SQL of rows with what the parts say about their people, in groups once there are many parts."""
    if len(parts) > _PARTS_AT_ONCE:
        groups = (parts[start : start + _PARTS_AT_ONCE] for start in range(0, len(parts), _PARTS_AT_ONCE))
        return _joined(rows, [f"({_joined(people, group, people)})" for group in groups], people)
    return f"SELECT * FROM {rows}" + "".join(f" LEFT JOIN {part} USING ({PERSON})" for part in parts)


def _traits(columns: Iterable[str], people: str) -> str:
    names = "".join(f', "{column}"' for column in sorted(columns))
    return _SOME_OF.format(columns=PERSON + names, table=schema.TRAITS, people=people, rest="") if names else ""


def _consents(purposes: Iterable[str], people: str) -> str:
    flags = "".join(
        f', bool_or({GRANTED}) FILTER ({PURPOSE} = {literal(purpose)}) AS "{schema.consent_column(purpose)}"'
        for purpose in sorted(purposes)
    )
    rest = f" GROUP BY {PERSON}"
    return _SOME_OF.format(columns=PERSON + flags, table=schema.CONSENTS, people=people, rest=rest) if flags else ""


def _figures(event: str, figures: Iterable[_Figure], people: str) -> str:
    columns = "".join(f', {sql} AS "{column}"' for column, sql in sorted((each.column, each.sql) for each in figures))
    table, rest = schema.event_table(event), f" GROUP BY {PERSON}"
    return _SOME_OF.format(columns=PERSON + columns, table=table, people=people, rest=rest)


@lru_cache(maxsize=KEPT)
def _judged(rule: Rule, columns: Slice) -> _Judged:
    catalogue = columns.catalogue()
    condition = normal(rule.condition)
    nodes = [node for node in walk(condition) if not isinstance(node, Events)]
    figures = dict(_figures_of(nodes, catalogue))
    known = traits(catalogue)
    flags = {node: column for node in nodes if (column := _flag(node))}
    types = dict(known.schema().items()) | {figure.column: dtype for figure, dtype in figures.values()}
    row = ibis.table(types | dict.fromkeys(flags.values(), "boolean"), name="wide")
    values = {node: row[column].fill_null(False) for node, column in flags.items()}
    values |= {node: _value(node, row, figures) for node in nodes if isinstance(node, Aggregate)}
    holds = truth(condition, Scope(row, catalogue.traits, schema.trait_column, values))
    return _Judged(
        column_sql(row.select(holds=holds)),
        tuple(figure for figure, _ in figures.values()),
        tuple(column for column in known.columns if column != PERSON),
        frozenset(node.purpose for node in nodes if isinstance(node, Consent)),
    )


def _figures_of(nodes: Iterable[Node], catalogue: Catalogue) -> Iterator[tuple[Node, tuple[_Figure, object]]]:
    for node in nodes:
        if isinstance(node, Aggregate) and (found := figure_alone(node, catalogue)) is not None:
            table, figure = found
            yield node, (_Figure(node.events.name, column_sql(table.aggregate(figure=figure))), figure.type())


def _flag(node: Node) -> str | None:
    match node:
        case Member(segment):
            return schema.member_column(segment)
        case Consent(purpose):
            return schema.consent_column(purpose)
        case _:
            return None


def _value(node: Aggregate, row: ir.Table, figures: Mapping[Node, tuple[_Figure, object]]) -> ir.Value:
    nothing = nothing_of(node)
    absent = missing(schema.ColumnType.NUMBER) if nothing is None else ibis.literal(nothing)
    if node not in figures:
        return absent
    column = row[figures[node][0].column]
    return column if nothing is None else column.fill_null(nothing)
