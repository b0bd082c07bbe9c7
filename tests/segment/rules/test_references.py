"""What a rule looks at, and how segments refer to each other."""

from datetime import timedelta

import pytest
from sima_segment.rules import (
    Catalogue,
    ColumnType,
    Position,
    RuleError,
    check_segments,
    compile_rule,
    evaluation_order,
    parse,
    references,
)

TEXT = frozenset({ColumnType.TEXT})
NUMBER = frozenset({ColumnType.NUMBER})


def test_a_rule_says_what_it_looks_at() -> None:
    """Events with properties, traits, windows, segments with their place, and purposes: wherever they stand in it."""
    rule = parse(
        'has(traits.a) && (events("x").within("1d").filter(e, e.p == 1 || has(e.q)).sum("r") > traits.b ? '
        '!segment("s") : consent("c")) ||\n events("x").within("1w").exists() || events("y").count() in [1] '
        '|| segment("t") || traits.a.contains("x") || segment("s")'
    )
    found = references(rule)
    assert dict(found.events) == {"x": {"p", "q", "r"}, "y": set()}
    assert found.traits == {"a", "b"}
    assert found.windows == {("x", timedelta(days=1)), ("x", timedelta(weeks=1))}
    assert dict(found.segments) == {"s": Position(1, 107), "t": Position(2, 77)}
    assert found.purposes == {"c"}


def test_a_compiled_rule_stays_good_while_its_own_columns_stay() -> None:
    """Columns that a rule does not look at come and go without compiling it again; one of its own does not."""
    rule = parse('events("x").sum("p") > 1 && traits.a == "b"')
    first = compile_rule(rule, Catalogue({"x": {"p": NUMBER}}, {"a": TEXT}))
    more = Catalogue({"x": {"p": NUMBER, "q": TEXT}, "y": {"p": TEXT}}, {"a": TEXT, "z": NUMBER})
    assert compile_rule(rule, more) is first
    assert compile_rule(rule, Catalogue({"x": {"p": NUMBER}}, {"a": TEXT | NUMBER})) is not first


def test_rules_that_differ_only_in_type_are_different() -> None:
    """`true` is not `1`, though Python takes them for equal."""
    catalogue = Catalogue({}, {"a": frozenset({ColumnType.BOOLEAN, ColumnType.NUMBER})})
    one, true = (compile_rule(parse(f"traits.a == {value}"), catalogue).sql for value in ("1", "true"))
    assert "a__number" in one
    assert "a__boolean" in true


def test_a_reference_to_no_segment_is_a_problem_with_a_suggestion() -> None:
    """Each reference that leads nowhere is told at its place."""
    others = {"vip": parse("true"), "new": parse("true")}
    with pytest.raises(RuleError) as raised:
        check_segments("best", parse('segment("VIPs") ||\n segment("old") || segment("new")'), others)
    first, second = raised.value.problems
    assert (first.line, first.column, first.suggestion) == (1, 9, "vip")
    assert (second.line, second.column, second.suggestion) == (2, 10, "")


def test_a_reference_means_the_segment_however_its_name_is_composed() -> None:
    """Letters with accents may be written as one character or as two."""
    rule = parse('segment("cafe\u0301")')
    check_segments("best", rule, {"caf\u00e9": parse("true")})
    assert list(references(rule).segments) == ["caf\u00e9"]


def test_a_circle_of_segments_is_a_problem() -> None:
    """A segment can refer to itself neither directly nor through others."""
    others = {"a": parse('segment("b")'), "b": parse('segment("c") || traits.x'), "d": parse("true")}
    for rule, column in (('segment("c")', 9), ('traits.x || segment("a")', 21), ('segment("d") && segment("b")', 25)):
        with pytest.raises(RuleError) as raised:
            check_segments("c", parse(rule), others)
        assert [each.column for each in raised.value.problems] == [column]
        assert "refers back" in raised.value.problems[0].message
    check_segments("c", parse('segment("d")'), others)


def test_segments_are_worked_out_behind_those_they_refer_to() -> None:
    """The order is the same whatever order the segments are given in; a circle has none."""
    rules = {"a": parse('segment("b") && segment("c")'), "b": parse('segment("c")'), "c": parse("true")}
    assert evaluation_order(rules) == evaluation_order(dict(reversed(rules.items()))) == ("c", "b", "a")
    assert evaluation_order({"a": parse('segment("gone")')}) == ("a",)
    with pytest.raises(RuleError, match="circle"):
        evaluation_order({**rules, "c": parse('segment("a")')})
