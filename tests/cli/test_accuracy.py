"""The report's arithmetic."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from sima_cli.report.accuracy import Accuracy, Found, compare
from sima_cli.sample.truth import Known, Truth

NAMES = st.sampled_from([Known("email", f"{letter}@example.com") for letter in "abcdefghij"])
TRUTHS = st.dictionaries(NAMES, st.none() | st.integers(0, 3))
FOUND = st.dictionaries(NAMES, st.sampled_from("pqrs"))


def brute_force(truth: Truth, found: Found) -> Accuracy:
    """The same figures, pair by pair."""
    pairs = list(combinations(sorted(truth.keys() | found.keys()), 2))
    true = {pair for pair in pairs if truth.get(pair[0]) is not None and truth.get(pair[0]) == truth.get(pair[1])}
    claimed = {pair for pair in pairs if pair[0] in found and found[pair[0]] == found.get(pair[1])}
    agreed = len(true & claimed)
    return Accuracy(len(true), agreed / len(claimed) if claimed else 1.0, agreed / len(true) if true else 1.0)


@given(TRUTHS, FOUND)
def test_counting_sizes_gives_the_same_as_counting_pairs(truth: Truth, found: Found) -> None:
    """Precision and recall from group sizes equal those from enumerating every pair."""
    assert compare(truth, found) == brute_force(truth, found)


def test_putting_a_shared_tablet_with_somebody_costs_precision() -> None:
    """What belongs to nobody alone must stay alone."""
    mother, tablet = Known("email", "mother@example.com"), Known("device_id", "tablet")
    assert compare({mother: 1, tablet: None}, {mother: "p", tablet: "p"}).precision == 0.0
    assert compare({mother: 1, tablet: None}, {mother: "p", tablet: "q"}) == Accuracy(0, 1.0, 1.0)


def test_what_never_arrived_costs_recall() -> None:
    """An identifier that Sima does not know is found with nobody."""
    one, other = Known("email", "a@example.com"), Known("phone", "+491512345678")
    assert compare({one: 1, other: 1}, {one: "p"}) == Accuracy(1, 1.0, 0.0)
