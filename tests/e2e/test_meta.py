"""Real Instagram comments in the envelopes of Meta's webhooks."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import Stack, meta


def envelope(comment: dict[str, Any]) -> dict[str, Any]:
    """A comment as the webhook brings it: its author in `from`, within a change of an account's entry."""
    author = {"from": {"id": f"u{comment['id']}", "username": comment["username"]}} if "username" in comment else {}
    value = {**author, "id": comment["id"], "text": comment["text"], "timestamp": comment["timestamp"]}
    change = {"field": "comments", "value": value}
    return {"object": "instagram", "entry": [{"id": "17841400000000000", "time": 1_600_000_000, "changes": [change]}]}


def recorded(shared_data: Path, name: str) -> list[dict[str, Any]]:
    """The comments in a recorded answer."""
    content = json.loads((shared_data / "social" / f"instagram_comments_{name}.json").read_text())
    return list(content.get("data", content.values()))


def test_comments_become_events_of_their_authors_once(stack: Stack, shared_data: Path) -> None:
    """Each author is a person with the comment; Meta may send it as often as it likes."""
    comments = recorded(shared_data, "fields")
    requests = [meta(envelope(comment)) for comment in comments]
    first, again = stack.post_all("meta", requests), stack.post_all("meta", requests)
    assert (first["accepted"], first["refused"]) == (len(comments), 0)
    assert (again["accepted"], again["duplicates"]) == (0, len(comments))
    for comment in comments:
        events = stack.json("meta", "profile", "events", f"social_handle:instagram:{comment['username']}")
        assert [event["properties"]["text"] for event in events] == [comment["text"].strip()]


def test_comments_without_an_author_are_kept_as_refused(stack: Stack, shared_data: Path) -> None:
    """Nobody is made up for them, and nothing of them is lost."""
    comments = recorded(shared_data, "p1") + recorded(shared_data, "p2")
    before = stack.facts("meta")
    counts = stack.post_all("meta", [meta(envelope(comment)) for comment in comments])
    assert (counts["accepted"], counts["refused"]) == (0, len(comments))
    assert stack.facts("meta") == before


def test_a_wrong_signature_is_turned_away(stack: Stack) -> None:
    """401 for whoever does not know the app's secret."""
    body, _ = meta(envelope({"id": "1", "text": "x", "timestamp": "2026-01-01T00:00:00+0000", "username": "mallory"}))
    headers = {"X-Hub-Signature-256": f"sha256={'0' * 64}"}
    assert httpx.post(f"{stack.collector}/in/meta", content=body, headers=headers).status_code == 401


def test_the_subscription_is_confirmed_with_the_right_token_only(stack: Stack) -> None:
    """Meta's handshake: the challenge comes back, unless the token is wrong."""
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444"}
    good = httpx.get(f"{stack.collector}/in/meta", params={**query, "hub.verify_token": "v"})
    bad = httpx.get(f"{stack.collector}/in/meta", params={**query, "hub.verify_token": "w"})
    assert (good.status_code, good.text) == (200, "1158201444")
    assert bad.status_code == 401
