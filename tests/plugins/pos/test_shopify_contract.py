"""The Shopify connector keeps the promises of a push connector."""

from collections.abc import Callable
from typing import Any

import pytest
from sima_plugin_pos.shopify import ShopifyConnector
from sima_sdk.connectors import Request, Source
from sima_sdk.testing.push import PushConnectorContract, PushSubject, Sample

Build = Callable[..., Any]

CUSTOMER = {
    "id": 207119551,
    "email": "Bob.Norman@hostmail.example.com",
    "phone": "+16135550139",
    "first_name": "Bob",
    "last_name": "Norman",
    "created_at": "2026-01-27T11:00:00-05:00",
    "updated_at": "2026-01-28T11:00:00-05:00",
    "email_marketing_consent": {
        "state": "subscribed",
        "opt_in_level": "single_opt_in",
        "consent_updated_at": "2026-01-02T11:00:00-05:00",
    },
    "sms_marketing_consent": {"state": "unsubscribed", "consent_updated_at": None},
    "default_address": {"city": "Ottawa", "province": "Ontario", "zip": "K2P 0V6", "country_code": "CA"},
}
REFUND = {
    "id": 509562969,
    "order_id": 450789469,
    "created_at": "2026-02-20T13:35:06-05:00",
    "user_id": 799407056,
    "transactions": [{"id": 179259969, "kind": "refund", "status": "success", "amount": "209.00", "currency": "CAD"}],
}
ORDER = {
    "id": 450789469,
    "order_number": 1001,
    "created_at": "2026-01-30T11:00:00-05:00",
    "updated_at": "2026-02-01T11:00:00-05:00",
    "cancelled_at": "2026-02-01T10:00:00-05:00",
    "cancel_reason": "customer",
    "currency": "CAD",
    "total_price": "409.94",
    "subtotal_price": "398.00",
    "total_tax": "11.94",
    "total_discounts": "10.00",
    "financial_status": "paid",
    "email": "bob.norman@hostmail.example.com",
    "discount_codes": [{"code": "TENOFF", "amount": "10.00"}],
    "note_attributes": [{"name": "sima_anonymous_id", "value": "8d7f"}, {"name": "colour", "value": "green"}],
    "line_items": [
        {"id": 1, "product_id": 632910392, "sku": "IPOD2008GREEN", "title": "IPod", "quantity": 2, "price": "199.00"}
    ],
    "customer": CUSTOMER,
    "refunds": [REFUND],
    "test": False,
}
CHECKOUT = {
    "id": 450789469,
    "token": "2a1ace52255252df566af0faaedfbfa7",
    "created_at": "2026-01-12T07:05:27-05:00",
    "updated_at": "2026-01-12T07:07:27-05:00",
    "email": "bob.norman@hostmail.example.com",
    "currency": "CAD",
    "total_price": "409.94",
    "line_items": [],
    "customer": CUSTOMER,
}


class TestShopify(PushConnectorContract):
    """The connector `shopify`."""

    @pytest.fixture
    def subject(self, shop: Source, unsigned: Callable[[str, object], Request], sign: Build) -> PushSubject:
        """One webhook of every kind."""
        return PushSubject(
            connector=ShopifyConnector(),
            source=shop,
            samples=(
                Sample("order", unsigned("orders/create", ORDER), facts=2),
                Sample("update", unsigned("orders/updated", ORDER), facts=2),
                Sample("cancellation", unsigned("orders/cancelled", ORDER), facts=2),
                Sample("refund", unsigned("refunds/create", REFUND), facts=0, refusals=1),
                Sample("edit", unsigned("orders/edited", {"order_edit": {"id": 7}}), facts=0, refusals=1),
                Sample("checkout", unsigned("checkouts/create", CHECKOUT)),
                Sample("checkout update", unsigned("checkouts/update", CHECKOUT)),
                Sample("customer", unsigned("customers/update", CUSTOMER), facts=3),
            ),
            sign=sign,
        )
