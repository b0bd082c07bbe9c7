"""What the three web shops send: Shopify webhooks, signed, each body one bare object."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sima_cli.sample.delivery import Delivery, arrival
from sima_cli.sample.dirt import JUNK_EMAILS, JUNK_PHONES, spell_email, spell_name, spell_phone
from sima_cli.sample.goods import Basket, fill_basket
from sima_cli.sample.people import Person, Plan
from sima_cli.sample.places import Place
from sima_cli.sample.truth import Testimony, names

#: The secret that a shop of the sample signs with.
SECRET = "sample-shopify-secret"  # noqa: S105 - of made-up shops

Payload = dict[str, Any]


def source_of(place: Place) -> str:
    """Return the name of the source of the shop of a place."""
    return f"shop-{place.slug}"


@dataclass(frozen=True, slots=True)
class _Story:
    """What a shop has to say about a person."""

    plan: Plan
    person: Person
    chance: Random

    def sent(self, topic: str, payload: Payload, at: datetime) -> Delivery:
        """Return what the shop sends about something that happened at a time."""
        return webhook(self.person, topic, payload, arrival(self.plan, at, self.chance))


def deliver(plan: Plan, person: Person) -> Iterator[Delivery]:
    """Yield all that the shop of their city says about a person who has an account there."""
    if person.customer_id is None:
        return
    chance = plan.random("shop", person.number)
    story = _Story(plan, person, chance)
    joined = plan.until - timedelta(days=chance.triangular(2, 400, 120))
    yield story.sent("customers/create", _customer(person, joined, chance), joined)
    for ordinal in range(_orders_of(chance)):
        ordered = joined + (plan.until - joined) * chance.random()
        yield from _order_story(story, ordinal, ordered)
    if chance.random() < 0.2:
        left = joined + (plan.until - joined) * chance.random()
        yield story.sent("checkouts/create", _checkout(person, left, chance), left)


def webhook(person: Person, topic: str, payload: Payload, at: datetime) -> Delivery:
    """Return a payload about a person as Shopify would send it."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    webhook_id = hashlib.blake2b(topic.encode() + body, digest_size=16).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-Sha256": base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256")).decode(),
        "X-Shopify-Shop-Domain": f"sima-{person.place.slug}.myshopify.com",
        "X-Shopify-API-Version": "2026-07",
        "X-Shopify-Webhook-Id": webhook_id,
        "X-Shopify-Triggered-At": at.isoformat(),
    }
    known = names(user_id=f"shopify:{person.customer_id}", email=person.email, phone=person.phone)
    about = Testimony(person.number, known if topic != "refunds/create" else ())
    return Delivery(source_of(person.place), body, at, about, headers)


def order(person: Person, number: int, at: datetime, basket: Basket, chance: Random) -> Payload:
    """Return an order object of a person with an account."""
    contact = spell_email(person.email or "", chance)
    address = _address(person, chance)
    return {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/Order/{number}",
        "name": f"#{number % 100_000}",
        "order_number": number % 100_000,
        "email": contact,
        "contact_email": contact,
        "phone": spell_phone(person.phone or "", person.place, chance) if chance.random() < 0.5 else None,
        "created_at": _local(person, at),
        "processed_at": _local(person, at),
        "updated_at": _local(person, at),
        "cancelled_at": None,
        "closed_at": None,
        "currency": person.place.currency,
        "financial_status": "paid",
        "fulfillment_status": None,
        "buyer_accepts_marketing": chance.random() < 0.4,
        "source_name": "web",
        "test": False,
        "tags": "",
        "note": None,
        "note_attributes": [],
        "discount_codes": [],
        "taxes_included": True,
        "total_weight": 0,
        **_sums(basket),
        "line_items": _lines(number, basket),
        "shipping_lines": [],
        "tax_lines": [],
        "payment_gateway_names": ["manual"],
        "billing_address": address,
        "shipping_address": address,
        "customer": _customer(person, at, chance),
        "refunds": [],
        "fulfillments": [],
    }


def _order_story(story: _Story, ordinal: int, at: datetime) -> Iterator[Delivery]:
    person, chance = story.person, story.chance
    number = 5_000_000_000_000 + person.number * 100 + ordinal
    basket = fill_basket(person.place, chance)
    placed = order(person, number, at, basket, chance)
    _spoil(story.plan, placed, chance)
    yield story.sent("orders/create", placed, at)
    if chance.random() < 0.2:
        packed = min(at + timedelta(hours=chance.uniform(2, 72)), story.plan.until)
        shipped = placed | {"fulfillment_status": "fulfilled", "updated_at": _local(person, packed)}
        yield story.sent("orders/updated", shipped, packed)
    if chance.random() < 0.08:
        returned = min(at + timedelta(days=chance.uniform(1, 20)), story.plan.until)
        refund = _refund(person, number, basket, returned)
        changed = placed | {"financial_status": "partially_refunded", "updated_at": _local(person, returned)}
        yield story.sent("refunds/create", refund, returned)
        yield story.sent("orders/updated", changed | {"refunds": [refund]}, returned)


def _spoil(plan: Plan, placed: Payload, chance: Random) -> None:
    """Put what a hurried cashier types into the contact fields; the account beside them stays as it is."""
    if chance.random() < plan.junk:
        placed["email"] = placed["contact_email"] = chance.choice(JUNK_EMAILS)
        placed["phone"] = chance.choice(JUNK_PHONES)


def _orders_of(chance: Random) -> int:
    return min(int(chance.expovariate(0.6)), 12)


def _customer(person: Person, at: datetime, chance: Random) -> Payload:
    return {
        "id": person.customer_id,
        "admin_graphql_api_id": f"gid://shopify/Customer/{person.customer_id}",
        "email": spell_email(person.email or "", chance),
        "phone": spell_phone(person.phone or "", person.place, chance),
        "first_name": spell_name(person.given.native, person.place, chance),
        "last_name": person.family.native,
        "created_at": _local(person, at),
        "updated_at": _local(person, at),
        "state": "enabled",
        "verified_email": True,
        "tax_exempt": False,
        "currency": person.place.currency,
        "tags": chance.choice(("", "", "newsletter", "vip")),
        "note": None,
        "email_marketing_consent": _marketing_consent(person, at, chance),
        "default_address": _address(person, chance),
    }


def _marketing_consent(person: Person, at: datetime, chance: Random) -> Payload:
    state = chance.choice(("subscribed", "subscribed", "not_subscribed", "unsubscribed"))
    return {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": _local(person, at)}


def _address(person: Person, chance: Random) -> Payload:
    return {
        "first_name": person.given.native,
        "last_name": person.family.native,
        "name": person.full_name,
        "address1": f"Sample Street {chance.randint(1, 99)}",
        "address2": "",
        "company": None,
        "city": person.place.city,
        "zip": f"{person.place.postal_codes}{chance.randint(0, 999):03d}",
        "province": None,
        "country_code": person.place.region,
        "phone": None,
    }


def _sums(basket: Basket) -> Payload:
    return {
        "total_line_items_price": basket.total_text,
        "subtotal_price": basket.total_text,
        "total_price": basket.total_text,
        "total_discounts": "0.00",
        "total_tax": "0.00",
    }


def _lines(number: int, basket: Basket) -> list[Payload]:
    return [
        {
            "id": number * 10 + position,
            "product_id": line.article.product_id,
            "variant_id": line.article.product_id + 1,
            "sku": line.article.sku,
            "title": line.article.title,
            "name": line.article.title,
            "vendor": "Sima",
            "quantity": line.quantity,
            "price": f"{line.price:.2f}",
            "grams": 300,
            "requires_shipping": True,
            "taxable": True,
            "gift_card": False,
            "total_discount": "0.00",
            "properties": [],
        }
        for position, line in enumerate(basket.lines)
    ]


def _refund(person: Person, number: int, basket: Basket, at: datetime) -> Payload:
    line = _lines(number, basket)[0]
    amount = f"{basket.lines[0].price * basket.lines[0].quantity:.2f}"
    return {
        "id": number + 1_000_000_000_000,
        "order_id": number,
        "created_at": _local(person, at),
        "note": None,
        "restock": True,
        "refund_line_items": [
            {"id": line["id"] + 1, "line_item_id": line["id"], "quantity": line["quantity"], "line_item": line}
        ],
        "transactions": [
            {
                "id": number + 2_000_000_000_000,
                "order_id": number,
                "kind": "refund",
                "status": "success",
                "amount": amount,
                "currency": person.place.currency,
                "gateway": "manual",
                "created_at": _local(person, at),
            }
        ],
        "order_adjustments": [],
    }


def _checkout(person: Person, at: datetime, chance: Random) -> Payload:
    number = 9_000_000_000_000 + person.number
    basket = fill_basket(person.place, chance)
    return {
        "id": number,
        "token": f"{chance.getrandbits(128):032x}",
        "name": f"#{number}",
        "email": spell_email(person.email or "", chance),
        "phone": None,
        "created_at": _local(person, at),
        "updated_at": _local(person, at),
        "completed_at": None,
        "currency": person.place.currency,
        **_sums(basket),
        "line_items": _lines(number, basket),
        "abandoned_checkout_url": f"https://sima-{person.place.slug}.myshopify.com/checkouts/{number}/recover",
        "customer": _customer(person, at, chance),
    }


def _local(person: Person, at: datetime) -> str:
    return at.astimezone(person.place.zone).isoformat(timespec="seconds")
