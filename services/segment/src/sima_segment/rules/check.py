"""Syntax to meaning: names, types, arguments. Everything that is wrong is reported, not only the first thing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from sima_sdk.rules import SegmentFunction

from sima_segment.rules import macros, words
from sima_segment.rules.chains import called, links, path
from sima_segment.rules.parser import parse_syntax
from sima_segment.rules.problems import START, Position, Problem, RuleError, problem
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
from sima_segment.rules.times import duration, instant
from sima_segment.rules.tree import (
    Aggregate,
    And,
    Arithmetic,
    Choice,
    Compare,
    Consent,
    Constant,
    Events,
    Function,
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

LONGEST_NAME: Final = 200
DEEPEST_NESTING: Final = 32
LARGEST_RULE: Final = 20_000

_NOUNS: Final = {
    ColumnType.NUMBER: "a number",
    ColumnType.TEXT: "a text",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.TIME: "an instant",
}
_EQUALITY: Final = ("==", "!=")
_ORDER: Final = ("<", "<=", ">", ">=")

T = TypeVar("T")


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
    if checker.problems or condition is None:
        raise RuleError(tuple(checker.problems))
    return Rule(text, condition)


@dataclass(slots=True)
class _Checker:
    """Walks the syntax once. A method answers None where it has reported a problem."""

    functions: Mapping[str, SegmentFunction]
    problems: list[Problem] = field(default_factory=list)
    variable: str | None = None
    depth: int = 0
    size: int = 0
    expansions: int = 0

    def report(self, message: str, at: Position, suggestion: str = "") -> None:
        self.problems.append(problem(message, at, suggestion))

    def typed(self, syntax: Syntax, kind: ColumnType) -> Node | None:
        """Return a value that is of this type or whose type the data decides."""
        node = self.value(syntax)
        if node is None or static_type(node) in (None, kind):
            return node
        return self.report(f"{_NOUNS[kind]} is expected here", syntax.at, _truth_of(syntax, node, kind))

    def value(self, syntax: Syntax) -> Node | None:
        """Return what an expression means."""
        self.size += 1
        if self.size > LARGEST_RULE:
            raise RuleError((problem(f"a rule has at most {LARGEST_RULE} parts", START),))
        if self.depth >= DEEPEST_NESTING:
            return self.report(f"the rule is nested more than {DEEPEST_NESTING} levels deep", syntax.at)
        self.depth += 1
        node = self._value(syntax)
        self.depth -= 1
        return node

    def _value(self, syntax: Syntax) -> Node | None:
        match syntax:
            case Literal(_, value):
                return constant(value)
            case Name() | Select() | Index():
                return self._named(syntax)
            case Call():
                return self._call(syntax)
            case Unary():
                return self._unary(syntax)
            case Logic():
                return self._logic(syntax)
            case Binary():
                return self._binary(syntax)
            case Conditional():
                return self._conditional(syntax)
            case Foreign(at, message):
                return self.report(message, at)
            case Items(at):
                return self.report("a list stands only to the right of in", at)

    def _unary(self, syntax: Unary) -> Node | None:
        if syntax.operator == "!":
            operand = self.typed(syntax.operand, ColumnType.BOOLEAN)
            return operand and Not(operand)
        number = self.typed(syntax.operand, ColumnType.NUMBER)
        if isinstance(number, Constant) and isinstance(number.value, int | float):
            return constant(-number.value)
        return number and Arithmetic("-", constant(0), number)

    def _logic(self, syntax: Logic) -> Node | None:
        terms = _all([self.typed(each, ColumnType.BOOLEAN) for each in syntax.terms])
        return terms and (And(terms) if syntax.operator == "&&" else Or(terms))

    def _binary(self, syntax: Binary) -> Node | None:
        if syntax.operator in (*_EQUALITY, *_ORDER):
            return self._comparison(syntax)
        if syntax.operator == "in":
            return self._one_of(syntax)
        sides = _all([self.typed(each, ColumnType.NUMBER) for each in (syntax.left, syntax.right)])
        return sides and Arithmetic(syntax.operator, *sides)

    def _comparison(self, syntax: Binary) -> Node | None:
        sides = _all([self.value(syntax.left), self.value(syntax.right)])
        if not sides:
            return None
        kinds = {static_type(side) for side in sides} - {None}
        if len(kinds) > 1:
            return self._mismatch(sides[0], sides[1], syntax.right)
        if ColumnType.BOOLEAN in kinds and syntax.operator in _ORDER:
            return self.report("true and false have no order; compare them with == or !=", syntax.at, "==")
        return Compare(syntax.operator, *sides)

    def _mismatch(self, left: Node, right: Node, written: Syntax) -> None:
        nouns = [_NOUNS[static_type(side) or ColumnType.TEXT] for side in (left, right)]
        self.report(f"{nouns[0]} cannot be compared with {nouns[1]}", written.at, _as_number(right))

    def _one_of(self, syntax: Binary) -> Node | None:
        value = self.value(syntax.left)
        if isinstance(syntax.right, Items):
            options = self._options(syntax.right, value)
            return OneOf(value, options) if value is not None and options else None
        values = self.value(syntax.right)
        if values is not None and static_type(values) is not None:
            return self.report("in asks for a list, or for a trait or property with many values", syntax.right.at)
        return Compare("==", value, values) if value is not None and values is not None else None

    def _options(self, syntax: Items, value: Node | None) -> tuple[Constant, ...] | None:
        if not syntax.items:
            return self.report("the list is empty", syntax.at)
        expected = None if value is None else static_type(value)
        return _all([self._option(each, expected) for each in syntax.items])

    def _option(self, syntax: Syntax, expected: ColumnType | None) -> Constant | None:
        node = self.value(syntax)
        if node is not None and not isinstance(node, Constant):
            return self.report("a list holds values written out", syntax.at)
        if node is not None and expected not in (None, node.kind):
            return self.report(f"{_NOUNS[expected or node.kind]} is expected here", syntax.at, _as_number(node))
        return node

    def _conditional(self, syntax: Conditional) -> Node | None:
        condition = self.typed(syntax.condition, ColumnType.BOOLEAN)
        sides = _all([self.value(syntax.then), self.value(syntax.otherwise)])
        if condition is None or not sides:
            return None
        if len({static_type(side) for side in sides} - {None}) > 1:
            return self.report("both results of ? : must be of one type", syntax.otherwise.at)
        return Choice(condition, *sides)

    def _named(self, syntax: Name | Select | Index) -> Node | None:
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
        self.problems.append(words.unknown_name(root.name, root.at, self.variable))
        return None

    def _property(self, root: Name, syntax: Syntax, name: str) -> Node | None:
        if not self._good_name(name, syntax.at, f"{root.name}.category"):
            return None
        by_dot = isinstance(syntax, Select) and syntax.of is root
        return OccurredAt() if by_dot and name == "occurred_at" else Property(name)

    def _trait(self, root: Name, syntax: Syntax, name: str) -> Node | None:
        if self.variable is not None:
            return self.report("a filter looks only at the event's own properties", root.at, f"{self.variable}.{name}")
        return Trait(name) if self._good_name(name, syntax.at, "traits.city") else None

    def _good_name(self, name: str, at: Position, example: str) -> bool:
        good = 0 < len(name) <= LONGEST_NAME
        if not good:
            self.report(f"a name of 1 to {LONGEST_NAME} characters is expected here", at, example)
        return good

    def _call(self, call: Call) -> Node | None:
        name = macros.function_name(call)
        if name in self.functions:
            return self._macro(call, self.functions[name])
        chain = links(call)
        if called(chain[0], "events"):
            return self._events_value(chain)
        if call.of is None:
            return self._function(call)
        if call.function in words.TEXT_METHODS:
            return self._text_test(call, call.of)
        return self._unknown_call(call, name)

    def _unknown_call(self, call: Call, name: str | None) -> None:
        of_plugin = isinstance(call.of, Name) and call.of.name not in ("traits", self.variable)
        if of_plugin and name is not None:
            self.problems.append(words.unknown_function(name, call.at, sorted(self.functions)))
        else:
            self.problems.append(words.unknown_method(call.function, call.at))

    def _macro(self, call: Call, function: SegmentFunction) -> Node | None:
        if self.expansions >= DEEPEST_NESTING:
            return self.report(f"{function.name}() expands to itself", call.at)
        self.expansions += 1
        node = self._expanded(call, function)
        self.expansions -= 1
        return node

    def _expanded(self, call: Call, function: SegmentFunction) -> Node | None:
        try:
            return self.value(macros.expand(call, function))
        except macros.MacroError as error:
            return self.report(str(error), call.at)

    def _text_test(self, call: Call, of: Syntax) -> Node | None:
        if len(call.arguments) != 1:
            return self.report(f"{call.function}() takes one text", call.at)
        sides = _all([self.typed(each, ColumnType.TEXT) for each in (of, call.arguments[0])])
        return sides and TextTest(call.function, *sides)

    def _function(self, call: Call) -> Node | None:
        known: Mapping[str, Callable[[Call], Node | None]] = {
            "segment": self._segment,
            "consent": self._consent,
            "has": self._has,
            "timestamp": self._timestamp,
        }
        if call.function not in known:
            self.problems.append(words.unknown_function(call.function, call.at, sorted(self.functions)))
            return None
        return known[call.function](call)

    def _segment(self, call: Call) -> Node | None:
        name = self._person_name(call, "vip")
        return name and Member(name, call.arguments[0].at)

    def _consent(self, call: Call) -> Node | None:
        name = self._person_name(call, "email_marketing")
        return name and Consent(name)

    def _person_name(self, call: Call, example: str) -> str | None:
        if self.variable is not None:
            return self.report("a filter looks only at the event's own properties", call.at)
        return self._name(call, example)

    def _name(self, call: Call, example: str) -> str | None:
        text = self._text(call, example)
        at = call.arguments[0].at if call.arguments else call.at
        return text if text is not None and self._good_name(text, at, f'{call.function}("{example}")') else None

    def _text(self, call: Call, example: str) -> str | None:
        match call.arguments:
            case (Literal(_, str() as text),):
                return text
            case (Name(at, name),):
                return self.report(f"{call.function}() takes a text in quotes", at, f'{call.function}("{name}")')
            case _:
                return self.report(f"{call.function}() takes one text", call.at, f'{call.function}("{example}")')

    def _has(self, call: Call) -> Node | None:
        node = self.value(call.arguments[0]) if len(call.arguments) == 1 else None
        if isinstance(node, Trait | Property):
            return Has(node)
        if node is None and len(call.arguments) == 1:
            return None
        example = f"has({self.variable or 'traits'}.name)"
        return self.report("has() takes one trait, or one property of a filter's event", call.at, example)

    def _timestamp(self, call: Call) -> Node | None:
        return self._read(call, "2026-01-31T00:00:00Z", lambda text: constant(instant(text)))

    def _read(self, call: Call, example: str, read: Callable[[str], T]) -> T | None:
        text = self._text(call, example)
        try:
            return None if text is None else read(text)
        except ValueError as error:
            return self.report(str(error), call.arguments[0].at, f'{call.function}("{example}")')

    def _events_value(self, chain: tuple[Call, ...]) -> Node | None:
        if self.variable is not None:
            return self.report("a filter looks only at the event's own properties", chain[0].at)
        before = len(self.problems)
        name = self._name(chain[0], "order_completed")
        *middle, last = chain[1:] or (None,)
        events = self._narrowed(Events(name or ""), middle if last else [])
        aggregate = self._aggregate(last, events) if last else self._incomplete(chain[0])
        return aggregate if len(self.problems) == before else None

    def _narrowed(self, events: Events, steps: list[Call | None]) -> Events:
        for step in steps:
            events = self._step(events, step) if step else events
        return events

    def _step(self, events: Events, step: Call) -> Events:
        if step.function == "within":
            return self._within(events, step)
        if step.function == "filter":
            return self._filter(events, step)
        if step.function in set(Function):
            self.report(f"{step.function}() gives a value; nothing more can be asked about the events", step.at)
        else:
            self.problems.append(words.unknown_event_method(step.function, step.at))
        return events

    def _within(self, events: Events, step: Call) -> Events:
        if events.within is not None:
            self.report("within() is already given", step.at)
        return replace(events, within=self._read(step, "90d", duration))

    def _filter(self, events: Events, step: Call) -> Events:
        match step.arguments:
            case (Name(_, variable), condition):
                return self._filtered(events, variable, condition)
            case _:
                message = "filter() takes a name for the event, and a condition"
                self.report(message, step.at, 'filter(e, e.category == "books")')
                return events

    def _filtered(self, events: Events, variable: str, syntax: Syntax) -> Events:
        self.variable = variable
        condition = self.typed(syntax, ColumnType.BOOLEAN)
        self.variable = None
        both = And((events.condition, condition)) if events.condition and condition else condition
        return replace(events, condition=both)

    def _aggregate(self, call: Call, events: Events) -> Node | None:
        if call.function in ("within", "filter"):
            self._step(events, call)
            return self._incomplete(call)
        if call.function not in set(Function):
            self.problems.append(words.unknown_event_method(call.function, call.at))
            return None
        function = Function(call.function)
        if function in (Function.COUNT, Function.EXISTS):
            return self._plain(call, Aggregate(function, events))
        argument = self._name(call, "total")
        return argument and Aggregate(function, events, argument)

    def _plain(self, call: Call, aggregate: Aggregate) -> Node | None:
        if call.arguments:
            return self.report(f"{call.function}() takes nothing; narrow the events with filter()", call.at)
        return aggregate

    def _incomplete(self, call: Call) -> None:
        self.report("say what to ask about the events: count(), exists(), sum() or another", call.at, ".exists()")


def _all(nodes: list[T | None]) -> tuple[T, ...] | None:
    found = tuple(node for node in nodes if node is not None)
    return found if len(found) == len(nodes) else None


def _as_number(node: Node) -> str:
    text = node.value if isinstance(node, Constant) else None
    return text if isinstance(text, str) and text.lstrip("-").replace(".", "", 1).isdecimal() else ""


def _truth_of(syntax: Syntax, node: Node, kind: ColumnType) -> str:
    if kind is ColumnType.BOOLEAN and isinstance(node, Aggregate):
        return f"{node.function}(...) > 0"
    return _as_number(node) if kind is ColumnType.NUMBER else ""
