"""A condition that is looked at as a whole: the tables that it reads side by side, and its truth for each person."""

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from sima_segment.rules import schema, tables
from sima_segment.rules.catalogue import Catalogue
from sima_segment.rules.references import walk
from sima_segment.rules.schema import PERSON, ColumnType
from sima_segment.rules.tables import PersonTable, Source, source_of
from sima_segment.rules.tree import Aggregate, Events, Node
from sima_segment.rules.values import Scope, missing, truth


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One row per person who may matter, and the truth of a condition as a column expression over the rows."""

    table: ir.Table
    truth: ir.Value


def sources_of(node: Node, catalogue: Catalogue) -> tuple[Source, ...]:
    """Return the tables that a condition reads, each once."""
    found = (source_of(each, catalogue) for each in walk(node) if not isinstance(each, Events))
    return tuple(dict.fromkeys(each for each in found if each is not None))


def evaluated(node: Node, required: Sequence[Source], optional: Sequence[Source], catalogue: Catalogue) -> Evaluated:
    """Return the truth of a condition.

    Args:
        node: The condition.
        required: Tables in which everybody who matters has a row.
        optional: Tables in which they may have none. With none required, everybody is looked at.
        catalogue: Which columns there are.
    """
    wanted = [each for each in walk(node) if not isinstance(each, Events)]
    parts = [_part(source, wanted, catalogue, f"f{index}_") for index, source in enumerate((*required, *optional))]
    table = _joined(parts, len(required))
    values: dict[Node, ir.Value] = {each: _nothing(each) for each in wanted if isinstance(each, Aggregate)}
    for index, part in enumerate(parts):
        values |= _values(table, part, is_optional=index >= len(required))
    return Evaluated(table, truth(node, Scope(table, catalogue.traits, schema.trait_column, values)))


def _part(source: Source, wanted: Sequence[Node], catalogue: Catalogue, prefix: str) -> PersonTable:
    nodes = [each for each in wanted if source_of(each, catalogue) == source]
    return tables.person_table(source, nodes, catalogue, prefix)


def _joined(parts: list[PersonTable], required: int) -> ir.Table:
    first = parts[0].table if required else tables.people()
    joined = first
    for index in range(1 if required else 0, len(parts)):
        person = f"{PERSON}_{index}"
        other = parts[index].table.rename({person: PERSON})
        how = "inner" if index < required else "left"
        joined = joined.join(other, first[PERSON] == other[person], how=how)
    return joined.select(joined.columns) if parts[1:] or not required else joined


def _nothing(node: Node) -> ir.Value:
    nothing = tables.nothing_of(node)
    return missing(ColumnType.NUMBER) if nothing is None else ibis.literal(nothing)


def _values(table: ir.Table, part: PersonTable, *, is_optional: bool) -> dict[Node, ir.Value]:
    return {node: _value(table[column], node, is_optional) for node, column in part.values.items()}


def _value(column: ir.Value, node: Node, is_optional: bool) -> ir.Value:
    nothing = tables.nothing_of(node)
    return column if not is_optional or nothing is None else column.fill_null(nothing)
