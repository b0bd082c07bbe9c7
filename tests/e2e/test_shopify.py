"""Real Shopify payloads, and a thousand variants of them, through the webhook."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack, shopify

Payload = dict[str, Any]
Webhook = tuple[str, Payload]

VARIANTS, CUSTOMERS, REFUNDS = 1_000, 200, 50


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> list[Webhook]:
    """The recorded order, customer and checkout, bare as webhooks have them, with the topics that bring them."""
    folder = shared_data / "shopify"

    def read(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text())

    return [
        ("orders/create", read("order")["order"]),
        *(("orders/updated", order) for order in read("orders")["orders"]),
        ("customers/create", read("customer")["customer"]),
        *(("checkouts/create", checkout) for checkout in read("checkouts")["checkouts"]),
        ("refunds/create", read("refund")["refund"]),
    ]


def test_recorded_payloads_arrive_once_however_often_they_are_sent(stack: Stack, recorded: list[Webhook]) -> None:
    """A valid signature opens the door; the same webhooks again change nothing; one person comes of it."""
    requests = [shopify(topic, payload) for topic, payload in recorded]
    first = stack.post_all("shopify", requests)
    facts = stack.facts("shopify")
    again = stack.post_all("shopify", requests)
    assert first["accepted"] >= 4
    assert first["conflicts"] == 0
    assert (again["accepted"], again["duplicates"]) == (0, first["accepted"] + first["duplicates"])
    assert stack.facts("shopify") == facts
    profile = stack.json("shopify", "profile", "get", "email:Bob.Norman@hostmail.com")
    assert "user_id:shopify:207119551" in profile["identifiers"]
    assert profile["traits"]["first_name"]["values"][0]["value"] == "Bob"
    events = stack.json("shopify", "profile", "events", "user_id:shopify:207119551")
    names = [event["name"] for event in events]
    assert names.count("order_completed") == 1
    assert names.count("checkout_started") == 1
    bought = next(event for event in events if event["name"] == "order_completed")
    assert bought["properties"]["total"] == 409.94
    assert datetime.fromisoformat(bought["occurred_at"]) == datetime(2008, 1, 10, 16, tzinfo=UTC)


def test_a_refund_that_names_nobody_is_kept_as_refused(stack: Stack, recorded: list[Webhook]) -> None:
    """Shopify gets a good answer, and the administrator finds the payload with the reason."""
    body, headers = shopify(*next(webhook for webhook in recorded if webhook[0] == "refunds/create"))
    answer = httpx.post(f"{stack.collector}/in/shopify", content=body, headers=headers)
    assert (answer.status_code, answer.headers["sima-refused"]) == (200, "1")
    refusals = httpx.get(f"{stack.collector}/refusals", params={"workspace": "shopify"}).json()["refusals"]
    assert any("509562969" in refusal["raw"] and refusal["reason"] for refusal in refusals)


@pytest.mark.parametrize("headers", [{"X-Shopify-Hmac-Sha256": "d3Jvbmc="}, {"X-Shopify-Hmac-Sha256": ""}])
def test_a_wrong_signature_is_turned_away(stack: Stack, headers: dict[str, str]) -> None:
    """401, and nothing of the payload becomes a fact."""
    order = {"id": 1, "created_at": "2026-01-01T00:00:00Z", "email": "mallory@example.com", "total_price": "1.00"}
    body, good = shopify("orders/create", order)
    answer = httpx.post(f"{stack.collector}/in/shopify", content=body, headers={**good, **headers})
    assert answer.status_code == 401
    missing = stack.sima("shopify", "profile", "get", "email:mallory@example.com")
    assert missing.exit_code == 3
    assert "Nobody is known" in missing.stderr


def address(customer: int) -> Payload:
    """Where letters for a customer go."""
    return {"email": f"customer{customer}@example.com"}


def known_as(customer: int) -> Payload:
    """How the shop knows a customer."""
    return {"id": 500 + customer, "first_name": f"Name {customer % 50}", **address(customer)}


def orders_of_many(order: Payload, begin: datetime) -> Iterator[Webhook]:
    """New orders of two hundred customers, every third changed later, some of them twice."""
    for number in range(VARIANTS):
        variant = deepcopy(order)
        customer = number % CUSTOMERS
        placed = begin + timedelta(hours=number)
        variant |= {"id": 10_000 + number, **address(customer), "total_price": f"{number % 90 + 10}.50"}
        variant |= {"created_at": placed.isoformat(), "updated_at": placed.isoformat()}
        variant["customer"] |= known_as(customer)
        yield "orders/create", variant
        for change in range(number % 3):
            changed = variant | {"updated_at": (placed + timedelta(days=1 + change)).isoformat()}
            yield "orders/updated", changed | {"fulfillment_status": "fulfilled"}


def variants(recorded: list[Webhook]) -> Iterator[Webhook]:
    """A thousand orders with their changes; of each customer a record and a checkout; refunds that name nobody."""
    of_topic = dict(reversed(recorded))
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    yield from orders_of_many(recorded[0][1], begin)
    for customer in range(CUSTOMERS):
        when = {"created_at": begin.isoformat(), "updated_at": begin.isoformat()}
        yield "customers/create", of_topic["customers/create"] | known_as(customer) | when
        started = {"id": 20_000 + customer, "token": f"checkout-{customer}", "cart_token": f"cart-{customer}"}
        checkout = of_topic["checkouts/create"] | address(customer) | started | when
        yield "checkouts/create", checkout | {"customer": checkout["customer"] | known_as(customer)}
    for number in range(REFUNDS):
        yield "refunds/create", of_topic["refunds/create"] | {"id": 30_000 + number}


def test_a_thousand_variants_with_updates_in_any_order_make_a_thousand_purchases(
    stack: Stack, recorded: list[Webhook]
) -> None:
    """Updates, also those that arrive before the creation, never become purchases; rules agree with plain sums.

    Nothing is in conflict with anything else, and what names nobody is refused and counted.
    """
    made = list(variants(recorded))
    random.Random(7).shuffle(made)
    counts = stack.post_all("variants", [shopify(topic, payload) for topic, payload in made])
    accepted = len(made) - REFUNDS + CUSTOMERS  # what a checkout says of its customer is a fact of its own
    assert counts == {"accepted": accepted, "duplicates": 0, "conflicts": 0, "refused": REFUNDS}
    totals: dict[int, float] = {}
    for topic, payload in made:
        if topic == "orders/create":
            number = payload["customer"]["id"]
            totals[number] = totals.get(number, 0.0) + float(payload["total_price"])
    happened = stack.facts("variants")["variants"]["events"]
    assert happened == len(made) - REFUNDS - CUSTOMERS  # a customer's record is no event
    assert stack.size("variants", 'events("checkout_started").count() == 1') == CUSTOMERS
    assert stack.size("variants", 'traits.first_name == "Name 7"') == CUSTOMERS // 50
    assert stack.size("variants", 'events("order_completed").count() == 5') == CUSTOMERS
    assert stack.size("variants", 'events("order_updated").count() >= 1') == CUSTOMERS
    for least in (250.0, 300.5, 352.5):
        expected = sum(total > least for total in totals.values())
        assert stack.size("variants", f'events("order_completed").sum("total") > {least}') == expected
