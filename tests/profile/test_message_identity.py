"""Which messages are the same message."""

from hypothesis import given
from hypothesis import strategies as st
from sima_profile.message_identity import content_hash, fact_id, message_hash, part_id
from sima_runtime.wire import KeyedIdentifier

KEYS = [KeyedIdentifier("email", f"{letter}@example.com", letter.encode() * 16) for letter in "abc"]
INSTANTS = st.integers(min_value=-(10**15), max_value=4 * 10**15)


def content(identifiers: tuple[KeyedIdentifier, ...] = (KEYS[0],), event: str | None = None) -> bytes:
    """The hash of a small message."""
    return content_hash(identifiers, 1, event=event, properties=None, traits=(), consents=())


def test_the_order_of_identifiers_does_not_make_another_content() -> None:
    """A retry that lists its identifiers differently is the same message."""
    assert content((KEYS[0], KEYS[1])) == content((KEYS[1], KEYS[0]))


def test_everything_that_a_message_says_counts() -> None:
    """Another identifier or another event is another content."""
    assert len({content(), content((KEYS[1],)), content(event="page_viewed"), content((KEYS[0], KEYS[1]))}) == 4


def test_a_message_is_named_by_workspace_source_and_id() -> None:
    """The same id from another source, or in another workspace, is another message."""
    names = {message_hash(*name, b"") for name in (("w", "s", "1"), ("w", "s", "2"), ("w", "t", "1"), ("v", "s", "1"))}
    assert len(names) == 4


def test_without_an_id_the_content_names_the_message() -> None:
    """A source that has no message ids still never stores a record twice."""
    assert message_hash("w", "s", "", b"1" * 16) == message_hash("w", "s", "", b"1" * 16)
    assert message_hash("w", "s", "", b"1" * 16) != message_hash("w", "s", "", b"2" * 16)


@given(INSTANTS, INSTANTS)
def test_ids_sort_in_the_order_of_time(one: int, other: int) -> None:
    """Inserts stay in time order: an earlier millisecond never has a larger id."""
    earlier, later = sorted((one, other))
    if max(later, 0) // 1000 > max(earlier, 0) // 1000:
        assert fact_id(b"\xff" * 16, earlier) < fact_id(b"\0" * 16, later)


@given(INSTANTS, st.binary(min_size=16, max_size=16))
def test_ids_of_parts_sort_where_their_fact_sorts(at: int, message: bytes) -> None:
    """What a message says about traits and consents gets ids of its own, beside the fact in time."""
    fact = fact_id(message, at)
    parts = {part_id(fact, relation, position) for relation in ("traits", "consents") for position in range(3)}
    assert len(parts) == 6
    assert {part[:6] for part in parts} == {fact[:6]}
