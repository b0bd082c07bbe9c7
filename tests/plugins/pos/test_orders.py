"""Orders, refunds and checkouts of a Shopify shop, from recorded objects."""

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sima_plugin_pos.shopify import TOPICS, ShopifyConnector
from sima_sdk.connectors import Reception, Request, Source
from sima_sdk.errors import FixConfigurationError, PayloadError, SignatureError
from sima_sdk.facts import Fact, Identifier

Send = Callable[[str, Any], Reception]
Recorded = Callable[[str], Any]

BOB = (Identifier("user_id", "shopify:207119551"), Identifier("email", "bob.norman@hostmail.com"))


def the_fact(reception: Reception) -> Fact:
    """Return the only fact of an answer."""
    (fact,) = reception.facts
    return fact


def properties(fact: Fact) -> dict[str, Any]:
    """Return what the event of a fact says."""
    assert fact.event is not None
    return dict(fact.event.properties)


def test_a_recorded_order_is_a_purchase(send: Send, recorded: Recorded) -> None:
    """Who bought, what, when and for how much, as the shop wrote it."""
    fact = the_fact(send("orders/create", recorded("order")))
    assert fact.identifiers == BOB
    assert fact.occurred_at == datetime(2008, 1, 10, 16, tzinfo=UTC)
    assert fact.event is not None
    assert fact.event.name == "order_completed"
    said = properties(fact)
    assert (said["total"], said["currency"], said["order_number"]) == (409.94, "USD", "1001")
    assert said["shop"] == "sima-riyadh.myshopify.com"
    assert said["discount_codes"] == ["TENOFF"]
    assert [item["sku"] for item in said["items"]] == ["IPOD2008GREEN", "IPOD2008RED", "IPOD2008BLACK"]
    assert said["item_count"] == 3
    assert {trait.name: trait.value for trait in fact.traits}["city"] == "Louisville"


def test_an_order_is_one_purchase_whatever_is_reported_about_it(send: Send, recorded: Recorded) -> None:
    """A thousand orders, each created, sent again, updated, paid, fulfilled, are a thousand purchases.

    All of a thousand totals come through, in whatever order the reports arrive.
    """
    chance = random.Random(7)
    orders = [variant(recorded("order"), number, chance) for number in range(1_000)]
    topics = ("orders/create", "orders/create", "orders/updated", "orders/paid", "orders/fulfilled", "orders/updated")
    reports = [(topic, order) for order in orders for topic in topics]
    reports += [("orders/cancelled", order) for order in orders if order["cancelled_at"]]
    chance.shuffle(reports)
    purchases: dict[str, float] = {}
    events: Counter[str] = Counter()
    for topic, order in reports:
        fact = the_fact(send(topic, order))
        assert fact.event is not None
        if fact.event.name == "order_completed":
            purchases[fact.message_id] = properties(fact)["total"]
        events[fact.event.name] += 1
    assert len(purchases) == 1_000
    assert sorted(purchases.values()) == sorted(float(order["total_price"]) for order in orders)
    assert events["order_updated"] == 4_000
    assert events["order_cancelled"] == sum(1 for order in orders if order["cancelled_at"])


def variant(order: dict[str, Any], number: int, chance: random.Random) -> dict[str, Any]:
    """Return an order like the recorded one, of somebody else, of another value, at another time."""
    cents = chance.randint(1, 10_000_000)
    month = chance.randint(1, 12)
    return {
        **json.loads(json.dumps(order)),
        "id": 450_789_469 + number,
        "created_at": f"2026-{month:02}-10T11:00:00+03:00",
        "updated_at": f"2026-{month:02}-12T11:00:00+03:30",
        "cancelled_at": f"2026-{month:02}-13T11:00:00Z" if chance.random() < 0.2 else None,
        "total_price": f"{cents // 100}.{cents % 100:02}",
        "customer": {**order["customer"], "id": 207_119_551 + number % 300},
        "email": chance.choice([order["email"], None, ""]),
    }


def test_each_report_of_a_change_is_told_apart(send: Send, recorded: Recorded) -> None:
    """Payment and fulfilment at the same second are two events; the same report again is the same event."""
    paid, fulfilled = (the_fact(send(topic, recorded("order"))) for topic in ("orders/paid", "orders/fulfilled"))
    assert paid.message_id != fulfilled.message_id
    assert (properties(paid)["change"], properties(fulfilled)["change"]) == ("paid", "fulfilled")
    assert paid == the_fact(send("orders/paid", recorded("order")))


def test_a_refund_is_taken_from_the_order_that_lists_it(send: Send, recorded: Recorded) -> None:
    """What was really paid back, when, and to the account of the order."""
    (fact,) = refunds(send, recorded("order") | {"refunds": [recorded("refund")]})
    assert fact.message_id == "refund:509562969:179259969"
    assert fact.identifiers == BOB[:1]
    assert fact.occurred_at == datetime(2005, 8, 5, 16, 59, 12, tzinfo=UTC)
    assert properties(fact) == {
        "amount": 209.0,
        "currency": "USD",
        "order_id": "450789469",
        "order_number": "1001",
    }


def test_a_refund_that_is_listed_again_is_the_same(send: Send, recorded: Recorded) -> None:
    """Whatever has changed in the order since, also the addresses of its customer."""
    order = recorded("order") | {"refunds": [recorded("refund")]}
    notes = [{"name": "sima_anonymous_id", "value": "8d7f"}]
    changed = {"updated_at": "2020-01-01T00:00:00Z", "email": "bob@work.example.com", "note_attributes": notes}
    customer = order["customer"] | {"email": "bob@work.example.com", "phone": "+16135550139"}
    assert refunds(send, order) == refunds(send, order | changed | {"customer": customer})


def test_a_refund_to_a_guest_goes_to_their_address(send: Send, recorded: Recorded) -> None:
    """Who has no account is named by what the order says."""
    order = recorded("order") | {"customer": None, "email": "bob@example.com", "refunds": [recorded("refund")]}
    assert [fact.identifiers for fact in refunds(send, order)] == [(Identifier("email", "bob@example.com"),)]


@pytest.mark.parametrize("status", ["pending", "failure", "error"])
def test_money_that_was_not_paid_back_is_no_refund(send: Send, recorded: Recorded, status: str) -> None:
    """A payment that fails, or that has yet to succeed, is not counted as a refund of nothing."""
    refund = recorded("refund")
    refund["transactions"][0]["status"] = status
    assert refunds(send, recorded("order") | {"refunds": [refund]}) == ()


def test_a_refund_that_succeeds_later_counts_in_full(send: Send, recorded: Recorded) -> None:
    """Each payment of a refund is counted when it has succeeded, whatever was reported before."""
    refund = recorded("refund")
    paid = refund["transactions"][0]
    late = paid | {"id": 179259970, "amount": "50.10", "status": "pending", "created_at": "2005-08-06T12:00:00Z"}
    refund["transactions"] = [paid, late]
    early = refunds(send, recorded("order") | {"refunds": [refund]})
    late["status"] = "success"
    facts = refunds(send, recorded("order") | {"refunds": [refund]})
    assert facts[:1] == early
    assert [properties(fact)["amount"] for fact in facts] == [209.0, 50.1]
    assert [fact.message_id for fact in facts] == ["refund:509562969:179259969", "refund:509562969:179259970"]


def test_a_payment_back_without_a_time_happened_with_its_refund(send: Send, recorded: Recorded) -> None:
    """The refund's own time stands in for it."""
    refund = recorded("refund")
    refund["transactions"][0]["created_at"] = None
    (fact,) = refunds(send, recorded("order") | {"refunds": [refund]})
    assert fact.occurred_at == datetime(2016, 6, 20, 17, 35, 6, tzinfo=UTC)


def refunds(send: Send, order: dict[str, Any]) -> tuple[Fact, ...]:
    """Return the refunds that an order lists when it is updated."""
    facts = send("orders/updated", order).facts
    return tuple(fact for fact in facts if fact.event and fact.event.name == "order_refunded")


def test_a_refund_on_its_own_names_no_customer(send: Send, recorded: Recorded) -> None:
    """It is kept as refused, with a good answer; the clerk who made it is nobody's customer."""
    reception = send("refunds/create", recorded("refund"))
    assert reception.facts == ()
    assert reception.refusals[0].reason == (
        "customer: expected one, whom a refund does not name; it comes with its order in orders/updated"
    )
    assert json.loads(reception.refusals[0].raw) == recorded("refund")
    assert reception.response.status == 200


def test_an_edit_names_no_customer(send: Send) -> None:
    """It is kept as refused, with a good answer and the true reason: the edited order is reported as well."""
    edit = {"id": 78912328793, "order_id": 450789469, "created_at": "2026-02-01T11:00:00-05:00", "line_items": {}}
    reception = send("orders/edited", {"order_edit": edit})
    assert reception.facts == ()
    assert [refusal.reason for refusal in reception.refusals] == [
        "customer: expected one, whom an edit does not name; the edited order comes in orders/updated"
    ]
    assert json.loads(reception.refusals[0].raw) == {"order_edit": edit}
    assert reception.response.status == 200


def test_an_edit_that_is_none_names_the_field(send: Send) -> None:
    """A reason that speaks of an edit is given to edits only."""
    with pytest.raises(PayloadError, match=r"^order_edit\.id: expected a value$"):
        send("orders/edited", {"order": {"id": 1}})


def test_a_recorded_checkout_is_a_beginning(send: Send, recorded: Recorded) -> None:
    """What lies in the cart of somebody who may still buy."""
    fact = the_fact(send("checkouts/create", recorded("checkouts")))
    assert fact.event is not None
    assert fact.event.name == "checkout_started"
    assert fact.identifiers == BOB
    assert properties(fact)["total"] == 409.94
    later = the_fact(send("checkouts/update", recorded("checkouts")))
    assert later.event is not None
    assert later.event.name == "checkout_updated"
    assert later.message_id != fact.message_id


def test_the_theme_can_pass_on_who_looked_around_before(send: Send, recorded: Recorded) -> None:
    """Cart attributes of the pixel join the visit with the purchase; other attributes are nobody's names."""
    notes = [{"name": "sima_anonymous_id", "value": "8d7f"}, {"name": "sima_device_id", "value": "d1"}, {"name": "x"}]
    fact = the_fact(send("orders/create", recorded("order") | {"note_attributes": notes}))
    assert fact.identifiers == (*BOB, Identifier("anonymous_id", "8d7f"), Identifier("device_id", "d1"))


def test_neither_till_nor_address_is_a_name_of_the_customer(send: Send, recorded: Recorded) -> None:
    """The shop's own device serves everybody, and the phone of an address may be a neighbour's."""
    order = recorded("order") | {"device_id": 1, "location_id": 2, "user_id": 3}
    assert order["billing_address"]["phone"]
    assert the_fact(send("orders/create", order)).identifiers == BOB


def test_contact_and_account_of_an_order_are_one_customer(send: Send, recorded: Recorded) -> None:
    """What was typed into the order stands beside what the account knows, each once."""
    order = recorded("order") | {"email": "Bob@work.example.com", "phone": "+16135550139"}
    order["customer"]["phone"] = "+16135550139"
    assert the_fact(send("orders/create", order)).identifiers == (
        *BOB,
        Identifier("phone", "+16135550139"),
        Identifier("email", "Bob@work.example.com"),
    )


def test_a_purchase_of_nobody_is_kept_as_refused(send: Send, recorded: Recorded) -> None:
    """Who pays in cash and leaves no name is no reason for the shop to send it again."""
    reception = send("orders/create", recorded("order") | {"customer": None, "email": ""})
    assert (reception.facts, len(reception.refusals), reception.response.status) == ((), 1, 200)


def test_a_test_order_says_so(send: Send, recorded: Recorded) -> None:
    """Rules can leave out what nobody paid for."""
    assert properties(the_fact(send("orders/create", recorded("order") | {"test": True})))["test"] is True
    assert "test" not in properties(the_fact(send("orders/create", recorded("order"))))


def test_an_unknown_topic_is_kept_as_refused(send: Send) -> None:
    """A subscription too many loses nothing, and the shop goes on sending."""
    reception = send("products/update", {"id": 1})
    assert (reception.facts, reception.response.status) == ((), 200)
    assert reception.refusals[0].reason.startswith("header x-shopify-topic: expected one of orders/create")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_wrong_signature_is_refused(topic: str, shop: Source) -> None:
    """Whatever the topic, the shop's secret decides."""
    for signature in ("", "d3Jvbmc=", "سر"):
        headers = {"x-shopify-topic": topic, "x-shopify-hmac-sha256": signature}
        with pytest.raises(SignatureError, match="header x-shopify-hmac-sha256"):
            ShopifyConnector().receive(Request("POST", "", headers, body=b"{}"), shop)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "^id: expected a value"),
        ({"created_at": "2008-01-10"}, "^created_at: expected a time in ISO 8601 with its zone"),
        ({"total_price": "many"}, "^total_price: expected a decimal number"),
        ({"line_items": [{"price": []}]}, r"^line_items\[0\].price: expected a text"),
        ({"customer": "Bob"}, "^customer: expected an object"),
    ],
)
def test_a_malformed_order_names_the_field(
    send: Send, recorded: Recorded, change: dict[str, Any], complaint: str
) -> None:
    """Whoever reads the refusal knows what to look at."""
    with pytest.raises(PayloadError, match=complaint):
        send("orders/create", recorded("order") | change)


def test_a_shop_without_secret_never_starts() -> None:
    """A source that could not verify anything is an error of its configuration."""
    with pytest.raises(FixConfigurationError, match="source shop: expected a secret webhook"):
        ShopifyConnector().check(Source("shop"))
