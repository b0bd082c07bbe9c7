"""What the author of a wrong rule is told: what, where, and what was probably meant."""

from typing import Any

import pytest
from sima_sdk.rules import SegmentFunction
from sima_segment.rules import Problem, RuleError, parse


def problems(rule: str, **functions: Any) -> list[Problem]:
    """Return what is wrong with a rule; each function is given by what it expands to."""
    known = {
        f"shop.{name}": SegmentFunction(f"shop.{name}", name, text if callable(text) else lambda text=text: text)
        for name, text in functions.items()
    }
    with pytest.raises(RuleError) as raised:
        parse(rule, known)
    return list(raised.value.problems)


WRONG = {
    # rule: (column, part of the message, suggestion)
    "": (1, "ends before", ""),
    "traits.age >": (13, "ends before", ""),
    '(traits.city == "x"': (20, "ends before", ""),
    "traits.age = 3": (12, "= cannot stand", "=="),
    "traits.age <> 3": (13, "> cannot stand", "!="),
    "traits.age > 3 and traits.age < 9": (16, "and cannot stand", "&&"),
    "traits.age > 3 OR traits.age < 9": (16, "OR cannot stand", "||"),
    "traits.age > 3 & traits.age < 9": (16, "& cannot stand", "&&"),
    "traits.age ≥ 3": (12, "≥ cannot stand", ">="),
    "traits.city == “Riyadh”": (16, "“ cannot stand", '"'),
    'traits.city in ["a"، "b"]': (20, "، cannot stand", ","),
    "traits.شهر == 1": (8, "letters a to z", 'write traits["name"]'),
    'traits.city == "Riyadh': (16, "never ends", 'close it with "'),
    'traits.city == "a" "b"': (20, "a text cannot stand", ""),
    'traits.city == "\\q"': (16, "backslash", ""),
    "traits.city == null": (16, "no null", ""),
    "has(traits.a) == {1: 2}": (18, "no maps", ""),
    "traits.a == b'x'": (13, "no bytes", ""),
    "traits.a == 3u": (13, "without u", ""),
    "traits.a == 9007199254740993": (13, "loses digits", ""),
    "traits.a == 1e999": (13, "too large", ""),
    # names
    'city == "x"': (1, "city is no name", "traits.city"),
    'trait.city == "x"': (1, "trait is no name", "traits.city"),
    "customer.age > 3": (1, "customer is no name", "traits.age"),
    "traits > 3": (1, "a name of 1 to 200", "traits.city"),
    'traits[""] == 1': (8, "a name of 1 to 200", "traits.city"),
    f"traits.{'x' * 201} == 1": (8, "a name of 1 to 200", "traits.city"),
    "traits[3] == 1": (8, "can be named", ""),
    'event("x").exists()': (1, "event() is no function", "events"),
    'segmnt("x")': (1, "segmnt() is no function", "segment"),
    'sequence("a", "b").within("2d")': (1, "sequence() is no function", "events("),
    "account.employees > 100": (1, "account is no name", "traits.employees"),
    'computed("clv") > 3': (1, "computed() is no function", "traits.name"),
    "shop.scor() > 3": (1, "shop.scor() is no function", "shop.score"),
    "shop.score > 3": (6, "called with brackets", "shop.score()"),
    # events
    'events("x")': (1, "say what to ask", "exists()"),
    'events("x").within("3d")': (13, "say what to ask", "exists()"),
    "events(x).exists()": (8, "text in quotes", 'events("x")'),
    "events().exists()": (1, "takes one text", 'events("order_completed")'),
    'events("").exists()': (8, "a name of 1 to 200", 'events("order_completed")'),
    'events("x").exist()': (13, "exist() cannot be asked", "exists"),
    'events("x").where(e, e.a).exists()': (13, "where() cannot be asked", "filter"),
    'events("x").count()': (13, "true or false is expected", "count(...) > 0"),
    'events("x").count() > "3"': (23, "cannot be compared", "3"),
    'events("x").count().exists()': (13, "gives a value", ""),
    'events("x").sum(total) > 3': (17, "text in quotes", 'sum("total")'),
    'events("x").sum() > 3': (13, "takes one text", 'sum("total")'),
    'events("x").count("y") > 3': (13, "takes nothing", ""),
    'events("x").within("3 days").exists()': (20, "s, m, h, d or w", 'within("90d")'),
    'events("x").within("0d").exists()': (20, "at least a second", 'within("90d")'),
    'events("x").within("9999999999w").exists()': (20, "hundred years", 'within("90d")'),
    'events("x").within(90).exists()': (13, "takes one text", 'within("90d")'),
    'events("x").within("1d").within("2d").exists()': (26, "already given", ""),
    # filters
    'events("x").filter(e.a == 1).exists()': (13, "a name for the event", 'filter(e, e.category == "books")'),
    'events("x").filter(e, total > 3).exists()': (23, "total is no name in this filter", "e.total"),
    'events("x").filter(e, traits.a > 3).exists()': (23, "only at the event's own", "e.a"),
    'events("x").filter(e, segment("vip")).exists()': (23, "only at the event's own", ""),
    'events("x").filter(e, e).exists()': (23, "a name of 1 to 200", "e.category"),
    'events("x").filter(e, e.total + 1).exists()': (23, "true or false is expected", ""),
    "e.total > 3": (1, "e is no name", "traits.total"),
    'events("x").filter(e, e.at > timestamp("2026-01-31")).exists()': (25, "never an instant", "e.occurred_at"),
    'events("x").filter(e, timestamp("2026-01-31") == e.at).exists()': (52, "never an instant", "e.occurred_at"),
    'events("x").filter(e, e.occurred_at < e.at).exists()': (41, "never an instant", "e.occurred_at"),
    'events("x").filter(e, e.at in ["a", timestamp("2026-01-31")]).exists()': (25, "never an instant", "e.occurred_at"),
    # types
    "3": (1, "true or false is expected", ""),
    '"a" > 3': (7, "cannot be compared", ""),
    "3 > true": (5, "cannot be compared", ""),
    "traits.a < true": (1, "have no order", "=="),
    'traits.a + "1" > 3': (12, "a number is expected", "1"),
    "!3": (2, "true or false is expected", ""),
    "traits.a && 3": (13, "true or false is expected", ""),
    "traits.a ? 1 : true": (16, "of one type", ""),
    "traits.a in []": (13, "the list is empty", ""),
    "traits.a in [traits.b]": (21, "values written out", ""),
    'events("x").count() in ["1"]': (25, "a number is expected", "1"),
    "traits.a in 3": (13, "asks for a list", ""),
    "[1, 2]": (1, "right of in", ""),
    "has(3)": (1, "takes one trait", "has(traits.name)"),
    "has(traits.a, traits.b)": (1, "takes one trait", "has(traits.name)"),
    'traits.a.startswith("x")': (10, "cannot be asked about a value", "startsWith"),
    "traits.a.contains()": (10, "takes one text", ""),
    "traits.a.contains(3)": (19, "a text is expected", ""),
    'traits.a > timestamp("yesterday")': (22, "written like", 'timestamp("2026-01-31T00:00:00Z")'),
    'traits.a > timestamp("2026-01-01T00:00:00")': (22, "time zone", 'timestamp("2026-01-31T00:00:00Z")'),
    'traits.a > timestamp("0001-01-01T00:00:00+03:00")': (22, "years 1 and 9999", 'timestamp("2026-01-31T00:00:00Z")'),
    "segment(vip)": (9, "text in quotes", 'segment("vip")'),
    "consent()": (1, "takes one text", 'consent("email_marketing")'),
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_rule_is_explained_at_its_place(rule: str) -> None:
    """The one problem has the column, says what is expected, and suggests what was probably meant."""
    column, message, suggestion = WRONG[rule]
    found = problems(rule, score="1")
    assert len(found) == 1
    assert (found[0].line, found[0].column) == (1, column)
    assert message in found[0].message
    assert found[0].suggestion.startswith(suggestion)
    assert bool(found[0].suggestion) == bool(suggestion)


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    """A rule with five mistakes on three lines gives five problems, each on its line."""
    rule = 'city == "x" &&\n  events("a").count() > "3" && events("b").within("soon").exist()\n|| traits.age + true > 2'
    assert [(each.line, each.column) for each in problems(rule)] == [(1, 1), (2, 25), (2, 51), (2, 59), (3, 17)]


def test_no_problem_brings_on_others() -> None:
    """What could not be understood counts as fitting everywhere."""
    assert len(problems("city + 3 > 5 && has(city) && (city ? city : 3) in [1]")) == 4
    assert len(problems('nope("x") == 3 && nope("x").contains("a")')) == 2


def test_the_error_itself_reads_well() -> None:
    """Its text lists each place with its problem."""
    with pytest.raises(RuleError, match=r"^1:1 city is no name of rules; 1:9 3 cannot"):
        raise RuleError((Problem("3 cannot", 1, 9), Problem("city is no name of rules", 1, 1)))


def _refuse() -> str:
    raise ValueError("the horizon is too long")


MACROS: dict[str, Any] = {
    "refusing": _refuse,
    "unclosed": '("',
    "unknown": "city > 3",
    "itself": "shop.itself() + 1",
    "number": lambda: 3,
    "broken": lambda: "".join([3]),  # type: ignore[list-item]
    "picky": lambda least: f"traits.a > {least}",
}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("shop.unclosed()", "expands to what is no rule: a text begins here"),
        ("shop.unknown()", "city is no name of rules"),
        ("shop.itself() > 1", "nested more than 32"),
        ("shop.number()", "returned int, not the text"),
        ("shop.broken()", "failed with TypeError; does it take such values?"),
        ("shop.picky()", "called as shop.picky(least)"),
        ("shop.picky(1, 2)", "called as shop.picky(least)"),
        ("shop.picky(traits.b)", "takes values written out"),
        ("shop.refusing()", "does not take these arguments: the horizon is too long"),
        ('events("x").filter(e, shop.picky(3)).exists()', "only at the event's own"),
    ],
)
def test_a_problem_in_a_function_of_a_plugin_points_to_the_call(call: str, message: str) -> None:
    """Whatever a plugin's function does, the author of the rule learns it, at the place where it is called."""
    found = problems(f"traits.x &&\n  {call}", **MACROS)
    assert len(found) == 1
    assert message in found[0].message
    assert (found[0].line, found[0].column) == (2, 3 + call.index("shop.") + len("shop."))


def test_arguments_reach_the_function_as_written() -> None:
    """Texts, numbers and truths arrive as such; a minus belongs to its number."""
    seen: list[Any] = []

    def expand(*arguments: Any) -> str:
        seen.extend(arguments)
        return "true"

    parse('shop.any("a\\n", 3, -2.5, true, - 7)', {"shop.any": SegmentFunction("shop.any", "Any.", expand)})
    assert seen == ["a\n", 3, -2.5, True, -7]
    assert [type(each) for each in seen] == [str, int, float, bool, int]
