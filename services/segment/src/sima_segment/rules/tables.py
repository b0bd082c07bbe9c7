"""The tables that conditions read, each with one row per person: traits, grouped events, members, consents."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple

import ibis
import ibis.expr.types as ir

from sima_segment.rules import schema
from sima_segment.rules.catalogue import Catalogue, Columns
from sima_segment.rules.dialect import favg, fsum, instant, nearest
from sima_segment.rules.schema import OCCURRED_AT, PERSON, ColumnType
from sima_segment.rules.tree import Aggregate, Consent, Events, Function, Member, Node, OccurredAt, Property, Trait
from sima_segment.rules.values import IBIS_TYPES, Scope, truth

DECIMALS: Final = 6
"""Sums and averages are rounded to this many decimals: the last bits of a sum of fractions depend on the order of the
rows, and no threshold of 100.00 may depend on it."""
LARGE: Final = 1e8
"""From here on a double has no six decimals to spare, and sums and averages are rounded to `DECIMALS_OF_LARGE`."""
DECIMALS_OF_LARGE: Final = 2

_PERSON_TYPE: Final = "uuid"  # only a name for the compiler: no SQL depends on it


class Source(NamedTuple):
    """A table, and what of it: the events of a name, a segment, a purpose; nothing for the traits."""

    table: str
    what: str


@dataclass(frozen=True, slots=True)
class PersonTable:
    """At most one row per person.

    Attributes:
        table: The rows, with a column `person`.
        values: The column in which the value of a figure, membership or consent stands.
    """

    table: ir.Table
    values: Mapping[Node, str]


def source_of(node: Node, catalogue: Catalogue) -> Source | None:
    """Return the table that a node reads; None if it reads none, or one that does not exist yet."""
    match node:
        case Trait(name):
            return Source(schema.TRAITS, "") if catalogue.traits.get(name) else None
        case Aggregate(_, events):
            return Source(schema.event_table(events.name), events.name) if events.name in catalogue.events else None
        case Member(segment):
            return Source(schema.MEMBERS, segment)
        case Consent(purpose):
            return Source(schema.CONSENTS, purpose)
        case _:
            return None


def people() -> ir.Table:
    """Return the table of all people."""
    return ibis.table({PERSON: _PERSON_TYPE}, name=schema.PEOPLE)


def person_table(source: Source, nodes: Sequence[Node], catalogue: Catalogue, prefix: str) -> PersonTable:
    """Return the table of a source with what some nodes need of it; its columns begin with the prefix, or have `__`."""
    if source.table == schema.TRAITS:
        return PersonTable(traits(catalogue), {})
    if source.table == schema.MEMBERS:
        return _flagged(members(source.what), nodes, prefix)
    if source.table == schema.CONSENTS:
        return _flagged(granted(source.what), nodes, prefix)
    figures = dict.fromkeys(node for node in nodes if isinstance(node, Aggregate))
    return _figures(source.what, tuple(figures), catalogue, prefix)


def members(segment: str) -> ir.Table:
    """Return the people of another segment."""
    table = ibis.table({schema.SEGMENT: "string", PERSON: _PERSON_TYPE}, name=schema.MEMBERS)
    return table.filter(table[schema.SEGMENT] == segment).select(PERSON)


def granted(purpose: str) -> ir.Table:
    """Return the people who granted a purpose."""
    types = {PERSON: _PERSON_TYPE, schema.PURPOSE: "string", schema.GRANTED: "boolean"}
    table = ibis.table(types, name=schema.CONSENTS)
    return table.filter(table[schema.PURPOSE] == purpose, table[schema.GRANTED]).select(PERSON)


def happened(sets: Sequence[Events], catalogue: Catalogue) -> ir.Table:
    """Return the person of every event that is in one of the sets, which are of one name; people can repeat."""
    table = _events(sets[0].name, catalogue)
    seen = table.filter(table[OCCURRED_AT] <= instant())
    conditions = [_conditions(seen, each, catalogue) for each in sets]
    wanted = [reduce(operator.and_, each) for each in conditions if each]
    chosen = seen.filter(reduce(operator.or_, wanted)) if len(wanted) == len(sets) else seen
    return chosen.select(PERSON)


def traits(catalogue: Catalogue) -> ir.Table:
    """Return the table of traits."""
    return ibis.table({PERSON: _PERSON_TYPE} | _types(catalogue.traits, schema.trait_column), name=schema.TRAITS)


def _events(name: str, catalogue: Catalogue) -> ir.Table:
    types = _types(catalogue.events[name], schema.property_column)
    return ibis.table({PERSON: _PERSON_TYPE, OCCURRED_AT: "timestamp"} | types, name=schema.event_table(name))


def _types(columns: Mapping[str, Columns], column_name: Callable[[str, ColumnType], str]) -> dict[str, str]:
    return {column_name(name, kind): IBIS_TYPES[kind] for name in sorted(columns) for kind in sorted(columns[name])}


def _flagged(table: ir.Table, nodes: Sequence[Node], prefix: str) -> PersonTable:
    flagged = table.mutate(ibis.literal(True).name(prefix))
    return PersonTable(flagged, dict.fromkeys(nodes, prefix))


def _figures(name: str, aggregates: tuple[Aggregate, ...], catalogue: Catalogue, prefix: str) -> PersonTable:
    """Return one row per person with every figure; what all of them ask of the events is asked once, of the rows."""
    table = _events(name, catalogue)
    common = _common([each.events for each in aggregates])
    seen = table.filter(table[OCCURRED_AT] <= instant(), *_conditions(table, common, catalogue))
    columns: dict[Node, str] = {}
    figures: dict[str, ir.Value] = {}
    for each in aggregates:
        if (figure := _figure(seen, each, common, catalogue)) is not None:
            columns[each] = f"{prefix}{len(columns)}"
            figures[columns[each]] = figure
    return PersonTable(seen.group_by(PERSON).aggregate(**figures), columns)


def _common(sets: Sequence[Events]) -> Events:
    """Return the narrowest set of events that holds all of these, as far as that can be told cheaply."""
    windows = [each.within for each in sets if each.within is not None]
    conditions = {each.condition for each in sets}
    return Events(
        sets[0].name,
        max(windows) if len(windows) == len(sets) else None,
        conditions.pop() if len(conditions) == 1 else None,
    )


def _conditions(table: ir.Table, events: Events, catalogue: Catalogue) -> list[ir.Value]:
    conditions = [] if events.within is None else [table[OCCURRED_AT] > instant(events.within)]
    if events.condition is not None:
        scope = Scope(table, catalogue.events[events.name], schema.property_column, {OccurredAt(): table[OCCURRED_AT]})
        conditions.append(truth(events.condition, scope))
    return conditions


def _figure(seen: ir.Table, aggregate: Aggregate, common: Events, catalogue: Catalogue) -> ir.Value | None:
    """Return a figure over the rows of a person; None if no event has the property that it is about."""
    events = aggregate.events
    if aggregate.function is Function.EXISTS and events.condition == common.condition:
        return _youngest(seen, events, common)
    where = _all(_conditions(seen, _beyond(events, common), catalogue))
    return _figure_where(seen, aggregate, where, catalogue)


def _figure_where(
    seen: ir.Table, aggregate: Aggregate, where: ir.Value | None, catalogue: Catalogue
) -> ir.Value | None:
    if aggregate.function is Function.COUNT:
        return seen.count(where=where)
    if aggregate.function is Function.EXISTS:
        return seen.count(where=where) > 0
    return _of_property(seen, aggregate, where, catalogue)


def figure_alone(aggregate: Aggregate, catalogue: Catalogue) -> tuple[ir.Table, ir.Value] | None:
    """Return a figure over all rows of its table, and that table; None if there are no such events or properties."""
    if aggregate.events.name not in catalogue.events:
        return None
    table = _events(aggregate.events.name, catalogue)
    where = _all([table[OCCURRED_AT] <= instant(), *_conditions(table, aggregate.events, catalogue)])
    figure = _figure_where(table, aggregate, where, catalogue)
    return None if figure is None else (table, figure)


def _beyond(events: Events, common: Events) -> Events:
    """Return what a set asks beyond what all sets ask."""
    return Events(
        events.name,
        None if events.within == common.within else events.within,
        None if events.condition == common.condition else events.condition,
    )


def _youngest(seen: ir.Table, events: Events, common: Events) -> ir.Value:
    """Return whether any event is in the window; one maximum answers it for all windows at once."""
    if events.within == common.within or events.within is None:
        return seen.count() > 0
    return seen[OCCURRED_AT].max() > instant(events.within)


def _all(conditions: Iterable[ir.Value]) -> ir.Value | None:
    found = list(conditions)
    return reduce(operator.and_, found) if found else None


def _of_property(seen: ir.Table, aggregate: Aggregate, where: ir.Value | None, catalogue: Catalogue) -> ir.Value | None:
    scope = Scope(seen, catalogue.events[aggregate.events.name], schema.property_column, {})
    column = scope.column(Property(aggregate.argument or ""), ColumnType.NUMBER)
    if column is None:
        return None
    match aggregate.function:
        case Function.MIN:
            return column.min(where=where)
        case Function.MAX:
            return column.max(where=where)
        case Function.AVG:
            return _rounded(favg(column, where=where))
        case _:
            return _rounded(fsum(column, where=where).coalesce(0))


def _rounded(figure: ir.Value) -> ir.Value:
    """Round; for all that are not large without DuckDB's rounding to decimals, which takes a power in every row."""
    scale = 10.0**DECIMALS
    return ibis.ifelse(figure.abs() < LARGE, nearest(figure * scale) / scale, figure.round(DECIMALS_OF_LARGE))


def nothing_of(node: Node) -> int | bool | None:
    """Return the value of a figure or flag for a person without a row; None stands for missing."""
    match node:
        case Aggregate(Function.COUNT | Function.SUM):
            return 0
        case Aggregate(Function.MIN | Function.MAX | Function.AVG):
            return None
        case _:
            return False
