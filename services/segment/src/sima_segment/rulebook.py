"""Reads the rules of segments, with the functions that plugins brought. Pure."""

from collections.abc import Mapping

from sima_sdk.rules import SegmentFunction

from sima_segment.plan import Plan
from sima_segment.rules import Rule, RuleError, check_segments, parse
from sima_segment.rules.problems import START, problem

#: So many segments may stand behind each other, each referring to the one before.
MOST_LEVELS = 32


class RuleBook:
    """Knows the functions that rules may call."""

    def __init__(self, functions: Mapping[str, SegmentFunction]) -> None:
        self._functions = functions

    def read(self, text: str) -> Rule:
        """Read one rule.

        Raises:
            RuleError: It cannot be understood; it says everything that is wrong.
        """
        return parse(text, self._functions)

    def plan(self, texts: Mapping[str, str]) -> Plan:
        """Read the rules of all segments.

        A stored rule was understood once, but the plugin whose function it calls may be gone since. Such a segment is
        frozen, and so are those that refer to it.
        """
        rules: dict[str, Rule] = {}
        for name, text in texts.items():
            try:
                rules[name] = self.read(text)
            except RuleError:
                continue
        while broken := [name for name in rules if not _stands(name, rules)]:
            for name in broken:
                del rules[name]
        return Plan(rules, {name: text for name, text in texts.items() if name not in rules})

    def thawed(self, plan: Plan) -> Plan:
        """Return a plan with those of its frozen segments whose rules are understood now that another one changed.

        Raises:
            RuleError: Too many segments would refer to each other in a row.
        """
        texts = {name: rule.text for name, rule in plan.rules.items()}
        return _limited(self.plan({**texts, **plan.frozen})) if plan.frozen else plan


def extended(plan: Plan, name: str, rule: Rule) -> Plan:
    """Return a plan with one more segment, or another rule for one that it has.

    Raises:
        RuleError: The rule refers to a segment that there is not or that is frozen, in a circle to itself, or through
            too many others.
    """
    others = plan.without(name)
    check_segments(name, rule, others.rules, others.frozen)
    return _limited(plan.with_rule(name, rule))


def _limited(plan: Plan) -> Plan:
    if len(plan.levels) > MOST_LEVELS:
        raise RuleError((problem(f"at most {MOST_LEVELS} segments may refer to each other in a row", START),))
    return plan


def _stands(name: str, rules: Mapping[str, Rule]) -> bool:
    try:
        check_segments(name, rules[name], {other: rule for other, rule in rules.items() if other != name})
    except RuleError:
        return False
    return True
