"""What Meta sends, signed as it signs."""

import hmac
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from sima_plugin_social.meta import MetaConnector
from sima_sdk.connectors import Reception, Request, Source


def signed(request: Request, source: Source) -> Request:
    """Add Meta's signature, or to a handshake the token that Meta repeats."""
    if request.method == "GET":
        return replace(request, query={**request.query, "hub.verify_token": source.secrets["verify_token"]})
    digest = hmac.digest(source.secrets["app_secret"].encode(), request.body, "sha256").hex()
    return replace(request, headers={**request.headers, "x-hub-signature-256": f"sha256={digest}"})


@pytest.fixture
def account() -> Source:
    """An Instagram account, or a Facebook page."""
    return Source("social", secrets={"app_secret": "the app's secret", "verify_token": "our own token"})


@pytest.fixture
def sign() -> Callable[[Request, Source], Request]:
    """Sign as Meta does."""
    return signed


@pytest.fixture
def notify(account: Source) -> Callable[[object], Reception]:
    """Send a notification to the connector."""

    def notify(payload: object) -> Reception:
        request = Request("POST", "", body=json.dumps(payload).encode())
        return MetaConnector().receive(signed(request, account), account)

    return notify
