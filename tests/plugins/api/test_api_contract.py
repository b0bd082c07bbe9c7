"""The API keeps the promises of a push connector."""

import json
from dataclasses import replace

import pytest
from sima_plugin_api.batches import ApiConnector
from sima_sdk.connectors import Request, Source
from sima_sdk.testing.push import PushConnectorContract, PushSubject, Sample

FULL = {
    "message_id": "order-1001",
    "identifiers": [{"kind": "email", "value": "ada@example.com"}, {"kind": "user_id", "value": "42"}],
    "occurred_at": "2026-01-31T12:00:00+03:00",
    "event": {"name": "order_completed", "properties": {"total": 12.5, "items": [{"sku": "A-1", "gift": None}]}},
    "traits": [
        {"name": "city", "value": "الرياض", "method": "declared", "confidence": 0.9},
        {"name": "member_since", "time": "2020-05-01T00:00:00Z"},
        {"name": "visits", "value": 3},
        {"name": "vip", "value": True},
    ],
    "consents": [{"purpose": "email_marketing", "granted": True}],
}
LEAST = {"identifiers": [{"kind": "phone", "value": "+966501234567"}]}
BAD = {"identifiers": [{"kind": "email", "value": 7}]}


def bearer(request: Request, source: Source) -> Request:
    """Add the token."""
    return replace(request, headers={**request.headers, "authorization": f"Bearer {source.secrets['token']}"})


class TestApi(PushConnectorContract):
    """The connector `api`."""

    @pytest.fixture
    def subject(self) -> PushSubject:
        """Two good items, one bad one."""
        body = json.dumps({"batch": [FULL, BAD, LEAST]}).encode()
        return PushSubject(
            connector=ApiConnector(),
            source=Source("server", secrets={"token": "a token of the company"}),
            samples=(Sample("batch", Request("POST", "/batch", body=body), facts=2, refusals=1),),
            sign=bearer,
            signs_body=False,
        )
