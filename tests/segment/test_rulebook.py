"""Rules are read with the functions that plugins brought."""

import threading
from unittest.mock import AsyncMock, Mock

import pytest
from sima_sdk.rules import SegmentFunction
from sima_segment.plan import Plan
from sima_segment.rulebook import MOST_LEVELS, RuleBook, extended
from sima_segment.rules import RuleError, parse
from sima_segment.segments import Segments

RULE = "plugin.function()"


def test_segments_stand_behind_each_other_in_a_limited_row() -> None:
    """Each level makes the statement of all rules deeper; a rule that would lengthen the row further is refused."""
    plan = Plan({})
    for number in range(MOST_LEVELS):
        plan = extended(plan, f"s{number}", parse(f'segment("s{number - 1}")' if number else "true"))
    with pytest.raises(RuleError, match=f"at most {MOST_LEVELS} segments"):
        extended(plan, "last", parse(f'segment("s{MOST_LEVELS - 1}")'))
    plan = extended(plan, "beside", parse('segment("s0")'))
    with pytest.raises(RuleError, match=f"at most {MOST_LEVELS} segments"):
        extended(plan, "s1", parse('segment("beside")'))


def test_what_lives_again_lengthens_no_row_beyond_the_limit() -> None:
    """Segments that were frozen count as soon as they are understood."""
    row = {f"s{number}": parse(f'segment("s{number - 1}")' if number else "true") for number in range(MOST_LEVELS)}
    frozen = {"again": f'segment("s{MOST_LEVELS - 1}")'}
    with pytest.raises(RuleError, match=f"at most {MOST_LEVELS} segments"):
        RuleBook({}).thawed(Plan(row, frozen))
    assert RuleBook({}).thawed(Plan(row, {"again": 'segment("s0")'})).frozen == {}


async def test_rules_are_read_beside_the_event_loop() -> None:
    """Large ones take long, and code of plugins takes as long as it wants; nobody else waits for them."""
    threads: list[threading.Thread] = []

    def expand() -> str:
        threads.append(threading.current_thread())
        return "true"

    rules = RuleBook({"plugin.function": SegmentFunction("plugin.function", "", expand)})
    segments = Segments(Mock(), Mock(follow=AsyncMock()), rules)
    segments.get = AsyncMock(return_value=Mock(rule=RULE, description=""))  # type: ignore[method-assign]
    await segments.preview("w", RULE, 1)
    await segments.create("w", "name", RULE, "")
    assert len(threads) == 2
    assert threading.current_thread() not in threads


def test_a_reference_to_a_frozen_segment_says_that_it_is_frozen() -> None:
    """It exists, so nobody is told that it does not, nor to take another one; one that is not there is not there."""
    plan = Plan({"lapsed": parse("true")}, {"lapse": RULE})
    with pytest.raises(RuleError) as raised:
        extended(plan, "new", parse('segment("lapse") ||\n segment("lapses")'))
    frozen, missing = raised.value.problems
    assert frozen.message == "the segment lapse is frozen: its rule is not understood at the moment"
    assert (frozen.line, frozen.column, frozen.suggestion) == (1, 9, "")
    assert (missing.message, missing.suggestion) == ("there is no segment lapses", "lapsed")


def test_a_frozen_segment_can_be_given_a_rule_that_is_understood() -> None:
    """It is no longer in its own way, and still refers to itself as little as any other."""
    plan = Plan({}, {"lb": RULE})
    assert extended(plan, "lb", parse("true")).frozen == {}
    with pytest.raises(RuleError, match="refers back"):
        extended(plan, "lb", parse('segment("lb")'))
