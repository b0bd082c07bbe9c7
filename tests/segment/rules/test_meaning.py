"""The law of the language: compiled SQL means what a plain reading of the rule over a list of facts means.

Rules are made together with their meaning: each piece is its text and a Python function over facts. Nothing of the
compiler, nor of its tree, is used to work out what is expected.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from operator import add, eq, ge, gt, le, lt, mul, sub, truediv
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

START = datetime(2026, 1, 1, tzinfo=UTC)
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {"==": eq, "<": lt, "<=": le, ">": gt, ">=": ge}
CALCULATIONS: Mapping[str, Callable[[float, float], float]] = {
    "+": add, "-": sub, "*": mul, "/": truediv, "%": math.fmod,
}  # fmt: skip
FIGURES: Mapping[str, Callable[[int, list[float]], Any]] = {
    "count": lambda count, _: count,
    "exists": lambda count, _: count > 0,
    "sum": lambda _, numbers: round(math.fsum(numbers), 6),
    "min": lambda _, numbers: min(numbers, default=None),
    "max": lambda _, numbers: max(numbers, default=None),
    "avg": lambda _, numbers: round(math.fsum(numbers) / len(numbers), 6) if numbers else None,
}
SPANS = {"1s": timedelta(seconds=1), "1d12h": timedelta(hours=36), "1w": timedelta(weeks=1), "90d": timedelta(days=90)}
EVENTS = ("order_completed", "Order", "order", "شراء محصول", "a'; DROP TABLE people; --")
NAMES = ("total", "Total", "city", "نام", 'quo"ted', "address.street", "only_in_rules")
NUMBERS = (0, 1, 2, 2.5, -3, 100)
TEXTS = ("", "a", "A", "ab", "الرياض", "it's", "100%")
TIMES = (START, START + timedelta(days=3))

Event: TypeAlias = tuple[str, datetime, Mapping[str, Any]]


@dataclass(frozen=True)
class Seen:
    """What a rule looks at: a person, an instant, and inside a filter one event."""

    person: Mapping[str, Any]
    at: datetime
    event: Event | None = None


@dataclass(frozen=True)
class Rule:
    """A piece of a rule: its text, and what it comes to: a value, many values as a list, or None for missing."""

    text: str
    meaning: Callable[[Seen], Any]


def kind_of(value: Any) -> type:
    """Return the type of a value as rules see it: all numbers are alike."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def values_of(found: Any) -> list[Any]:
    """Return every value of what was found."""
    return list(found) if isinstance(found, tuple) else [] if found is None else [found]


def one(found: Any, kind: type) -> Any:
    """Return the single value of a type, or None."""
    return found if found is not None and kind_of(found) is kind else None


def written(value: Any) -> str:
    """Write a value as rules do."""
    if isinstance(value, datetime):
        return f'timestamp("{value.isoformat()}")'
    return json.dumps(value, ensure_ascii=False)


def constant(value: Any) -> Rule:
    """A value written out."""
    return Rule(written(value), lambda seen: value)


def trait(name: str) -> Rule:
    """A trait, of whatever type the data has."""
    return Rule(f"traits[{written(name)}]", lambda seen: seen.person["traits"].get(name))


def event_property(name: str) -> Rule:
    """A property of the event that a filter looks at."""
    return Rule(f"e[{written(name)}]", lambda seen: seen.event[2].get(name) if seen.event else None)


def compared(left: Rule, sign: str, right: Rule) -> Rule:
    """A comparison: of all values of one type on both sides, any pair decides; without a pair it is missing."""

    def meaning(seen: Seen) -> bool | None:
        pairs = product(values_of(left.meaning(seen)), values_of(right.meaning(seen)))
        alike = [pair for pair in pairs if kind_of(pair[0]) is kind_of(pair[1])]
        if sign not in ("==", "!="):
            alike = [pair for pair in alike if kind_of(pair[0]) is not bool]
        if not alike:
            return None
        if sign == "!=":
            return not any(eq(*pair) for pair in alike)
        return any(COMPARISONS[sign](*pair) for pair in alike)

    return Rule(f"({left.text} {sign} {right.text})", meaning)


def one_of(value: Rule, options: Sequence[Any]) -> Rule:
    """Whether any value is in a list."""

    def meaning(seen: Seen) -> bool | None:
        kinds = {kind_of(option) for option in options}
        values = [each for each in values_of(value.meaning(seen)) if kind_of(each) in kinds]
        return any(kind_of(a) is kind_of(b) and a == b for a in values for b in options) if values else None

    return Rule(f"({value.text} in [{', '.join(map(written, options))}])", meaning)


def text_test(text: Rule, function: str, part: Rule) -> Rule:
    """What a text begins with, ends with or contains."""
    tests: dict[str, Callable[[str, str], bool]] = {
        "startsWith": str.startswith,
        "endsWith": str.endswith,
        "contains": str.__contains__,
    }

    def meaning(seen: Seen) -> bool | None:
        wanted = one(part.meaning(seen), str)
        texts = [each for each in values_of(text.meaning(seen)) if isinstance(each, str)]
        return any(tests[function](each, wanted) for each in texts) if texts and wanted is not None else None

    return Rule(f"{text.text}.{function}({part.text})", meaning)


def calculated(left: Rule, sign: str, right: Rule) -> Rule:
    """Arithmetic of single numbers."""

    def meaning(seen: Seen) -> float | None:
        a, b = one(left.meaning(seen), float), one(right.meaning(seen), float)
        if a is None or b is None or (sign in "/%" and b == 0):
            return None
        return CALCULATIONS[sign](a, b)

    return Rule(f"({left.text} {sign} {right.text})", meaning)


def chosen(condition: Rule, then: Rule, otherwise: Rule) -> Rule:
    """One of two results; a missing condition is not true."""

    def meaning(seen: Seen) -> Any:
        return (then if one(condition.meaning(seen), bool) is True else otherwise).meaning(seen)

    return Rule(f"({condition.text} ? {then.text} : {otherwise.text})", meaning)


def negated(of: Rule) -> Rule:
    """The opposite; missing stays missing."""

    def meaning(seen: Seen) -> bool | None:
        found = one(of.meaning(seen), bool)
        return None if found is None else not found

    return Rule(f"!{of.text}", meaning)


def joined(terms: Sequence[Rule], sign: str) -> Rule:
    """All of them, or any of them, with missing in between."""
    decisive = sign == "||"

    def meaning(seen: Seen) -> bool | None:
        found = [one(term.meaning(seen), bool) for term in terms]
        return decisive if decisive in found else None if None in found else not decisive

    return Rule("(" + f" {sign} ".join(term.text for term in terms) + ")", meaning)


def has(of: Rule) -> Rule:
    """Whether anything is known."""
    return Rule(f"has({of.text})", lambda seen: bool(values_of(of.meaning(seen))))


def figure(name: str, span: str | None, condition: Rule | None, function: str, argument: str) -> Rule:
    """A figure over the events of a name."""

    def chosen_events(seen: Seen) -> list[Event]:
        return [
            event
            for event in seen.person["events"]
            if event[0] == name
            and event[1] <= seen.at
            and (span is None or event[1] > seen.at - SPANS[span])
            and (condition is None or one(condition.meaning(Seen(seen.person, seen.at, event)), bool) is True)
        ]

    def meaning(seen: Seen) -> Any:
        events = chosen_events(seen)
        numbers = [number for event in events if (number := one(event[2].get(argument), float)) is not None]
        return FIGURES[function](len(events), numbers)

    within = f'.within("{span}")' if span else ""
    narrowed = f".filter(e, {condition.text})" if condition else ""
    asked = written(argument) if function not in ("count", "exists") else ""
    return Rule(f"events({written(name)}){within}{narrowed}.{function}({asked})", meaning)


def segment(name: str) -> Rule:
    """Membership of another segment."""
    return Rule(f'segment("{name}")', lambda seen: name in seen.person["segments"])


def consent(purpose: str) -> Rule:
    """A granted purpose."""
    return Rule(f'consent("{purpose}")', lambda seen: seen.person["consents"].get(purpose) is True)


scalars = st.sampled_from([*NUMBERS, *TEXTS, True, False])
moments = st.integers(-3, 3).map(lambda days: START + timedelta(days=days))
many = st.one_of(
    *(st.lists(st.sampled_from(pool), min_size=1, max_size=2).map(tuple) for pool in (NUMBERS, TEXTS, (True, False)))
)
data_values = st.one_of(scalars, scalars, many)


def data(names: Callable[[str], Rule]) -> st.SearchStrategy[Rule]:
    """Make what has the type of the data."""
    return st.sampled_from(NAMES).map(names)


def comparisons(
    data: st.SearchStrategy[Rule], numbers: st.SearchStrategy[Rule], values: Sequence[Any]
) -> st.SearchStrategy[Rule]:
    """Make what is true, false or missing about single values, some of them written out."""
    equal, ordered = st.sampled_from(["==", "!="]), st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    constants = st.sampled_from(values).map(constant)
    return st.one_of(
        st.builds(compared, data, ordered, constants),
        st.builds(compared, constants, ordered, data),
        st.builds(compared, data, ordered, data),
        st.builds(compared, data, ordered, numbers),
        st.builds(compared, numbers, ordered, numbers),
        st.builds(compared, data, equal, st.booleans().map(constant)),
        st.builds(one_of, data, st.lists(scalars, min_size=1, max_size=3)),
        st.builds(one_of, numbers, st.lists(st.sampled_from([0, 1, 2, 2.5]), min_size=1, max_size=3)),
        st.builds(
            text_test,
            data,
            st.sampled_from(["startsWith", "endsWith", "contains"]),
            st.one_of(st.sampled_from(TEXTS).map(constant), data),
        ),
    )


def calculations(numbers: st.SearchStrategy[Rule], data: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    """Make arithmetic."""
    operand = st.one_of(numbers, numbers, data)
    return st.builds(calculated, operand, st.sampled_from("+-*/%"), operand)


def conditions(atoms: st.SearchStrategy[Rule], results: st.SearchStrategy[Rule], size: int) -> st.SearchStrategy[Rule]:
    """Make conditions out of conditions."""

    def larger(inner: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
        terms = st.lists(inner, min_size=2, max_size=3)
        return st.one_of(
            st.builds(joined, terms, st.sampled_from(["&&", "||"])),
            inner.map(negated),
            st.builds(chosen, inner, inner, inner),
            st.builds(compared, st.builds(chosen, inner, results, results), st.just("=="), results),
        )

    return st.recursive(atoms, larger, max_leaves=size)


properties = data(event_property)
filter_numbers = st.sampled_from(NUMBERS).map(constant)
filters = st.deferred(
    lambda: conditions(
        st.one_of(
            comparisons(
                properties, st.one_of(filter_numbers, calculations(filter_numbers, properties)), [*NUMBERS, *TEXTS]
            ),
            properties,
            properties.map(has),
            st.builds(
                lambda sign, at: Rule(
                    f"(e.occurred_at {sign} {written(at)})",
                    lambda seen: COMPARISONS[sign](seen.event[1], at) if seen.event else None,
                ),
                st.sampled_from(list(COMPARISONS)),
                moments,
            ),
        ),
        st.one_of(properties, filter_numbers),
        3,
    )
)


@st.composite
def figures(draw: st.DrawFn, functions: Sequence[str]) -> Rule:
    """Make figures over events."""
    return figure(
        draw(st.sampled_from([*EVENTS, "never_seen"])),
        draw(st.sampled_from([None, *SPANS])),
        draw(st.one_of(st.none(), st.none(), filters)),
        draw(st.sampled_from(functions)),
        draw(st.sampled_from(NAMES)),
    )


traits = data(trait)
person_figures = figures(["count", "count", "sum", "min", "max", "avg"])
person_numbers = st.one_of(
    person_figures,
    person_figures,
    st.sampled_from(NUMBERS).map(constant),
    calculations(person_figures, traits),
)
rules = conditions(
    st.one_of(
        comparisons(traits, person_numbers, [*NUMBERS, *TEXTS, *TIMES]),
        st.builds(compared, person_figures, st.sampled_from(list(COMPARISONS)), st.integers(0, 3).map(constant)),
        figures(["exists"]),
        figures(["exists"]),
        traits,
        traits.map(has),
        st.sampled_from(["vip", "new"]).map(segment),
        st.sampled_from(["email", "sms"]).map(consent),
        st.booleans().map(constant),
    ),
    st.one_of(traits, person_figures),
    8,
)
people = st.lists(
    st.fixed_dictionaries(
        {
            "events": st.lists(
                st.tuples(
                    st.sampled_from(EVENTS),
                    moments,
                    st.dictionaries(st.sampled_from(NAMES[:-1]), data_values, max_size=3),
                ),
                max_size=6,
            ),
            "traits": st.dictionaries(
                st.sampled_from(NAMES[:-1]), st.one_of(data_values, st.sampled_from(TIMES)), max_size=4
            ),
            "consents": st.dictionaries(st.sampled_from(["email", "sms"]), st.booleans()),
            "segments": st.frozensets(st.sampled_from(["vip", "new"])),
        }
    ),
    max_size=5,
).map(lambda found: {f"person {number}": person for number, person in enumerate(found)})
instants = st.one_of(
    moments,
    st.builds(lambda at, span: at + span, moments, st.sampled_from(list(SPANS.values()))),
)


hidden_rules = st.deferred(lambda: rules)  # its description would be too long to print


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    people=people, asked=st.lists(hidden_rules, min_size=1, max_size=4), at=st.lists(instants, min_size=1, max_size=2)
)
def test_compiled_rules_mean_what_a_plain_reading_of_the_facts_means(
    project: Callable[..., Any], people: dict[str, Any], asked: list[Rule], at: list[datetime]
) -> None:
    """Any rule, over any facts, at any instant, holds for exactly the people for whom its plain reading is true."""
    projection = project(people)
    for rule, moment in product(asked, at):
        expected = {name for name, person in people.items() if one(rule.meaning(Seen(person, moment)), bool) is True}
        assert projection.members(rule.text, moment) == expected, (rule.text, moment)
