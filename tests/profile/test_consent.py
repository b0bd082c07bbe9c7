"""Whether a profile may be used for a purpose."""

from hypothesis import given
from hypothesis import strategies as st
from sima_profile.consent import Statement, fold_consents

EMAIL, PHONE = b"e" * 16, b"p" * 16
STATEMENTS = st.builds(
    Statement,
    key=st.sampled_from([EMAIL, PHONE]),
    purpose=st.sampled_from(["email", "ads"]),
    granted=st.booleans(),
    source=st.sampled_from(["crm", "web"]),
    stated_at=st.integers(0, 3),
)


def said(granted: bool, at: int, key: bytes = EMAIL, source: str = "web") -> Statement:
    """A statement about e-mail."""
    return Statement(key, "email", granted, source, at)


def test_the_latest_statement_of_an_identifier_wins() -> None:
    """People change their minds, in both directions."""
    assert fold_consents([said(True, 1), said(False, 2)])[0].granted is False
    assert fold_consents([said(False, 1), said(True, 2)])[0].granted is True


def test_a_tie_is_a_denial() -> None:
    """When nobody can tell which came last, no use is made."""
    assert fold_consents([said(False, 1), said(True, 1)])[0].granted is False


def test_one_denial_denies_for_the_whole_profile() -> None:
    """A grant for the phone does not outweigh a denial for the e-mail address, however late it came."""
    [decided] = fold_consents([said(False, 1, EMAIL, "crm"), said(True, 9, PHONE)])
    assert decided == said(False, 1, EMAIL, "crm")


def test_no_statement_is_unknown() -> None:
    """A purpose that was never stated does not appear, so it cannot count as granted."""
    assert fold_consents([]) == ()


def grants(statements: list[Statement]) -> set[str]:
    """The purposes that are granted."""
    return {decided.purpose for decided in fold_consents(statements) if decided.granted}


@given(st.lists(STATEMENTS, max_size=8), st.lists(STATEMENTS, max_size=8))
def test_joining_two_people_never_widens_consent(one: list[Statement], other: list[Statement]) -> None:
    """What either of them denied stays denied after a merge."""
    one = [statement._replace(key=EMAIL) for statement in one]
    other = [statement._replace(key=PHONE) for statement in other]
    denied = {decided.purpose for side in (one, other) for decided in fold_consents(side) if not decided.granted}
    assert not denied & grants(one + other)


@given(st.lists(STATEMENTS, max_size=10).flatmap(lambda all_: st.tuples(st.just(all_), st.permutations(all_))))
def test_the_order_of_arrival_changes_nothing(orders: tuple[list[Statement], list[Statement]]) -> None:
    """The decision and the statement that decided are functions of the set of statements."""
    assert fold_consents(orders[0]) == fold_consents(orders[1] * 2)
