"""All segments of a workspace as one piece of work: their order, what they read, when time alone counts. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from typing import TypeVar

from sima_segment.rules import Rule, evaluation_order, normal_name, references

T = TypeVar("T")

#: Number of what conditions mean; raised when one means something else than before, so that everybody is looked at.
SEMANTICS = 3

#: An event that is dated in the future counts from the moment on at which it occurs.
AT_ONCE = timedelta()

_TEXT = re.compile(r"""["']([^"']*)["']""")


@dataclass(frozen=True)
class Plan:
    """The rules of all segments of a workspace.

    Attributes:
        rules: Those that are understood, by name of the segment.
        frozen: The text of all others: a plugin whose function such a rule calls is gone, or it refers to one of them.
            Their members stay as they were.
    """

    rules: Mapping[str, Rule]
    frozen: Mapping[str, str] = field(default_factory=dict)

    def with_rule(self, segment: str, rule: Rule) -> "Plan":
        """Return the plan with one more segment, or another rule for one that it has."""
        return Plan({**self.rules, segment: rule}, _without(self.frozen, segment))

    def without(self, segment: str) -> "Plan":
        """Return the plan without a segment."""
        return Plan(_without(self.rules, segment), _without(self.frozen, segment))

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All segments, each behind those to which its rule refers."""
        return evaluation_order(self.rules)

    @cached_property
    def meaning(self) -> str:
        """Name what the rules mean: the same text means something else once a plugin's function does."""
        conditions = sorted((name, repr(rule.condition)) for name, rule in self.rules.items())
        return f"{SEMANTICS}-{sha256(repr(conditions).encode()).hexdigest()}"

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The segments in groups: a rule refers only to segments of groups before its own."""
        level: dict[str, int] = {}
        for segment in self.order:
            level[segment] = max((level[other] + 1 for other in self.referred(segment)), default=0)
        groups: dict[int, list[str]] = defaultdict(list)
        for segment in self.order:
            groups[level[segment]].append(segment)
        return tuple(tuple(groups[number]) for number in sorted(groups))

    @cached_property
    def events(self) -> Mapping[str, frozenset[str]]:
        """Properties that any rule reads, by event name."""
        found: dict[str, frozenset[str]] = {}
        for rule in self.rules.values():
            for event, properties in references(rule).events.items():
                found[event] = found.get(event, frozenset()) | properties
        return found

    @cached_property
    def flips(self) -> frozenset[tuple[str, timedelta]]:
        """Event name and duration: so long after such an event a rule may change its mind about the person."""
        windows = (references(rule).windows for rule in self.rules.values())
        return frozenset((event, AT_ONCE) for event in self.events).union(*windows)

    def referred(self, segment: str) -> frozenset[str]:
        """Segments to which a segment's rule refers itself."""
        return frozenset(references(self.rules[segment]).segments)

    def needed(self, segments: Iterable[str]) -> tuple[str, ...]:
        """Segments that must be known to know these, themselves included, in order."""
        found: set[str] = set()
        waiting = list(segments)
        while waiting:
            segment = waiting.pop()
            if segment not in found:
                found.add(segment)
                waiting += self.referred(segment)
        return tuple(segment for segment in self.order if segment in found)

    def dependent(self, segment: str) -> tuple[str, ...]:
        """Segments whose members follow from a segment's, itself included, in order."""
        found = {segment}
        for other in self.order:
            if self.referred(other) & found:
                found.add(other)
        return tuple(other for other in self.order if other in found)

    def users(self, segment: str) -> tuple[str, ...]:
        """Segments whose rules refer to a segment, by name; a rule that is not understood may where it names it."""
        users = [other for other in self.rules if segment in self.referred(other)]
        users += [other for other, text in self.frozen.items() if segment in map(normal_name, _TEXT.findall(text))]
        return tuple(sorted(users))


def _without(segments: Mapping[str, T], name: str) -> dict[str, T]:
    return {other: value for other, value in segments.items() if other != name}
