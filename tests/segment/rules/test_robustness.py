"""No text, however strange, does anything but compile or be explained."""

import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sima_segment.rules import Catalogue, ColumnType, Problem, RuleError, compile_rule, parse

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CATALOGUE = Catalogue({"a": {"b": frozenset(ColumnType)}}, {"a": frozenset(ColumnType)})
PIECES = [
    *("traits", ".", "a", "traits.a", '["a"]', "events", '("a")', 'events("a")', ".exists()", ".count()", '.sum("b")'),
    *(".within", '("1d")', ".filter(e, ", "e.b", ")", "(", "[", "]", "&&", "||", "!", "==", "!=", "<", ">", "in", "?"),
    *(":", "+", "-", "*", "/", "%", "1", "2.5", "-1", '"x"', "'", '"', "\\", "true", "false", "null", ",", " ", "\n"),
    *("segment", "consent", "has", "timestamp", ".contains", ".startsWith", "{", "}", "//", '"""', "0x", "e", "u", "ش"),
]
MIXED = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
ANY = st.text(st.characters(), max_size=200)
BYTES = st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def outcome(text: str) -> str | tuple[Problem, ...]:
    """Return the SQL of a rule, or what is wrong with it."""
    try:
        return compile_rule(parse(text), CATALOGUE).sql
    except RuleError as error:
        return error.problems


@pytest.mark.slow
@settings(max_examples=1500)
@given(st.one_of(MIXED, MIXED, ANY, BYTES))
def test_any_text_compiles_or_is_explained(text: str) -> None:
    """Whatever is sent as a rule, the answer is SQL, or problems that each have a place in the text."""
    found = outcome(text)
    assert found
    for problem in () if isinstance(found, str) else found:
        assert problem.message
        assert 1 <= problem.line <= text.count("\n") + 1
        assert 1 <= problem.column <= len(text) + 1


LONG_CHAIN = " && ".join(f'traits.a != "{number}"' for number in range(900))
EXTREMES = {
    "open quote with escapes": ('"' + r"\n" * 5000, "never ends"),
    "open long quote": ('"""' + r"\n" * 5000, "never ends"),
    "open quote in a remark": ('true // "' + r"\n" * 5000, ""),
    "brackets": ("(" * 5000 + "true" + ")" * 5000, "nested more than"),
    "64 brackets": ("(" * 64 + "true" + ")" * 64, ""),
    "negations": ("!" * 3900 + "true", "nested more than"),
    "signs": ("-" * 3900 + "1 > 0", "nested more than"),
    "sum": ("+".join("1" * 1900) + " > 0", "nested more than"),
    "choices": ("true ? true : " * 900 + "true", "nested more than"),
    "dots": ("traits" + ".a" * 1900 + " == 1", "1 to 200 characters"),
    "calls": ('events("a")' + '.within("1d")' * 700 + ".exists()", "already given"),
    "lists": ("traits.a in " + "[" * 60 + "1" + "]" * 60, "right of in"),
    "long list": (f"traits.a in [{', '.join(str(n) for n in range(1500))}]", ""),
    "words": ("true || " * 3000 + "true", "4000 words"),
    "parts": (" || ".join(["true"] * 1200), "1000 parts"),
    "long text": ('traits.a == "' + "x" * 30_000 + '"', ""),
    "too long": ("x" * 40_000, "32768 characters"),
    "digits": ("9" * 30_000 + " > 1", "loses digits"),
    "fraction": ("0." + "9" * 30_000 + " > 1", ""),
    "exponent": ("1e" + "9" * 30_000 + " > 1", "too large"),
    "duration": ('events("a").within("' + "9" * 9000 + 'd").exists()', "s, m, h, d or w"),
    "chain": (LONG_CHAIN, "4000 words"),
    "zero": ('traits.a == "\0"', "cannot stand"),
    "written zero": (r'traits.a == "\x00"', "character zero"),
    "half a pair": ('traits.a == "\ud800"', "cannot stand"),
    "written half a pair": (r'traits.a == "\ud800"', "half a surrogate"),
    "beyond all characters": (r'traits.a == "\UFFFFFFFF"', "is not a character"),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_are_bounded(name: str) -> None:
    """Depth, length and size have limits, and what is within them compiles."""
    text, message = EXTREMES[name]
    found = outcome(text)
    assert isinstance(found, str) == (not message)
    assert not message or message in found[0].message  # type: ignore[union-attr]


def doubled(levels: int) -> str:
    """Return a rule that would double in SQL with every level."""
    rule = "traits.a"
    for _ in range(levels):
        rule = f"((traits.a == ({rule} ? traits.a : traits.b)) ? traits.a : traits.b) == (traits.c ? traits.a : 1)"
        rule = f"({rule})"
    return rule


def test_what_would_grow_without_bounds_is_refused() -> None:
    """A short rule whose SQL would be endless has too many parts."""
    assert isinstance(outcome(doubled(2)), str)
    assert "parts" in outcome(doubled(6))[0].message  # type: ignore[union-attr]
    dividing = "traits.a"
    for _ in range(20):
        dividing = f"1 / ({dividing})"
    assert "parts" in outcome(f"{dividing} > 1")[0].message  # type: ignore[union-attr]


ATTACKS = [
    "'; DROP TABLE people; --",
    "' OR '1'='1",
    '"; DROP TABLE people; --',
    '" OR "1"="1',
    "$instant",
    "$1",
    "?",
    "%s{}",
    "\\'; DROP TABLE people; --",
    "\\",
    "E'\\x27",
    "/* */ --",
    "\u2019 OR 1=1",
    "a\nb\tc\r",
    "𝛼😀",
    *string.punctuation,
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_texts_and_names_stay_texts_and_names(project: Callable[..., Any], attack: str) -> None:
    """Whatever stands in quotes, it finds exactly the value, trait, event, segment or purpose of that name."""
    text = '"' + attack.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    ada = {
        "traits": {attack: attack, "list": (attack, "other")},
        "events": [(attack, NOW, {attack: attack, "amount": 1})],
        "consents": {attack: True},
        "segments": [attack],
    }
    bob = {"traits": {"other": attack + "x"}, "events": [("other", NOW, {"x": 1})], "consents": {"x": True}}
    projection = project({"ada": ada, "bob": bob})
    for rule in (
        f"traits[{text}] == {text}",
        f"traits[{text}] in [{text}, 3]",
        f"traits[{text}].contains({text}) && traits[{text}].startsWith({text}) && traits[{text}].endsWith({text})",
        f"{text} in traits.list && traits.list.startsWith({text})",
        f'events({text}).filter(e, e[{text}] == {text}).sum("amount") == 1',
        f"events({text}).exists() && has(traits[{text}])",
        f"segment({text})",
        f"consent({text})",
        f"segment({text}) == consent({text}) && segment({text})",
    ):
        assert projection.members(rule, NOW) == {"ada"}
    assert projection.members("true", NOW) == {"ada", "bob"}


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (" && ".join(["true"] * 900), "true"),
        (" || ".join(["false"] * 900), "false"),
        (" && ".join(['events("a").exists()'] * 150), 'events("a").exists()'),
        ('traits.a == "x" && true && (false || traits.a == "x")', 'traits.a == "x"'),
        ('consent("p") || true', "true"),
        ('!(consent("p") || true)', "false"),
    ],
)
def test_what_changes_nothing_costs_nothing(long: str, short: str) -> None:
    """Constants and repetitions are no joins over everybody."""
    assert outcome(long) == outcome(short)
