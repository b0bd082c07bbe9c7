"""What a Shopify shop sends, signed as it signs."""

import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sima_plugin_pos.shopify import ShopifyConnector
from sima_sdk.connectors import Reception, Request, Source

SHOP = "sima-riyadh.myshopify.com"

Send = Callable[[str, Mapping[str, Any]], Reception]
Recorded = Callable[[str], Any]


def webhook(topic: str, payload: object) -> Request:
    """Return a webhook before it is signed."""
    headers = {
        "content-type": "application/json",
        "x-shopify-topic": topic,
        "x-shopify-shop-domain": SHOP,
        "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        "x-shopify-api-version": "2026-07",
    }
    return Request("POST", "", headers, body=json.dumps(payload).encode())


def signed(request: Request, source: Source) -> Request:
    """Add the shop's signature."""
    digest = hmac.digest(source.secrets["webhook"].encode(), request.body, "sha256")
    headers = {**request.headers, "x-shopify-hmac-sha256": b64encode(digest).decode()}
    return Request(request.method, request.path, headers, request.query, request.body)


@pytest.fixture
def shop() -> Source:
    """A shop in Riyadh."""
    return Source("shop-riyadh", secrets={"webhook": "the shop's secret"}, default_region="SA")


@pytest.fixture
def unsigned() -> Callable[[str, object], Request]:
    """Make a webhook before it is signed."""
    return webhook


@pytest.fixture
def sign() -> Callable[[Request, Source], Request]:
    """Sign a webhook."""
    return signed


@pytest.fixture
def send(shop: Source) -> Send:
    """Send a webhook to the connector."""
    connector = ShopifyConnector()

    def send(topic: str, payload: Mapping[str, Any]) -> Reception:
        connector.check(shop)
        return connector.receive(signed(webhook(topic, payload), shop), shop)

    return send


@pytest.fixture(scope="session")
def recorded(shared_data: Path) -> Recorded:
    """Read a recorded Shopify object."""

    def read(name: str) -> Any:
        found: Any = json.loads((shared_data / "shopify" / f"{name}.json").read_text())
        for step in {"checkouts": ("checkouts", 0), "customers_search": ("customers", 0)}.get(name, (name,)):
            found = found[step]
        return found

    return read
