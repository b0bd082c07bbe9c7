"""For whom a condition holds, as a set of people: the plan of the SQL.

A condition is taken apart into sets that one table can answer (people with such a trait, with such events), joined by
"in all of these and in none of those". So a rule reads no table that it does not name, and everybody only where it
holds for people of whom nothing is known.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import ibis
import ibis.expr.types as ir

from sima_segment.rules import tables
from sima_segment.rules.catalogue import Catalogue
from sima_segment.rules.joins import Evaluated, evaluated, sources_of
from sima_segment.rules.normal import normal
from sima_segment.rules.outcomes import Truths, outcomes
from sima_segment.rules.references import walk
from sima_segment.rules.schema import PERSON
from sima_segment.rules.tables import Source, source_of
from sima_segment.rules.tree import Aggregate, And, Consent, Events, Function, Member, Node, Not, Or, Trait

Group: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows with a person; `unique` if nobody can repeat."""

    table: ir.Table
    unique: bool


@dataclass(frozen=True, slots=True)
class PersonSet:
    """The people who are in all of `include` and in none of `exclude`; nothing to include stands for everybody."""

    include: tuple[Relation, ...] = ()
    exclude: tuple[Relation, ...] = ()


def people_for(condition: Node, catalogue: Catalogue) -> ir.Table:
    """Return the people for whom a condition holds: one row each, with one column `person`."""
    found = _rows(_Planner(catalogue).holds(normal(condition)))
    known = found.table.filter(found.table[PERSON].notnull()).select(PERSON)
    return known if found.unique else known.distinct()


@dataclass(frozen=True, slots=True)
class _Planner:
    catalogue: Catalogue

    def holds(self, node: Node) -> PersonSet:
        """Return for whom a condition in normal form holds."""
        match node:
            case And(terms):
                return _in_all(self._sets(And, terms))
            case Or(terms):
                return _in_any(self._sets(Or, terms))
            case Not(of) if (rows := self._bare_rows(of)) is not None:
                return PersonSet(exclude=(rows,))
            case _ if (rows := self._bare_rows(node)) is not None:
                return PersonSet(include=(rows,))
            case _:
                return self._leaf(node)

    def _bare_rows(self, node: Node) -> Relation | None:
        """Return the rows whose mere existence makes a node true; None for a node that is not of this kind."""
        match node:
            case Aggregate(Function.EXISTS, events):
                return self._happened([events])
            case Member(segment):
                return Relation(tables.members(segment), unique=True)
            case Consent(purpose):
                return Relation(tables.granted(purpose), unique=True)
            case _:
                return None

    def _happened(self, sets: list[Events]) -> Relation:
        if sets[0].name not in self.catalogue.events:
            return _nobody()
        return Relation(tables.happened(sets, self.catalogue), unique=False)

    def _sets(self, kind: type[And] | type[Or], terms: Group) -> list[PersonSet]:
        """Return the sets of the terms; terms that one reading of a table answers become one set."""
        groups: dict[Source, list[Node]] = defaultdict(list)
        for source, term in self._figurative(terms):
            groups[source].append(term)
        rest = [term for term in terms if not any(term in group for group in groups.values())]
        alone = [term for term in rest if not self._joins(groups, term)]
        return [
            *(self._leaf(kind(tuple(group))) for group in groups.values()),
            *self._existing(kind, alone),
        ]

    def _figurative(self, terms: Group) -> Iterator[tuple[Source, Node]]:
        """Yield the terms about figures of one event, or about traits."""
        for term in terms:
            sources = sources_of(term, self.catalogue)
            if len(sources) == 1 and any(_is_figure(node) for node in walk(term)):
                yield sources[0], term

    def _joins(self, groups: dict[Source, list[Node]], term: Node) -> bool:
        """Put a term about existence to the figures of the very same events, if there are such."""
        events = _existing_events(term)
        for group in groups.values() if events else ():
            if events in [node for each in group for node in walk(each) if isinstance(node, Events)]:
                group.append(term)
                return True
        return False

    def _existing(self, kind: type[And] | type[Or], terms: list[Node]) -> Iterator[PersonSet]:
        """Yield the sets of terms; what one event name is asked for with "any of" is one reading."""
        merged: dict[str, list[Events]] = defaultdict(list)
        for term in terms:
            events = _existing_events(term)
            if events and isinstance(term, Not) is (kind is And):
                merged[events.name].append(events)
            else:
                yield self.holds(term)
        for sets in merged.values():
            rows = (self._happened(sets),)
            yield PersonSet(exclude=rows) if kind is And else PersonSet(include=rows)

    def _leaf(self, node: Node) -> PersonSet:
        """Return for whom a condition holds that is looked at as a whole."""
        sources = sources_of(node, self.catalogue)
        without = {source: self._outcomes_without(node, source) for source in sources}
        if [*without.values()] == [{True}]:
            found = evaluated(node, sources, (), self.catalogue)
            return PersonSet(exclude=(_where(found, ~found.truth.fill_null(False)),))
        optional = [source for source in sources if True in without[source]]
        required = [source for source in sources if True not in without[source]]
        found = evaluated(node, required, optional, self.catalogue)
        return PersonSet(include=(_where(found, found.truth),))

    def _outcomes_without(self, node: Node, source: Source) -> Truths:
        return outcomes(node, lambda each: source_of(each, self.catalogue) in (source, None))


def _where(found: Evaluated, condition: ir.Value) -> Relation:
    return Relation(found.table.filter(condition).select(PERSON), unique=True)


def _nobody() -> Relation:
    return Relation(tables.people().filter(ibis.literal(False)), unique=True)


def _existing_events(node: Node) -> Events | None:
    match node:
        case Aggregate(Function.EXISTS, events) | Not(Aggregate(Function.EXISTS, events)):
            return events
        case _:
            return None


def _is_figure(node: Node | Events) -> bool:
    return isinstance(node, Trait) or (isinstance(node, Aggregate) and node.function is not Function.EXISTS)


def _in_all(sets: list[PersonSet]) -> PersonSet:
    return PersonSet(
        tuple(relation for each in sets for relation in each.include),
        tuple(relation for each in sets for relation in each.exclude),
    )


def _in_any(sets: list[PersonSet]) -> PersonSet:
    """Return who is in one of the sets; if one is "everybody but", so is the whole, without those whom others bring."""
    some = [each for each in sets if each.include]
    all_but = [each for each in sets if not each.include]
    if not all_but:
        return PersonSet(include=(_union([_rows(each) for each in some]),))
    if not all(each.exclude for each in all_but):
        return PersonSet()
    without = PersonSet(tuple(_union(list(each.exclude)) for each in all_but), tuple(_rows(each) for each in some))
    return PersonSet(exclude=(_rows(without),))


def _union(relations: list[Relation]) -> Relation:
    if len(relations) == 1:
        return relations[0]
    return Relation(ibis.union(*(each.table.select(PERSON) for each in relations), distinct=False), unique=False)


def _rows(people: PersonSet) -> Relation:
    """Return the people of a set; it begins with a relation in which nobody repeats, if it has one."""
    everybody = Relation(tables.people(), unique=True)
    first, *others = sorted(people.include, key=lambda each: not each.unique) or [everybody]
    table = first.table
    for other in others:
        table = table.semi_join(other.table, PERSON)
    for other in people.exclude:
        table = table.anti_join(other.table, PERSON)
    return Relation(table, first.unique)
