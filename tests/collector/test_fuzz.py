"""Real connectors behind the whole collector, given what nobody should send."""

import hmac
import json
import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from sima_collector.settings import CollectorSettings
from sima_sdk.testing.mutations import mutate_body

from .conftest import Door, MemoryProfile, OpenDoor, ProfileSwitch

PAYLOADS = 1_000
COUNTS = frozenset(f"sima-{name}" for name in ("accepted", "duplicates", "conflicts", "buffered", "refused"))
SOURCES: list[dict[str, object]] = [
    {"name": "shop", "connector": "shopify", "secrets": {"webhook": {"value": "k"}}},
    {"name": "page", "connector": "meta", "secrets": {"app_secret": {"value": "k"}, "verify_token": {"value": "v"}}},
    {"name": "web", "connector": "pixel"},
    {"name": "calls", "connector": "api", "secrets": {"token": {"value": "t"}}},
]
ORDER = {
    "id": 1,
    "created_at": "2026-01-01T10:00:00+03:00",
    "updated_at": "2026-01-01T10:00:00+03:00",
    "currency": "SAR",
    "total_price": "119.00",
    "customer": {"id": 7, "email": "ada@example.com", "phone": "+966501234567"},
    "line_items": [{"sku": "RUN-101", "quantity": 1, "price": "119.00"}],
}
COMMENT = {"item": "comment", "verb": "add", "comment_id": "1_2", "from": {"id": "5", "name": "Ada"}, "message": "Hi"}
ENTRY = {"id": "1", "time": 1767225600, "changes": [{"field": "feed", "value": COMMENT | {"created_time": 1767225600}}]}
VIEW = {
    "id": "1",
    "at": "2026-01-01T00:00:00Z",
    "name": "viewed",
    "properties": {"sku": "A"},
    "traits": {"city": "Riyadh"},
}
ITEM = {
    "message_id": "m",
    "identifiers": [{"kind": "email", "value": "ada@example.com"}],
    "occurred_at": "2026-01-01T00:00:00Z",
    "event": {"name": "called", "properties": {"minutes": [1]}},
    "consents": [{"purpose": "ads", "granted": True}],
}


def with_good_item(body: bytes, number: int) -> bytes:
    """A batch of the channel `calls` in which a good item stands behind what a payload's own items became."""
    good = ITEM | {"message_id": f"good-{number}"}
    try:
        items = json.loads(body)["batch"]
        json.dumps(items, allow_nan=False)  # else the whole would be no JSON
    except (ValueError, LookupError, TypeError, RecursionError):
        items = []
    return json.dumps({"batch": [*(items if isinstance(items, list) else [items])[:100], good]}).encode()


class Channel(NamedTuple):
    """A source, where it is called, with which body, and how the call proves itself."""

    source: str
    path: str
    body: object
    proof: Callable[[bytes], Mapping[str, str]]


def _signed(body: bytes) -> Mapping[str, str]:
    signature = b64encode(hmac.digest(b"k", body, "sha256")).decode()
    return {"x-shopify-topic": "orders/create", "x-shopify-hmac-sha256": signature}


CHANNELS = (
    Channel("shop", "", ORDER, _signed),
    Channel(
        "page",
        "",
        {"object": "page", "entry": [ENTRY]},
        lambda body: {"x-hub-signature-256": f"sha256={hmac.digest(b'k', body, 'sha256').hex()}"},
    ),
    Channel("web", "/events", {"anonymous_id": "a1", "batch": [VIEW, VIEW | {"id": "2"}]}, lambda _: {}),
    Channel("calls", "/batch", {"batch": [ITEM, ITEM]}, lambda _: {"authorization": "Bearer t"}),
)


@pytest.fixture
async def channels(switch: ProfileSwitch, workspace_key_file: Path, tmp_path: Path, open_door: OpenDoor) -> Door:
    """A collector with a source for each push connector."""
    sources = tmp_path / "sources.json"
    sources.write_text(json.dumps({"sources": [source | {"workspace": "main"} for source in SOURCES]}))
    return await open_door(
        CollectorSettings(
            profile_address=switch.address,
            sources_file=sources,
            workspace_key_file=workspace_key_file,
            data_dir=tmp_path / "data",
        )
    )


@pytest.mark.parametrize("channel", CHANNELS, ids=[channel.source for channel in CHANNELS])
async def test_mutated_payloads_are_answered_and_counted(
    channels: Door, profile: MemoryProfile, channel: Channel
) -> None:
    """Never a 5xx and never silence: what is taken says what became of it, and a good payload is stored behind it."""
    good, chance = json.dumps(channel.body).encode(), random.Random(20260101)
    for body in (*(mutate_body(good, chance) for _ in range(PAYLOADS)), good):
        answer = await channels.client.post(
            f"/in/{channel.source}{channel.path}", content=body, headers=channel.proof(body)
        )
        assert answer.status_code < 500, body
        counts = {name: int(count) for name, count in answer.headers.items() if name in COUNTS}
        assert answer.status_code >= 400 or sum(counts.values()) > 0, body
    assert answer.is_success
    assert counts["sima-accepted"] + counts["sima-duplicates"] > 0
    assert {fact.source for fact in profile.received} == {channel.source}


async def test_a_good_fact_beside_mutated_ones_is_never_lost(channels: Door, profile: MemoryProfile) -> None:
    """Whatever the other items of a batch have become, it is stored."""
    channel = CHANNELS[-1]
    good, chance = json.dumps(channel.body).encode(), random.Random(20260102)
    for number in range(PAYLOADS):
        body = with_good_item(mutate_body(good, chance), number)
        answer = await channels.client.post(f"/in/calls{channel.path}", content=body, headers=channel.proof(body))
        assert answer.is_success, body
    stored = {fact.message_id for fact in profile.received}
    assert stored >= {f"good-{number}" for number in range(PAYLOADS)}
