"""What the documentation says about rules is true."""

import re
from pathlib import Path

from sima_segment.rules import LONGEST_RULE
from sima_segment.rules.check import DEEPEST_NESTING, MOST_PARTS
from sima_segment.rules.lexical import DEEPEST_BRACKETS, MOST_WORDS
from sima_segment.settings import SegmentSettings

LANGUAGE = " ".join((Path(__file__).parents[2] / "docs" / "rule-language.md").read_text().split())


def test_the_limits_of_a_rule_are_documented() -> None:
    """Whoever writes rules knows how long they may be."""
    limits = (
        f"Limits: {LONGEST_RULE:,} characters, {MOST_WORDS:,} words and signs, {MOST_PARTS:,} parts, "
        f"{DEEPEST_NESTING} levels of nesting, {DEEPEST_BRACKETS} brackets within each other."
    )
    assert limits in LANGUAGE


def test_what_rules_can_see_is_documented() -> None:
    """The defaults and the names of their settings, in one order."""
    fields = ("most_event_names", "most_properties", "most_traits")
    seen = re.search(r"first ([\d,]+) event names .* first ([\d,]+) properties .* first ([\d,]+) traits", LANGUAGE)
    assert seen is not None
    assert seen.groups() == tuple(f"{SegmentSettings.model_fields[field].default:,}" for field in fields)
    prefix = SegmentSettings.model_config["env_prefix"]
    assert [name for name in re.findall(r"`(\w+)`", LANGUAGE) if name.startswith(prefix)] == [
        f"{prefix}{field}".upper() for field in fields
    ]
