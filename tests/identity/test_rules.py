"""Many patterns of a workspace are tried at once, and block what each of them blocks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima_identity import rules
from sima_identity.policy import Policy
from sima_identity.rules import Rules, compiled, effective

# What might say something about all that follows: quotes, flags, alternatives, names, brackets that are none.
WORDS = r"a", r"b+", r".*", r"a|b", r"(?i)a", r"(?P<n>[ab])", r"[)(]", r"\Qa|", r"\Q(\E", r"\Q)|\Q", r"b\\", r"\(a"
PATTERNS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("".join), max_size=5)
LARGE = [f"[a-z]{{1,{number + 900}}}-{number}" for number in range(40)]


@given(PATTERNS, st.text(r"abAB|\()Q", max_size=4))
def test_many_patterns_block_what_one_of_them_blocks(patterns: list[str], value: str) -> None:
    """Whatever each of them says, and wherever it ends."""
    policy = effective(Rules(patterns={"user_id": patterns}, known_junk=False), Policy())
    assert policy.blocks("user_id", value) == any(compiled(pattern).fullmatch(value) for pattern in patterns)


def test_as_many_patterns_as_allowed_are_one_expression() -> None:
    """A value is held against them all in the time that one takes; among those of other kinds it is not."""
    tills = [f".*till-{number}-[0-9]+@shop[.]example" for number in range(1_000)]
    policy = effective(Rules(patterns={"email": tills}), Policy())
    assert len(policy.blocked["email"]) == 1
    assert policy.blocks("email", "my-till-999-1@shop.example")
    assert not policy.blocks("email", "till-1000-1@shop.example")
    assert not policy.blocks("user_id", "till-999-1@shop.example")


def test_what_is_too_large_together_is_tried_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pattern that may be set is left out."""
    monkeypatch.setattr(rules, "_MOST_MEMORY", 256 * 1024)
    policy = effective(Rules(patterns={"user_id": LARGE}), Policy())
    assert 1 < len(policy.blocked["user_id"]) < len(LARGE)
    assert all(policy.blocks("user_id", f"user-{number}") for number in range(40))
    assert not policy.blocks("user_id", "user-40")


def test_the_patterns_of_the_installation_count_beside_those_of_a_workspace() -> None:
    """They are Python's own, which can say more."""
    base = Policy(blocked={"user_id": [re.compile(r"(?=till)[a-z]+\d")]})
    policy = effective(Rules(patterns={"user_id": ["kiosk", "desk"]}), base)
    assert all(policy.blocks("user_id", value) for value in ("till1", "kiosk", "desk"))
    assert not policy.blocks("user_id", "till")
