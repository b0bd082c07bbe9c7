"""The orders, refunds and checkouts of a Shopify shop."""

from collections.abc import Iterator
from typing import Any

from sima_sdk import Event, Fact, Identifier
from sima_sdk.facts import identifiers
from sima_sdk.payload import Fields, present

from sima_plugin_pos.customers import account_of, identifiers_of, traits_of

#: Cart attributes in which a shop's theme may pass on by what the pixel knows the visitor.
CART_ATTRIBUTES = {"sima_anonymous_id": "anonymous_id", "sima_device_id": "device_id"}


def created(order: Fields, shop: str, _change: str) -> Iterator[Fact]:
    """Read `orders/create`: the one and only purchase of this order, however often and late it is reported."""
    yield Fact(
        f"order:{_number(order)}",
        _identifiers(order),
        order.require(order.time, "created_at"),
        Event("order_completed", _order(order, shop) | _contents(order)),
        traits_of(order.object("customer")),
    )
    yield from _refunds(order)


def updated(order: Fields, shop: str, change: str) -> Iterator[Fact]:
    """Read a later state of an order, with the refunds that it lists."""
    at = order.require(order.time, "updated_at")
    status = present(
        change=change,
        financial_status=order.text("financial_status"),
        fulfillment_status=order.text("fulfillment_status"),
    )
    yield Fact(
        f"order:{_number(order)}:{change}:{at.isoformat()}",
        _identifiers(order),
        at,
        Event("order_updated", _order(order, shop) | status),
    )
    yield from _refunds(order)


def edited(change: Fields, _shop: str, _change: str) -> Iterator[Fact]:
    """Read `orders/edited`, which is the edit and not the order, and names no customer.

    It is checked and then refused for that; the edited order comes in `orders/updated`.
    """
    edit = change.object("order_edit")
    yield Fact(f"edit:{edit.require(edit.reference, 'id')}", ())


def cancelled(order: Fields, shop: str, _change: str) -> Iterator[Fact]:
    """Read `orders/cancelled`."""
    yield Fact(
        f"order:{_number(order)}:cancelled",
        _identifiers(order),
        order.require(order.time, "cancelled_at"),
        Event("order_cancelled", _order(order, shop) | present(reason=order.text("cancel_reason"))),
    )
    yield from _refunds(order)


def refunded(refund: Fields, _shop: str, _change: str) -> Iterator[Fact]:
    """Read `refunds/create`, which names no customer (its `user_id` is a clerk).

    It is checked and then refused for that; the same refund comes as part of `orders/updated`.
    """
    yield from _refund(refund, refund, ())


def checkout_started(checkout: Fields, shop: str, _change: str) -> Iterator[Fact]:
    """Read `checkouts/create`."""
    yield Fact(
        f"checkout:{checkout.require(checkout.reference, 'token')}",
        _identifiers(checkout),
        checkout.require(checkout.time, "created_at"),
        Event("checkout_started", _summary(checkout, shop) | _contents(checkout)),
    )


def checkout_updated(checkout: Fields, shop: str, _change: str) -> Iterator[Fact]:
    """Read `checkouts/update`."""
    at = checkout.require(checkout.time, "updated_at")
    yield Fact(
        f"checkout:{checkout.require(checkout.reference, 'token')}:{at.isoformat()}",
        _identifiers(checkout),
        at,
        Event("checkout_updated", _summary(checkout, shop) | _contents(checkout)),
    )


def _refunds(order: Fields) -> Iterator[Fact]:
    for refund in order.objects("refunds"):
        yield from _refund(refund, order, account_of(_identifiers(order)))


def _refund(refund: Fields, order: Fields, who: tuple[Identifier, ...]) -> Iterator[Fact]:
    """Read the payments of a refund that have succeeded, each a fact of its own, for some succeed later than others."""
    number = refund.require(refund.reference, "id")
    at = refund.require(refund.time, "created_at")
    for payment in refund.objects("transactions"):
        if payment.text("status") == "success":
            properties = present(
                amount=payment.number("amount"),
                currency=payment.text("currency") or order.text("currency"),
                order_id=refund.reference("order_id"),
                order_number=order.reference("order_number"),
            )
            message_id = f"refund:{number}:{payment.require(payment.reference, 'id')}"
            yield Fact(message_id, who, payment.time("created_at") or at, Event("order_refunded", properties))


def _identifiers(order: Fields) -> tuple[Identifier, ...]:
    """Return by what an order or checkout names its customer (its `device_id` is the shop's till)."""
    attributes = ((note, note.text("name")) for note in order.objects("note_attributes"))
    return identifiers(
        *((one.kind, one.value) for one in identifiers_of(order.object("customer"))),
        ("email", order.text("email")),
        ("phone", order.text("phone")),
        *((CART_ATTRIBUTES[name], note.text("value")) for note, name in attributes if name in CART_ATTRIBUTES),
    )


def _number(order: Fields) -> str:
    return order.require(order.reference, "id")


def _order(order: Fields, shop: str) -> dict[str, Any]:
    return {"order_id": _number(order)} | _summary(order, shop)


def _summary(order: Fields, shop: str) -> dict[str, Any]:
    return present(
        order_number=order.reference("order_number"),
        total=order.number("total_price"),
        currency=order.text("currency"),
        shop=shop or None,
        channel=order.text("source_name"),
        test=order.flag("test") or None,
    )


def _contents(order: Fields) -> dict[str, Any]:
    items = [_item(line) for line in order.objects("line_items")]
    codes = [code.text("code") for code in order.objects("discount_codes")]
    return present(
        subtotal=order.number("subtotal_price"),
        discount=order.number("total_discounts"),
        tax=order.number("total_tax"),
        discount_codes=[code for code in codes if code],
        items=items,
        item_count=sum(item.get("quantity", 0) for item in items),
    )


def _item(line: Fields) -> dict[str, Any]:
    return present(
        product_id=line.reference("product_id"),
        sku=line.text("sku"),
        title=line.text("title"),
        quantity=line.number("quantity"),
        price=line.number("price"),
    )
