"""The batch API item by item."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sima_plugin_api.batches import MOST_ITEMS, ApiConnector
from sima_sdk.connectors import Reception, Request, Source
from sima_sdk.errors import FixConfigurationError, PayloadError, SignatureError
from sima_sdk.facts import Consent, Event, Fact, Identifier, Method, Trait

Post = Callable[[object], Reception]

ADA = {"identifiers": [{"kind": "email", "value": "ada@example.com"}]}
SOURCE = Source("server", secrets={"token": "secret"})


def post(body: object, authorization: str = "Bearer secret") -> Reception:
    """Send a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request("POST", "/batch", {"authorization": authorization}, body=content)
    return ApiConnector().receive(request, SOURCE)


def reason(item: object) -> str:
    """Return why an item is refused; a good one beside it is not."""
    reception = post({"batch": [ADA, item]})
    assert len(reception.facts) == 1
    (refusal,) = reception.refusals
    return refusal.reason


def test_an_item_is_read_with_all_that_it_says() -> None:
    """Every field of the documentation arrives in the fact."""
    item = {
        **ADA,
        "message_id": "m1",
        "occurred_at": "2026-01-31T12:00:00+03:00",
        "event": {"name": "order_completed", "properties": {"total": 12.5, "items": [{"sku": "A", "gift": None}]}},
        "traits": [
            {"name": "city", "value": "الرياض", "method": "declared", "confidence": 0.9},
            {"name": "member_since", "time": "2020-05-01T00:00:00Z"},
            {"name": "visits", "value": 3},
            {"name": "vip", "value": False},
        ],
        "consents": [{"purpose": "email_marketing", "granted": True}],
    }
    assert post({"batch": [item]}).facts == (
        Fact(
            "m1",
            (Identifier("email", "ada@example.com"),),
            datetime(2026, 1, 31, 9, tzinfo=UTC),
            Event("order_completed", {"total": 12.5, "items": [{"sku": "A", "gift": None}]}),
            (
                Trait("city", "الرياض", Method.DECLARED, 0.9),
                Trait("member_since", datetime(2020, 5, 1, tzinfo=UTC)),
                Trait("visits", 3.0),
                Trait("vip", value=False),
            ),
            (Consent("email_marketing", granted=True),),
        ),
    )


def test_an_item_may_say_nothing_but_names() -> None:
    """Names that belong together are a fact; null is as good as absent."""
    nothing = dict.fromkeys(("message_id", "occurred_at", "event", "traits", "consents"))
    assert (
        post({"batch": [ADA, {**ADA, **nothing}]}).facts == (Fact("", (Identifier("email", "ada@example.com"),)),) * 2
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"identifiers": []}, "identifiers: expected at least one"),
        ({"identifiers": None}, "identifiers: expected at least one"),
        ({"identifiers": {}}, "identifiers: expected a list"),
        ({"identifiers": ["ada"]}, "identifiers[0]: expected an object"),
        ({"identifiers": [{"kind": "email"}]}, "identifiers[0].value: expected a text"),
        ({"identifiers": [{"kind": "email", "value": " "}]}, "identifiers[0].value: expected a text"),
        ({"message_id": 7}, "message_id: expected a text"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at: expected a time in the years 1 to 9999 of UTC"),
        ({"occurred_at": "2026-01-31"}, "occurred_at: expected a time in ISO 8601 with its zone"),
        ({"occurred_at": 1_767_600_000}, "occurred_at: expected a text"),
        ({"event": "order"}, "event: expected an object"),
        ({"event": {"name": ""}}, "event.name: expected a text"),
        ({"event": {"name": "x", "properties": []}}, "event.properties: expected an object"),
        ({"traits": [{"name": "a", "value": 1}, {"name": "b"}]}, "traits[1].value: expected either value or time"),
        ({"traits": [{"name": "a", "value": 1, "time": "2026-01-01T00:00:00Z"}]}, "traits[0].value: expected either"),
        ({"traits": [{"name": "a", "value": 2**53 + 1}]}, "traits[0].value: expected a number of at most 2^53"),
        ({"traits": [{"name": "a", "value": []}]}, "traits[0].value: expected a text, a number, true or false"),
        ({"traits": [{"name": "a", "value": 1, "method": "guessed"}]}, "traits[0].method: expected one of declared"),
        ({"traits": [{"name": "a", "value": 1, "method": []}]}, "traits[0].method: expected a text"),
        ({"traits": [{"name": "a", "value": 1, "confidence": 0}]}, "traits[0].confidence: expected a number above 0"),
        ({"traits": [{"name": "a", "value": 1, "confidence": True}]}, "traits[0].confidence: expected a number"),
        (
            {"consents": [{"purpose": "p", "granted": True}]},
            "consents: expected them beside a message_id or an occurred",
        ),
        ({"consents": [{"purpose": "p", "granted": "yes"}]}, "consents[0].granted: expected true or false"),
        ({"occured_at": "2026-01-31T00:00:00Z"}, "expected no fields but consents, event, identifiers, message_id"),
    ],
)
def test_a_bad_item_names_the_field(change: dict[str, Any], expected: str) -> None:
    """The reason begins with the path, also of a field that does not exist, and the good item beside it is kept."""
    assert reason({**ADA, **change}).startswith(expected)


@pytest.mark.parametrize("item", [None, 7, "item", [], [[]]])
def test_an_item_of_another_shape_is_refused(item: object) -> None:
    """Only objects are items."""
    assert reason(item) == "expected an object"


@pytest.mark.parametrize(
    "poison",
    [b"1e999", b"-1e999", b'"\\ud800"', b'"\\u0000"', b"9" * 100, b"[" * 300 + b"]" * 300, b"[" * 80 + b"]" * 80],
)
def test_a_poisoned_item_does_not_take_others_along(poison: bytes) -> None:
    """What cannot be stored is refused where it stands, and nowhere else."""
    good = json.dumps(ADA).encode()
    bad = (
        b'{"identifiers": [{"kind": "email", "value": "x"}], "event": {"name": "e", "properties": {"p": '
        + poison
        + b"}}}"
    )
    reception = post(b'{"batch": [' + b",".join([good, bad, good]) + b"]}")
    assert len(reception.facts) == 2
    assert [refusal.reason.partition(":")[0] in ("item", "event.properties") for refusal in reception.refusals] == [
        True
    ]


def test_what_was_refused_is_kept_and_told() -> None:
    """The item is stored as it was, and the caller learns its place and why."""
    bad = {**ADA, "event": {"name": "حدث", "properties": 7}}
    reception = post({"batch": [ADA, bad, ADA]})
    assert json.loads(reception.refusals[0].raw) == bad
    assert json.loads(reception.response.body) == {
        "facts": 2,
        "refused": [{"index": 1, "reason": "event.properties: expected an object"}],
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batch": {}},
        {"batch": []},
        {"batch": [ADA] * (MOST_ITEMS + 1)},
        [ADA],
        b'{"batch": [NaN]}',
        b"{",
        b'{"batch": ' + b"[" * 100_000,
    ],
    ids=["nothing", "no list", "empty", "too many", "bare", "no JSON", "cut off", "bomb"],
)
def test_a_body_that_is_no_batch_is_refused(body: object) -> None:
    """The caller learns what a batch is."""
    expected = "(batch: expected a list of 1 to 1000 items|body: expected (JSON in UTF-8|at most 64 levels of nesting))"
    with pytest.raises(PayloadError, match=f"^{expected}$"):
        post(body)


def test_nothing_beside_the_items_is_lost_in_silence() -> None:
    """A time that was meant for all items is refused with them, as a misspelt field of an item is."""
    with pytest.raises(PayloadError, match=r"^body: expected no fields but batch$"):
        post({"batch": [ADA], "occurred_at": "2026-01-31T12:00:00Z"})


def test_the_largest_batch_is_taken() -> None:
    """A thousand items are one call."""
    assert len(post({"batch": [ADA] * MOST_ITEMS}).facts) == MOST_ITEMS


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic secret", "secret"])
def test_the_token_decides(authorization: str) -> None:
    """Whoever does not show the token writes nothing."""
    with pytest.raises(SignatureError, match="header authorization"):
        post({"batch": [ADA]}, authorization)


def test_a_source_without_token_never_starts() -> None:
    """A source that anybody could write to is an error of its configuration."""
    with pytest.raises(FixConfigurationError, match="expected a secret token"):
        ApiConnector().check(Source("server"))
