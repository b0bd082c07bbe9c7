"""What figures promise: which side of its bar a value must be on, and which rank a percentile has."""

import pytest

from benchmarks.figures import SHARE, Figure, percentile, short, sized


def figure(value: float, unit: str, bar: float | None) -> Figure:
    """A figure of which only the bar is of interest."""
    return Figure("name", value, unit, 1.0, "nothing", bar)


@pytest.mark.parametrize("unit", ["events/s", SHARE])
def test_throughputs_and_shares_must_reach_their_bar(unit: str) -> None:
    """More is better."""
    assert figure(0.97, unit, 0.97).met is True
    assert figure(0.969, unit, 0.97).met is False


@pytest.mark.parametrize("unit", ["ms", "s", "ratio"])
def test_everything_else_must_not_exceed_its_bar(unit: str) -> None:
    """Less is better."""
    assert figure(1.5, unit, 1.5).met is True
    assert figure(1.501, unit, 1.5).met is False


def test_without_bar_nothing_is_met_or_missed() -> None:
    """A figure may be there to be read only."""
    assert figure(1.0, "ms", None).met is None


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    """By nearest rank, whatever the order of the values."""
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_a_size_is_scaled_but_stays_sensible() -> None:
    """Not below its least, and never above the full size because of it."""
    assert sized(1_000, 0.01) == 10
    assert sized(1_000, 0.01, least=50) == 50
    assert sized(20, 0.01, least=50) == 20


@pytest.mark.parametrize(
    ("count", "expected"), [(20, "20"), (1_000, "1k"), (1_999, "1k"), (999_999, "999k"), (10_000_000, "10m")]
)
def test_a_size_is_short_in_a_name(count: int, expected: str) -> None:
    """So that the figure of a smaller try is never taken for that of the full size."""
    assert short(count) == expected
