"""Syntax to meaning: names, types, arguments. Everything that is wrong is reported, not only the first thing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sima_sdk.rules import SegmentFunction

from sima_segment.rules import macros, words
from sima_segment.rules.chains import called, links, path
from sima_segment.rules.check_events import events_value
from sima_segment.rules.context import NOUNS, STAND_IN, Context, number_in
from sima_segment.rules.names import normal_name
from sima_segment.rules.parser import parse_syntax
from sima_segment.rules.problems import START, RuleError, problem
from sima_segment.rules.schema import ColumnType
from sima_segment.rules.syntax import (
    Binary,
    Call,
    Conditional,
    Foreign,
    Index,
    Items,
    Literal,
    Logic,
    Name,
    Select,
    Syntax,
    Unary,
)
from sima_segment.rules.times import instant
from sima_segment.rules.tree import (
    And,
    Arithmetic,
    Choice,
    Compare,
    Consent,
    Constant,
    Has,
    Member,
    Node,
    Not,
    OccurredAt,
    OneOf,
    Or,
    Property,
    Rule,
    TextTest,
    Trait,
    constant,
    static_type,
)
from sima_segment.rules.weight import weight

DEEPEST_NESTING: Final = 32
MOST_PARTS: Final = 1_000
MOST_STEPS: Final = 10_000

_ORDER: Final = ("<", "<=", ">", ">=")
_COMPARISONS: Final = ("==", "!=", *_ORDER)


def parse(text: str, functions: Mapping[str, SegmentFunction] | None = None) -> Rule:
    """Return the rule that a text states.

    Args:
        text: The rule.
        functions: What plugins added to the language, by name.

    Raises:
        RuleError: It is no rule; the error lists every problem with its place.
    """
    checker = _Checker(functions or {})
    condition = checker.typed(parse_syntax(text), ColumnType.BOOLEAN)
    if checker.problems:
        raise RuleError(tuple(checker.problems))
    if weight(condition) > MOST_PARTS:
        raise _too_large()
    return Rule(text, condition)


def _too_large() -> RuleError:
    return RuleError((problem(f"a rule has at most {MOST_PARTS} parts", START),))


@dataclass(slots=True)
class _Checker(Context):
    """Walks the syntax once."""

    depth: int = 0
    size: int = 0

    def value(self, syntax: Syntax) -> Node:
        self.size += 1
        if self.size > MOST_STEPS:
            raise _too_large()
        if self.depth == DEEPEST_NESTING:
            return self._too_deep(syntax)
        self.depth += 1
        node = _MEANINGS[type(syntax)](self, syntax)
        self.depth -= 1
        return node

    def _too_deep(self, syntax: Syntax) -> Node:
        found = problem(f"the rule is nested more than {DEEPEST_NESTING} levels deep", syntax.at)
        told = any(each.message == found.message for each in self.problems)
        return STAND_IN if told else self.note(found)

    def literal(self, syntax: Literal) -> Node:
        return constant(syntax.value)

    def foreign(self, syntax: Foreign) -> Node:
        return self.report(syntax.message, syntax.at)

    def items(self, syntax: Items) -> Node:
        return self.report("a list stands only to the right of in", syntax.at)

    def unary(self, syntax: Unary) -> Node:
        if syntax.operator == "!":
            return Not(self.typed(syntax.operand, ColumnType.BOOLEAN))
        number = self.typed(syntax.operand, ColumnType.NUMBER)
        if isinstance(number, Constant) and isinstance(number.value, int | float):
            return constant(-number.value)
        return Arithmetic("-", constant(0), number)

    def logic(self, syntax: Logic) -> Node:
        terms = tuple(self.typed(each, ColumnType.BOOLEAN) for each in syntax.terms)
        return And(terms) if syntax.operator == "&&" else Or(terms)

    def binary(self, syntax: Binary) -> Node:
        if syntax.operator in _COMPARISONS:
            return self._comparison(syntax)
        if syntax.operator == "in":
            return self._one_of(syntax)
        left, right = (self.typed(each, ColumnType.NUMBER) for each in (syntax.left, syntax.right))
        return Arithmetic(syntax.operator, left, right)

    def _comparison(self, syntax: Binary) -> Node:
        left, right = self.value(syntax.left), self.value(syntax.right)
        kinds = [kind for kind in (static_type(left), static_type(right)) if kind]
        if len(set(kinds)) > 1:
            message = f"{NOUNS[kinds[0]]} cannot be compared with {NOUNS[kinds[1]]}"
            return self.report(message, syntax.right.at, number_in(right))
        if ColumnType.BOOLEAN in kinds and syntax.operator in _ORDER:
            return self.report("true and false have no order; compare them with == or !=", syntax.at, "==")
        for side, node in ((syntax.left, left), (syntax.right, right)):
            if ColumnType.TIME in kinds and isinstance(node, Property):
                return self._no_instant(side)
        return Compare(syntax.operator, left, right)

    def _no_instant(self, of: Syntax) -> Node:
        message = "a property is a number, a text, or true or false, never an instant"
        return self.report(message, of.at, f"{self.variable}.occurred_at")

    def _one_of(self, syntax: Binary) -> Node:
        value = self.value(syntax.left)
        if isinstance(syntax.right, Items):
            options = self._options(syntax.right, static_type(value))
            if isinstance(value, Property) and any(option.kind is ColumnType.TIME for option in options):
                return self._no_instant(syntax.left)
            return OneOf(value, options)
        values = self.value(syntax.right)
        if static_type(values) is not None:
            return self.report("in asks for a list, or for a trait or property with many values", syntax.right.at)
        return Compare("==", value, values)

    def _options(self, syntax: Items, expected: ColumnType | None) -> tuple[Constant, ...]:
        if not syntax.items:
            self.report("the list is empty", syntax.at)
        nodes = [self._option(each, expected) for each in syntax.items]
        return tuple(node for node in nodes if isinstance(node, Constant))

    def _option(self, syntax: Syntax, expected: ColumnType | None) -> Node:
        node = self.value(syntax)
        if not isinstance(node, Constant | Trait):
            return self.report("a list holds values written out", syntax.at)
        if isinstance(node, Trait):
            return node if node is STAND_IN else self.report("a list holds values written out", syntax.at)
        if expected not in (None, node.kind):
            return self.report(f"{NOUNS[expected or node.kind]} is expected here", syntax.at, number_in(node))
        return node

    def conditional(self, syntax: Conditional) -> Node:
        condition = self.typed(syntax.condition, ColumnType.BOOLEAN)
        then, otherwise = self.value(syntax.then), self.value(syntax.otherwise)
        if len({static_type(then), static_type(otherwise)} - {None}) > 1:
            return self.report("both results of ? : must be of one type", syntax.otherwise.at)
        return Choice(condition, then, otherwise)

    def named(self, syntax: Name | Select | Index) -> Node:
        found = path(syntax)
        if found is None:
            return self.report("only traits and the event of a filter have parts that can be named", syntax.at)
        root, name = found
        if root.name == self.variable:
            return self._property(root, syntax, name)
        if root.name == "traits":
            return self._trait(root, syntax, name)
        if f"{root.name}.{name}" in self.functions:
            return self.report("a function is called with brackets", syntax.at, f"{root.name}.{name}()")
        return self.note(words.unknown_name(root, name, self.variable))

    def _property(self, root: Name, syntax: Syntax, name: str) -> Node:
        if not self.is_name(name, syntax.at, f"{root.name}.category"):
            return STAND_IN
        by_dot = isinstance(syntax, Select) and syntax.of is root
        return OccurredAt() if by_dot and name == "occurred_at" else Property(name)

    def _trait(self, root: Name, syntax: Syntax, name: str) -> Node:
        fits = self.outside_filter(root.at, f"{self.variable}.{name}") and self.is_name(name, syntax.at, "traits.city")
        return Trait(name) if fits else STAND_IN

    def call(self, call: Call) -> Node:
        if function := self.functions.get(macros.function_name(call)):
            return self._macro(call, function)
        chain = links(call)
        if called(chain[0], "events"):
            return events_value(self, chain)
        if call.of is None:
            return self._function(call)
        if call.function in words.TEXT_METHODS:
            return self._text_test(call, call.of)
        return self._unknown_method(call, call.of)

    def _unknown_method(self, call: Call, of: Syntax) -> Node:
        if isinstance(of, Name) and of.name not in ("traits", self.variable):
            return self.note(words.unknown_function(f"{of.name}.{call.function}", of.at, sorted(self.functions)))
        before = len(self.problems)
        self.value(of)
        return STAND_IN if len(self.problems) > before else self.note(words.unknown_method(call.function, call.at))

    def _macro(self, call: Call, function: SegmentFunction) -> Node:
        try:
            return self.value(macros.expand(call, function))
        except macros.MacroError as error:
            return self.report(str(error), call.at)

    def _text_test(self, call: Call, of: Syntax) -> Node:
        if len(call.arguments) != 1:
            return self.report(f"{call.function}() takes one text", call.at)
        text, part = (self.typed(each, ColumnType.TEXT) for each in (of, call.arguments[0]))
        return TextTest(call.function, text, part)

    def _function(self, call: Call) -> Node:
        known: Mapping[str, Callable[[Call], Node]] = {
            "segment": self._segment,
            "consent": self._consent,
            "has": self._has,
            "timestamp": self._timestamp,
        }
        if call.function not in known:
            return self.note(words.unknown_function(call.function, call.at, sorted(self.functions)))
        return known[call.function](call)

    def _segment(self, call: Call) -> Node:
        fits = self.outside_filter(call.at)
        name = self.name_argument(call, "vip")
        return Member(normal_name(name) or name, call.arguments[0].at) if fits and name else STAND_IN

    def _consent(self, call: Call) -> Node:
        return Consent(self.name_argument(call, "email_marketing")) if self.outside_filter(call.at) else STAND_IN

    def _has(self, call: Call) -> Node:
        node = self.value(call.arguments[0]) if len(call.arguments) == 1 else None
        if isinstance(node, Trait | Property):
            return Has(node)
        example = f"has({self.variable or 'traits'}.name)"
        return self.report("has() takes one trait, or one property of a filter's event", call.at, example)

    def _timestamp(self, call: Call) -> Node:
        moment = self.read_argument(call, "2026-01-31T00:00:00Z", instant)
        return STAND_IN if moment is None else constant(moment)


_MEANINGS: Final[Mapping[type[Syntax], Callable[[_Checker, Any], Node]]] = {
    Literal: _Checker.literal,
    Name: _Checker.named,
    Select: _Checker.named,
    Index: _Checker.named,
    Call: _Checker.call,
    Items: _Checker.items,
    Unary: _Checker.unary,
    Binary: _Checker.binary,
    Logic: _Checker.logic,
    Conditional: _Checker.conditional,
    Foreign: _Checker.foreign,
}
