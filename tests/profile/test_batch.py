"""Which of several contents of one message counts."""

from hypothesis import given
from hypothesis import strategies as st
from sima_profile.batch import Arrival, Outcome, outcomes, settle, winners
from sima_profile.facts import CheckedFact
from sima_profile.identity import Belonging

IDS = [bytes([i]) * 16 for i in range(3)]
CONTENTS = [bytes([i]) * 16 for i in range(4)]


def arrival(fact: bytes, content: bytes) -> Arrival:
    """A fact with nothing but an id and a content."""
    checked = CheckedFact("s", b"", "", (), None, 0, None, None, (), (), content)
    return Arrival(fact, 0, checked, Belonging([], b"", ""))


ARRIVALS = st.lists(st.builds(arrival, st.sampled_from(IDS), st.sampled_from(CONTENTS)), max_size=8)


def take(stored: dict[bytes, bytes], kept: set[tuple[bytes, bytes]], arrivals: list[Arrival]) -> None:
    """What the database does with the decisions about one batch."""
    best = winners(arrivals)
    there = {fact: content for fact, content in stored.items() if fact in best}
    settlement = settle(arrivals, best, there)
    kept |= {(fact, stored[fact]) for fact in settlement.replaced}
    kept |= {(lost.id, lost.fact.content) for lost in settlement.kept}
    stored.update({fact: best[fact].fact.content for fact in best if fact not in there or fact in settlement.replaced})


@given(st.lists(ARRIVALS, max_size=4))
def test_any_order_and_batching_ends_with_the_same_contents(batches: list[list[Arrival]]) -> None:
    """The smallest content of each message is stored, all others are kept, whatever came first."""
    stored: dict[bytes, bytes] = {}
    kept: set[tuple[bytes, bytes]] = set()
    for batch in batches:
        take(stored, kept, batch)
    everything = {(one.id, one.fact.content) for batch in batches for one in batch}
    assert stored == {fact: min(content for id_, content in everything if id_ == fact) for fact, _ in everything}
    assert kept == everything - set(stored.items())


def test_each_arrival_hears_what_became_of_it() -> None:
    """New, known, or known with another content; the place in the batch counts like an order of arrival."""
    sent = [arrival(IDS[0], CONTENTS[1]), arrival(IDS[0], CONTENTS[1]), arrival(IDS[0], CONTENTS[0])]
    assert outcomes(sent, {}) == [Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT]
    assert outcomes(sent, {IDS[0]: CONTENTS[0]}) == [Outcome.CONFLICT, Outcome.DUPLICATE, Outcome.DUPLICATE]
