"""Rules that refer to other segments: do these exist, do they lead back, and in which order are they worked out."""

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

from sima_segment.rules.problems import START, RuleError, closest, problem
from sima_segment.rules.references import references
from sima_segment.rules.tree import Rule


def check_segments(name: str, rule: Rule, others: Mapping[str, Rule], frozen: Collection[str] = ()) -> None:
    """Check that a segment refers only to segments that are understood, and that none of them refers back to it.

    Args:
        name: The segment's name.
        rule: Its rule, or the rule that it shall have.
        others: The rules of the other segments, by name.
        frozen: Names of segments that exist, but whose rules are not understood.

    Raises:
        RuleError: With one problem for each reference that cannot be.
    """
    rules = {**others, name: rule}
    wrong = [
        problem(message, at, closest(segment, tuple(others)) if segment not in {*rules, *frozen} else "")
        for segment, at in references(rule).segments.items()
        if (message := _what_is_wrong(name, segment, rules, frozen))
    ]
    if wrong:
        raise RuleError(tuple(wrong))


def evaluation_order(rules: Mapping[str, Rule]) -> tuple[str, ...]:
    """Return the names of all segments, each behind those that it refers to.

    Raises:
        RuleError: The segments refer to each other in a circle.
    """
    sorter = TopologicalSorter({name: sorted(_referred(rule, rules)) for name, rule in sorted(rules.items())})
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        first, second = error.args[1][1], error.args[1][0]
        at = references(rules[first]).segments.get(second)
        raise RuleError((problem("segments refer to each other in a circle", at or START),)) from error


def _referred(rule: Rule, rules: Mapping[str, Rule]) -> set[str]:
    return {segment for segment in references(rule).segments if segment in rules}


def _what_is_wrong(name: str, segment: str, rules: Mapping[str, Rule], frozen: Collection[str]) -> str:
    if segment in frozen:
        return f"the segment {segment} is frozen: its rule is not understood at the moment"
    if segment not in rules:
        return f"there is no segment {segment}"
    return f"{segment} refers back to this segment" if name in _reachable(segment, rules) else ""


def _reachable(start: str, rules: Mapping[str, Rule]) -> set[str]:
    """Return the segment and everything that it refers to, directly or not."""
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        current = ahead.pop()
        if current not in seen:
            seen.add(current)
            ahead.extend(_referred(rules[current], rules))
    return seen
