"""What a rule looks at: which facts can change its result, and which moments can."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType

from sima_segment.rules.problems import Position
from sima_segment.rules.tree import (
    Aggregate,
    Consent,
    Events,
    Member,
    Node,
    Property,
    Rule,
    Trait,
    children,
)


@dataclass(frozen=True, slots=True)
class References:
    """What a rule looks at.

    Attributes:
        events: Properties looked at, by event name. Every event counts from the moment it occurred on.
        traits: Names of traits.
        windows: Event name and duration: the event leaves the rule's sight at the moment it occurred plus this.
        segments: Names of other segments, each with a place where it is named.
        purposes: Purposes of consent.
    """

    events: Mapping[str, frozenset[str]]
    traits: frozenset[str]
    windows: frozenset[tuple[str, timedelta]]
    segments: Mapping[str, Position]
    purposes: frozenset[str]


@lru_cache(maxsize=4096)
def references(rule: Rule) -> References:
    """Return what a rule looks at."""
    nodes = tuple(walk(rule.condition))
    events = [node for node in nodes if isinstance(node, Events)]
    return References(
        events=_properties(nodes),
        traits=frozenset(node.name for node in nodes if isinstance(node, Trait)),
        windows=frozenset((each.name, each.within) for each in events if each.within is not None),
        segments=MappingProxyType({node.segment: node.at for node in reversed(nodes) if isinstance(node, Member)}),
        purposes=frozenset(node.purpose for node in nodes if isinstance(node, Consent)),
    )


def walk(node: Node) -> Iterator[Node | Events]:
    """Yield the node and everything below it, events and the conditions of their filters included."""
    yield node
    for each in children(node):
        yield from walk(each)
    if isinstance(node, Aggregate):
        yield node.events
        if node.events.condition is not None:
            yield from walk(node.events.condition)


def _properties(nodes: tuple[Node | Events, ...]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for node in nodes:
        if isinstance(node, Aggregate):
            found[node.events.name] |= set(_of_aggregate(node))
    return MappingProxyType({name: frozenset(properties) for name, properties in found.items()})


def _of_aggregate(aggregate: Aggregate) -> Iterator[str]:
    if aggregate.argument is not None:
        yield aggregate.argument
    if aggregate.events.condition is not None:
        yield from (node.name for node in walk(aggregate.events.condition) if isinstance(node, Property))
