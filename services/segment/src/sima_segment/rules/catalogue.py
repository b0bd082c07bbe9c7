"""Which columns the projection has at the moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sima_segment.rules.references import References
from sima_segment.rules.schema import ColumnType

Columns = frozenset[ColumnType]


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Which columns the projection has; what is not in it is missing for everybody.

    Attributes:
        events: By event name (each has a table), by property: its columns.
        traits: By trait: its columns.
    """

    events: Mapping[str, Mapping[str, Columns]]
    traits: Mapping[str, Columns]


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a catalogue that one rule looks at; hashable, so that a compiled rule outlives other changes."""

    events: frozenset[tuple[str, frozenset[tuple[str, Columns]]]]
    traits: frozenset[tuple[str, Columns]]

    def catalogue(self) -> Catalogue:
        """Return the slice in the form of a catalogue."""
        return Catalogue({name: MappingProxyType(dict(each)) for name, each in self.events}, dict(self.traits))


def slice_of(catalogue: Catalogue, looked_at: References) -> Slice:
    """Return the part of the catalogue that a rule looks at."""
    return Slice(
        frozenset(
            (name, _known(catalogue.events[name], properties))
            for name, properties in looked_at.events.items()
            if name in catalogue.events
        ),
        _known(catalogue.traits, looked_at.traits),
    )


def _known(columns: Mapping[str, Columns], names: frozenset[str]) -> frozenset[tuple[str, Columns]]:
    return frozenset((name, frozenset(columns[name])) for name in names if columns.get(name))
