"""Pages: a bounded size, and tokens that are good for one list only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sima.identity.v1.identity_service_pb2 import ListProfileChangesRequest
from sima.profile.v1.profile_service_pb2 import ListEventsRequest
from sima_runtime.errors import InvalidFieldsError, PageTokenError
from sima_runtime.paging import next_page_token, page_position, page_size

JSON = st.lists(st.one_of(st.integers(), st.text(), st.none(), st.booleans()))


def following(token: str, **changes: object) -> ListProfileChangesRequest:
    """A request for the next page of a list."""
    fields: dict[str, object] = {"profile_id": "p1", "page_size": 10} | changes
    return ListProfileChangesRequest(page_token=token, **fields)  # type: ignore[arg-type]


@given(position=JSON)
def test_position_survives(position: list[object]) -> None:
    """The next page begins where the last one ended, also with another page size."""
    token = next_page_token(position, following(""))
    assert page_position(following(token)) == position
    assert page_position(following(token, page_size=500)) == position


def test_without_token_it_is_the_first_page() -> None:
    """No token means the beginning."""
    assert page_position(following("")) is None


def test_token_is_good_for_its_list_only() -> None:
    """A token of another list, or of the same with another filter, is refused."""
    token = next_page_token([1], following(""))
    with pytest.raises(PageTokenError):
        page_position(following(token, profile_id="p2"))
    with pytest.raises(PageTokenError):
        page_position(ListEventsRequest(page_token=token))


@given(text=st.text(min_size=1))
def test_other_texts_are_no_tokens(text: str) -> None:
    """What the server did not give out is refused."""
    with pytest.raises(PageTokenError):
        page_position(following(text.encode(errors="replace").decode()))


@pytest.mark.parametrize("content", [b"[]", b"1", b"{}", b"null", b'["x"]', b"\xff", b"[" * 100_000])
def test_forged_contents_are_refused(content: bytes) -> None:
    """A token with other content is refused, never a crash."""
    with pytest.raises(PageTokenError):
        page_position(following(base64.urlsafe_b64encode(content).decode()))


@pytest.mark.parametrize(("requested", "answered"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_page_size_is_bounded(requested: int, answered: int) -> None:
    """Absent is the default, too much is the most."""
    assert page_size(requested) == answered


def test_other_bounds() -> None:
    """A list may have its own default and most."""
    assert (page_size(0, 10, 20), page_size(50, 10, 20)) == (10, 20)


def test_negative_page_size_is_a_bad_field() -> None:
    """A negative page size is refused by name."""
    with pytest.raises(InvalidFieldsError, match="page_size"):
        page_size(-1)
