"""The contract suites find every fault: each broken plugin has one, and the suite names the promise that it breaks."""

from collections.abc import Sequence

import pytest
from sima_sdk.testing.contract import Contract
from sima_sdk.testing.functions import SegmentFunctionContract
from sima_sdk.testing.kinds import IdentifierKindContract
from sima_sdk.testing.pull import PullConnectorContract
from sima_sdk.testing.push import PushConnectorContract

from .broken_plugins import (
    FUNCTION,
    FUNCTION_FAULTS,
    KIND,
    KIND_FAULTS,
    PULL,
    PULL_FAULTS,
    PUSH,
    PUSH_FAULTS,
    TOO_LITTLE,
    plugin,
)

pytest_plugins = ("pytester",)

SUITES = {
    IdentifierKindContract: (KIND, KIND_FAULTS),
    PushConnectorContract: (PUSH, PUSH_FAULTS),
    PullConnectorContract: (PULL, PULL_FAULTS),
    SegmentFunctionContract: (FUNCTION, FUNCTION_FAULTS),
}
QUICK = ("--sima-mutations=300", "-pno:cacheprovider", "-pno:asyncio", "-pno:xdist")


def broken_promises(pytester: pytest.Pytester, modules: Sequence[str]) -> list[set[str]]:
    """Run the suites of test modules, and return for each the names of the promises that its plugin breaks."""
    pytester.makepyfile(**{f"test_{number:02}": module for number, module in enumerate(modules)})
    _passed, _skipped, failed = pytester.inline_run(*QUICK).listoutcomes()
    broken: list[set[str]] = [set() for _ in modules]
    for report in failed:
        module, _, promise = report.nodeid.replace("::", " ").replace(".py", "").split()
        broken[int(module.removeprefix("test_"))].add(promise)
    return broken


@pytest.mark.parametrize("suite", SUITES)
def test_a_good_plugin_keeps_every_promise(pytester: pytest.Pytester, suite: type[Contract]) -> None:
    """A suite has no complaint about a plugin without fault."""
    template, _faults = SUITES[suite]
    assert broken_promises(pytester, [plugin(template)]) == [set()]


@pytest.mark.parametrize("suite", SUITES)
def test_every_fault_is_found(pytester: pytest.Pytester, suite: type[Contract]) -> None:
    """Of plugins with one fault each, every one breaks the promise that was made against its fault."""
    template, faults = SUITES[suite]
    broken = broken_promises(pytester, [plugin(template, fault) for _promise, fault in faults.values()])
    found = zip(faults, faults.values(), broken, strict=True)
    assert [name for name, (promise, _fault), promises in found if promise not in promises] == []


def promises(suite: type[Contract]) -> set[str]:
    """Return the names of a suite's promises."""
    return {name for name in dir(suite) if name.startswith("test_")}


@pytest.mark.parametrize("suite", SUITES)
def test_every_promise_has_a_plugin_that_breaks_it(suite: type[Contract]) -> None:
    """No promise of a suite is there that cannot fail."""
    _template, faults = SUITES[suite]
    assert promises(suite) == {promise for promise, _fault in faults.values()}


def test_a_suite_without_subject_says_so(pytester: pytest.Pytester) -> None:
    """Whoever forgets the fixture is told its name."""
    pytester.makepyfile(
        "from sima_sdk.testing.push import PushConnectorContract\nclass TestNothing(PushConnectorContract): pass"
    )
    result = pytester.runpytest_inprocess(*QUICK)
    result.stdout.fnmatch_lines(["*TestNothing must override the fixture `subject`*"])


@pytest.mark.parametrize("what", TOO_LITTLE)
def test_a_subject_with_too_little_to_test_is_refused(pytester: pytest.Pytester, what: str) -> None:
    """No promise counts as kept because there was nothing to look at, and the author is told what is missing."""
    template, enough, too_little = TOO_LITTLE[what]
    assert enough in template
    pytester.makepyfile(plugin(template.replace(enough, too_little)))
    result = pytester.runpytest_inprocess(*QUICK)
    result.stdout.fnmatch_lines([f"*ValueError: {what}: expected at least *"])
    assert "passed" not in result.parseoutcomes()


def test_a_function_without_arguments_needs_no_wrong_call(pytester: pytest.Pytester) -> None:
    """Nobody can call it wrongly, and the report says so."""
    function = plugin(FUNCTION, "expand = lambda: 'traits.vip'")
    pytester.makepyfile(function.replace("((7,), (30,)), wrong_calls=((0,),)", "((),)"))
    pytester.runpytest_inprocess(*QUICK).assert_outcomes(passed=3, skipped=1)


def test_a_route_without_sample_is_named(pytester: pytest.Pytester) -> None:
    """Whoever forgets a route is told which."""
    _promise, fault = PUSH_FAULTS["a route without any sample"]
    pytester.makepyfile(plugin(PUSH, fault))
    result = pytester.runpytest_inprocess(*QUICK, "-k", "routes")
    result.stdout.fnmatch_lines(["*no sample for the route POST '/knock'*"])


def test_a_promise_cannot_be_dropped_in_silence() -> None:
    """A suite that replaces a promise does not even load, unless it says why it expects to break it."""
    with pytest.raises(TypeError, match=r"test_facts_are_sound replaces a promise"):

        class Silent(PushConnectorContract):
            def test_facts_are_sound(self) -> None:  # type: ignore[override]
                """Say nothing."""

    class Honest(PushConnectorContract):
        @pytest.mark.xfail(reason="the channel knows nobody")
        def test_facts_are_sound(self) -> None:  # type: ignore[override]
            """Say why."""

    assert issubclass(Honest, PushConnectorContract)


def test_a_failed_mutation_can_be_seen(pytester: pytest.Pytester) -> None:
    """The report of a broken promise shows the payload that broke it, and how to get it again."""
    _promise, fault = PUSH_FAULTS["a field that is taken on trust"]
    pytester.makepyfile(plugin(PUSH, fault))
    result = pytester.runpytest_inprocess(*QUICK, "--sima-seed=5")
    result.stdout.re_match_lines([r".*mutation \d+ of seed 5: \{\} b'.*"])
