"""The Meta connector keeps the promises of a push connector."""

import json
from collections.abc import Callable

import pytest
from sima_plugin_social.meta import MetaConnector
from sima_sdk.connectors import Request, Source
from sima_sdk.testing.push import PushConnectorContract, PushSubject, Sample

COMMENT = {
    "id": "17865799348089039",
    "from": {"id": "232323232", "username": "ada.l"},
    "media": {"id": "123123123", "media_product_type": "FEED"},
    "text": "Beautiful 😍",
}
FEED = {
    "item": "comment",
    "verb": "add",
    "comment_id": "44444444_555",
    "post_id": "1067280970047460_44444444",
    "parent_id": "1067280970047460_44444444",
    "created_time": 1767600000,
    "from": {"id": "24000000000029", "name": "Ada L"},
    "message": "Do you ship to Tehran?",
}
MESSAGE = {
    "sender": {"id": "9001"},
    "recipient": {"id": "1067280970047460"},
    "timestamp": 1767600000123,
    "message": {"mid": "m_19ab", "text": "Hello", "attachments": [{"type": "image"}]},
}
MESSENGER = {**MESSAGE, "message": {"mid": "m_19ad", "text": "Hello"}}
REMOVED = {**MESSAGE, "message": {"mid": "m_19ab", "is_deleted": True}}
STICKER = {**MESSAGE, "message": {"mid": "m_19ac", "is_unsupported": True}}
INSTAGRAM = {
    "object": "instagram",
    "entry": [
        {"id": "17841406338772941", "time": 1767600000, "changes": [{"field": "comments", "value": COMMENT}]},
        {"id": "17841406338772941", "time": 1767600001, "field": "live_comments", "value": {**COMMENT, "id": "2"}},
        {"id": "17841406338772941", "time": 1767600002, "changes": [{"field": "mentions", "value": {"media_id": "1"}}]},
        {"id": "17841406338772941", "time": 1767600003000, "messaging": [MESSAGE, REMOVED, STICKER]},
    ],
}
PAGE = {
    "object": "page",
    "entry": [
        {
            "id": "1067280970047460",
            "time": 1767600000,
            "changes": [
                {"field": "feed", "value": FEED},
                {"field": "feed", "value": {**FEED, "verb": "remove"}},
                {"field": "feed", "value": {"item": "reaction", "verb": "add", "reaction_type": "love"}},
            ],
        },
        {"id": "1067280970047460", "time": 1767600000500, "messaging": [MESSENGER]},
    ],
}
HANDSHAKE = {"hub.mode": "subscribe", "hub.challenge": "1158201444"}


class TestMeta(PushConnectorContract):
    """The connector `meta`."""

    @pytest.fixture
    def subject(self, account: Source, sign: Callable[[Request, Source], Request]) -> PushSubject:
        """The handshake, and a notification of either network."""
        return PushSubject(
            connector=MetaConnector(),
            source=account,
            samples=(
                Sample("handshake", Request("GET", "", query=HANDSHAKE), facts=0),
                Sample("instagram", Request("POST", "", body=json.dumps(INSTAGRAM).encode()), facts=5, refusals=1),
                Sample("page", Request("POST", "", body=json.dumps([PAGE]).encode()), facts=3, refusals=1),
            ),
            sign=sign,
        )
