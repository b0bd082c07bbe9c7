"""Who owns a fact."""

from hypothesis import given
from hypothesis import strategies as st
from sima_profile.owners import PLAIN, NonOwners, Ownership, Standing

A, B, C = (letter.encode() * 16 for letter in "abc")
SHARED, BLOCKED = Standing(shared=True, blocked=False), Standing(shared=False, blocked=True)
STANDINGS = st.dictionaries(st.sampled_from([A, B, C]), st.sampled_from([PLAIN, SHARED, BLOCKED]))


def owner(*keys: bytes, **standings: Standing) -> Ownership:
    """Whom a fact belongs to, given standings by the letters of keys."""
    non_owners = NonOwners()
    non_owners.update([(letter.encode() * 16, standing) for letter, standing in standings.items()], 1)
    return non_owners.owner(keys)


def test_the_strongest_plain_identifier_owns() -> None:
    """Keys come strongest first; shared and blocked ones are passed over."""
    assert owner(A, B) == (A, False)
    assert owner(A, B, C, a=SHARED) == (B, True)
    assert owner(A, B, C, a=BLOCKED, b=SHARED) == (C, True)
    assert owner(A, B, b=SHARED) == (A, False)


def test_without_a_plain_one_the_strongest_shared_owns() -> None:
    """What only a shared tablet saw belongs to the tablet."""
    assert owner(A, B, a=BLOCKED, b=SHARED) == (B, True)
    assert owner(A, B, a=SHARED, b=SHARED) == (A, True)


def test_what_only_junk_names_belongs_to_nobody() -> None:
    """It is kept all the same."""
    assert owner(A, B, a=BLOCKED, b=BLOCKED) == (None, True)


@given(STANDINGS, STANDINGS)
def test_changes_in_steps_lead_where_one_step_leads(
    first: dict[bytes, Standing], second: dict[bytes, Standing]
) -> None:
    """Only the last standing of an identifier counts."""
    stepwise, at_once = NonOwners(), NonOwners()
    stepwise.update(first.items(), 1)
    stepwise.update(second.items(), 2)
    at_once.update({**first, **second}.items(), 2)
    assert stepwise == at_once


@given(STANDINGS, STANDINGS)
def test_differences_are_what_is_missing(known: dict[bytes, Standing], news: dict[bytes, Standing]) -> None:
    """Taking over the differences is taking over everything, and there are none afterwards."""
    non_owners = NonOwners()
    non_owners.update(known.items(), 1)
    non_owners.update(non_owners.differences(news).items(), 2)
    assert non_owners.differences(news) == {}
