"""Which value of a trait counts."""

from hypothesis import given
from hypothesis import strategies as st
from sima_profile.survivorship import (
    MAX_ALTERNATIVES,
    WEIGHED,
    FoldedTrait,
    Observation,
    Survivorship,
    TraitPolicy,
    fold_trait,
    fold_traits,
)

OBSERVATIONS = st.builds(
    Observation,
    observed_at=st.integers(0, 3),
    confidence=st.sampled_from([0.5, 1.0]),
    source=st.sampled_from(["crm", "shop", "web"]),
    method=st.sampled_from(["declared", "observed", "acquired"]),
    type=st.sampled_from(["text", "number"]),
    value=st.sampled_from(["1", "2", "3"]),
)
TRUSTING = st.builds(TraitPolicy, st.sampled_from(Survivorship), st.sampled_from([("crm",), ("shop", "crm")]))
POLICIES = TRUSTING | st.sampled_from([each for each in Survivorship if each != "most_trusted_source"]).map(TraitPolicy)


def seen(value: str, at: int, source: str = "web", method: str = "observed") -> Observation:
    """An observation of a text."""
    return Observation(at, 1.0, source, method, "text", f'"{value}"')


def fold(*observations: Observation, policy: TraitPolicy | None = None) -> FoldedTrait:
    """Fold the observations of a city."""
    return fold_trait("city", observations, policy or TraitPolicy())


def values(observations: tuple[Observation, ...]) -> list[str]:
    """Only the values."""
    return [observation.value.strip('"') for observation in observations]


def test_the_most_recent_value_counts_and_the_others_stay_visible() -> None:
    """Losing values are alternatives, the latest first, each with its last observation."""
    folded = fold(seen("Riyadh", 1), seen("Tehran", 3), seen("Berlin", 2), seen("Riyadh", 2, "crm"))
    assert values(folded.values) == ["Tehran"]
    assert values(folded.alternatives) == ["Berlin", "Riyadh"]
    assert folded.alternatives[1] == seen("Riyadh", 2, "crm")


def test_the_most_trusted_source_counts_even_if_it_spoke_long_ago() -> None:
    """Trust comes before time; among equals the latest."""
    policy = TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm", "shop"))
    folded = fold(seen("a", 1, "crm"), seen("b", 9, "shop"), seen("c", 2, "crm"), seen("d", 10), policy=policy)
    assert values(folded.values) == ["c"]
    assert values(folded.alternatives) == ["a", "b", "d"]


def test_a_trusted_value_is_shown_with_the_source_that_made_it_count() -> None:
    """That others repeated it later does not hide why it won."""
    policy = TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm",))
    assert fold(seen("a", 1, "crm"), seen("a", 5), seen("b", 6), policy=policy).values[0].source == "crm"


def test_what_was_declared_counts_first_if_the_policy_says_so() -> None:
    """A form beats later behaviour; without a declaration the latest value counts."""
    policy = TraitPolicy(Survivorship.DECLARED_FIRST)
    declared = seen("a", 1, method="declared")
    assert values(fold(declared, seen("b", 9), policy=policy).values) == ["a"]
    assert values(fold(seen("b", 9), seen("c", 8), policy=policy).values) == ["b"]


def test_under_union_every_value_counts_once() -> None:
    """All values stand beside each other, also beyond the weighed ones, and none loses."""
    policy = TraitPolicy(Survivorship.UNION)
    many = [seen(str(i), i) for i in range(3 * WEIGHED)]
    folded = fold(*many, *many, policy=policy)
    assert values(folded.values) == [str(i) for i in reversed(range(3 * WEIGHED))]
    assert folded.alternatives == ()


def test_a_disagreement_between_declared_and_observed_is_reported() -> None:
    """It is never hidden, whichever of the two counts."""
    assert fold(seen("a", 2, method="declared"), seen("b", 1)).contradiction
    assert fold(seen("a", 1, method="declared"), seen("b", 2, method="acquired")).contradiction
    assert not fold(seen("a", 1, method="declared"), seen("a", 2)).contradiction
    assert not fold(seen("a", 1), seen("b", 2)).contradiction
    assert not fold(seen("b", 1), seen("a", 2, method="declared"), seen("a", 3)).contradiction


def test_only_so_many_alternatives_are_shown() -> None:
    """A trait that changes all the time does not make an endless card."""
    folded = fold(*[seen(str(i), i) for i in range(40)])
    assert values(folded.alternatives) == [str(i) for i in reversed(range(39 - MAX_ALTERNATIVES, 39))]


def test_a_text_and_a_number_are_different_values() -> None:
    """42 and "42" disagree."""
    folded = fold(
        Observation(1, 1.0, "a", "observed", "text", "42"), Observation(2, 1.0, "a", "observed", "number", "42")
    )
    assert len(folded.alternatives) == 1


@given(
    st.lists(OBSERVATIONS, min_size=1, max_size=12).flatmap(
        lambda all_: st.tuples(st.just(all_), st.permutations(all_))
    ),
    POLICIES,
)
def test_the_order_of_arrival_changes_nothing(
    orders: tuple[list[Observation], list[Observation]], policy: TraitPolicy
) -> None:
    """Ties included: the fold is a function of the set of observations, repeated or not."""
    first, second = orders
    assert fold_trait("t", first, policy) == fold_trait("t", second * 2, policy)


@given(st.lists(OBSERVATIONS, min_size=1, max_size=12), POLICIES)
def test_every_distinct_value_is_somewhere(observations: list[Observation], policy: TraitPolicy) -> None:
    """No value is lost: it counts or it is an alternative, and never both."""
    folded = fold_trait("t", observations, policy)
    shown = [(shown.type, shown.value) for shown in (*folded.values, *folded.alternatives)]
    assert sorted(shown) == sorted({(given.type, given.value) for given in observations})


def test_traits_come_in_the_order_of_their_names_each_by_its_policy() -> None:
    """Two calls show the same card."""
    observed = {"b": [seen("x", 1), seen("y", 2)], "a": [seen("x", 1), seen("y", 2)]}
    folded = fold_traits(observed, {"b": TraitPolicy(Survivorship.UNION)})
    assert [(trait.trait, len(trait.values)) for trait in folded] == [("a", 1), ("b", 2)]
