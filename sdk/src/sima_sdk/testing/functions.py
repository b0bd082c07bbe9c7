"""The promises of a function of the rule language."""

from dataclasses import dataclass
from inspect import signature

import pytest

from sima_sdk.rules import Argument, SegmentFunction
from sima_sdk.testing.contract import Contract, require_at_least


@dataclass(frozen=True, slots=True)
class FunctionSubject:
    """A function with calls.

    Attributes:
        function: What is tested.
        calls: Arguments with which rules may call it; at least one call.
        wrong_calls: Arguments that make no sense; at least one call, unless the function takes no arguments.
    """

    function: SegmentFunction
    calls: tuple[tuple[Argument, ...], ...]
    wrong_calls: tuple[tuple[Argument, ...], ...] = ()

    def __post_init__(self) -> None:
        """Require calls of both sorts."""
        require_at_least(1, "calls", len(self.calls))
        if signature(self.function.expand).parameters:
            require_at_least(1, "wrong_calls", len(self.wrong_calls))


class SegmentFunctionContract(Contract):
    """Inherit it, override the fixture `subject`, and every promise is tested."""

    def test_it_can_be_called_and_found(self, subject: FunctionSubject) -> None:
        """Its name is `<plugin>.<function>`, and one line says what it is for."""
        plugin, dot, name = subject.function.name.partition(".")
        assert dot, "the name must be <plugin>.<function>"
        assert plugin.isidentifier(), "a rule cannot call the plugin by its name"
        assert name.isidentifier(), "a rule cannot call the function by its name"
        assert subject.function.summary.strip(), "people need a summary"
        assert "\n" not in subject.function.summary, "the summary must be one line"

    def test_a_call_becomes_one_expression(self, subject: FunctionSubject) -> None:
        """It gives a text of the rule language in which every bracket and quote is closed."""
        for call in subject.calls:
            text = subject.function.expand(*call)
            assert isinstance(text, str), "expand must return a text"
            assert text.strip(), "expand must not return a blank text"
            _assert_closed(text)

    def test_the_same_call_means_the_same(self, subject: FunctionSubject) -> None:
        """It is pure: whoever evaluates the rule, and whenever, gets the same text."""
        for call in subject.calls:
            assert subject.function.expand(*call) == subject.function.expand(*call)

    def test_a_wrong_call_is_explained(self, subject: FunctionSubject) -> None:
        """Arguments that make no sense raise ValueError with a reason, which the author of the rule reads."""
        if not subject.wrong_calls:
            pytest.skip("a function without arguments cannot be called wrongly")
        for call in subject.wrong_calls:
            with pytest.raises(ValueError, match=r"\S"):
                subject.function.expand(*call)


def _assert_closed(text: str) -> None:
    """Check brackets outside of quotes; the rule language itself judges the rest."""
    pairs, opened, quote, escaped = {")": "(", "]": "[", "}": "{"}, [], "", False
    for character in text:
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        elif character in pairs.values():
            opened.append(character)
        elif character in pairs:
            assert opened, "a bracket is closed that was never opened"
            assert opened.pop() == pairs[character], "a bracket is closed by another kind of bracket"
    assert not quote, "a quote is not closed"
    assert not opened, "a bracket is not closed"
