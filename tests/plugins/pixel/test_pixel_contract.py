"""The pixel keeps the promises of a push connector."""

import json

import pytest
from sima_plugin_pixel.pixel import PixelConnector
from sima_sdk.connectors import Request, Source
from sima_sdk.testing.push import PushConnectorContract, PushSubject, Sample

BEACON = {
    "anonymous_id": "5d2a7c1e-9f0b-4a52-b1c3-3f2c1a7d9e10",
    "batch": [
        {
            "id": "e1",
            "at": "2026-01-31T09:00:00.000Z",
            "name": "page_viewed",
            "properties": {"path": "/running", "title": "کفش دویدن", "duration_s": 12.345},
        },
        {
            "id": "e2",
            "at": "2026-01-31T09:00:05.000Z",
            "identifiers": {"user_id": 42, "email": "ada@example.com"},
            "traits": {"first_name": "Ada", "visits": 3, "vip": True},
        },
        {"id": "e3", "at": "2026-01-31T09:00:06.000Z", "consents": {"email_marketing": True}},
        {"id": "e4", "at": "yesterday", "name": "page_viewed"},
    ],
}
OPENED = {"user_id": "42", "email": "ada@example.com", "campaign": "spring", "id": "mail-1"}


class TestPixel(PushConnectorContract):
    """The connector `pixel`."""

    @pytest.fixture
    def subject(self) -> PushSubject:
        """Each of its routes."""
        body = json.dumps(BEACON).encode()
        headers = {"origin": "https://shop.example", "content-type": "text/plain;charset=UTF-8"}
        return PushSubject(
            connector=PixelConnector(),
            source=Source("web", options={"origins": "https://shop.example, https://www.shop.example"}),
            samples=(
                Sample("script", Request("GET", "/sima.js"), facts=0),
                Sample("preflight", Request("OPTIONS", "/events", headers), facts=0),
                Sample("beacon", Request("POST", "/events", headers, body=body), facts=3, refusals=1),
                Sample("picture", Request("GET", "/pixel.gif", query=OPENED)),
            ),
            sign=None,
        )
