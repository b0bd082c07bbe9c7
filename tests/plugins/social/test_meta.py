"""Comments and messages of Facebook and Instagram, from recorded objects in Meta's envelopes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sima_plugin_social.meta import MetaConnector
from sima_sdk.connectors import Reception, Request, Source
from sima_sdk.errors import FixConfigurationError, PayloadError, SignatureError
from sima_sdk.facts import Fact, Identifier, Method, Trait

Notify = Callable[[object], Reception]

ACCOUNT = "17841406338772941"
COMMENT = {"id": "1", "from": {"id": "2323", "username": "Ada.L"}, "media": {"id": "9"}, "text": "Beautiful 😍"}
FEED = {
    "item": "comment",
    "verb": "add",
    "comment_id": "4_5",
    "post_id": "1_4",
    "created_time": 1_767_600_000,
    "from": {"id": "24000000000029", "name": "Ada L"},
    "message": "Do you ship?",
}
MESSAGE = {"sender": {"id": "9001"}, "timestamp": 1_767_600_000_123, "message": {"mid": "m_1", "text": "Hello"}}


def envelope(network: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """Return a notification."""
    return {"object": network, "entry": [{"id": ACCOUNT, "time": 1_767_600_001, **entry} for entry in entries]}


def changes(field: str, *values: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an entry that lists changes."""
    return {"changes": [{"field": field, "value": value} for value in values]}


def names(fact: Fact) -> list[str]:
    """Return the identifiers of a fact."""
    return [f"{one.kind}={one.value}" for one in fact.identifiers]


def said(fact: Fact) -> tuple[str, dict[str, Any]]:
    """Return the event of a fact."""
    assert fact.event is not None
    return fact.event.name, dict(fact.event.properties)


def recorded(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the recorded objects of a file, which is a page of them or maps ids to them."""
    content = json.loads((folder / "social" / f"{name}.json").read_text())
    found: list[dict[str, Any]] = content["data"] if "data" in content else list(content.values())
    return found


def test_recorded_instagram_comments_name_their_authors(notify: Notify, shared_data: Path) -> None:
    """Comments with a user name become events of that user, with their text and time."""
    comments = recorded(shared_data, "instagram_comments_fields")
    reception = notify(envelope("instagram", changes("comments", *comments)))
    assert [names(fact) for fact in reception.facts] == [
        ["social_handle=instagram:ikroskun"],
        ["social_handle=instagram:lixiangguodu123"],
    ]
    name, properties = said(reception.facts[0])
    assert (name, properties["text"]) == ("comment_posted", "@ikroskun  Hey, guys")
    assert reception.facts[0].occurred_at == datetime(2020, 2, 24, 9, 15, 16, tzinfo=UTC)


@pytest.mark.parametrize("name", ["instagram_comments_p1", "instagram_comments_p2", "instagram_replies"])
def test_recorded_comments_without_author_are_kept_as_refused(notify: Notify, shared_data: Path, name: str) -> None:
    """Who wrote it is not said, so it belongs to nobody; the comment itself is not lost."""
    comments = recorded(shared_data, name)
    reception = notify(envelope("instagram", changes("comments", *comments)))
    assert reception.facts == ()
    assert {refusal.reason.partition(": ")[2] for refusal in reception.refusals} == {"expected an author"}
    kept = [json.loads(refusal.raw)["entry"][0]["changes"][0]["value"] for refusal in reception.refusals]
    assert kept == comments


def test_recorded_facebook_comments_without_author_are_kept_as_refused(notify: Notify, shared_data: Path) -> None:
    """All ten of a page's post; the answer is good, or Meta would stop sending."""
    comments = recorded(shared_data, "facebook_comments_p1")
    values = [{"item": "comment", "verb": "add", "comment_id": str(at), **one} for at, one in enumerate(comments)]
    reception = notify(envelope("page", changes("feed", *values)))
    assert (len(reception.facts), len(reception.refusals)) == (0, 10)
    assert reception.response.status == 200


def test_a_recorded_mention_names_who_made_it(notify: Notify, shared_data: Path) -> None:
    """A mention that says by whom is an event; one that gives only ids is kept as refused."""
    comment = json.loads((shared_data / "social" / "instagram_mentioned_comment.json").read_text())["mentioned_comment"]
    reception = notify(envelope("instagram", changes("mentions", comment, {"media_id": "1", "comment_id": "2"})))
    (fact,) = reception.facts
    assert said(fact)[0] == "account_mentioned"
    assert names(fact) == ["social_handle=instagram:ikroskun"]
    assert len(reception.refusals) == 1


@pytest.mark.parametrize(
    "entry",
    [changes("comments", COMMENT), {"field": "comments", "value": COMMENT}, changes("live_comments", COMMENT)],
    ids=["list of changes", "one change in the entry", "live"],
)
@pytest.mark.parametrize("batched", [False, True])
def test_all_shapes_of_instagram_mean_the_same(notify: Notify, entry: dict[str, Any], *, batched: bool) -> None:
    """However the app is connected, a comment is a comment."""
    payload = envelope("instagram", entry)
    (fact,) = notify([payload] if batched else payload).facts
    assert names(fact) == ["user_id=instagram:2323", "social_handle=instagram:Ada.L"]
    assert said(fact) == (
        "comment_posted",
        {"network": "instagram", "account": ACCOUNT, "comment_id": "1", "media_id": "9", "text": "Beautiful 😍"},
    )
    assert fact.occurred_at == datetime(2026, 1, 5, 8, 0, 1, tzinfo=UTC)


def test_a_comment_on_a_page_names_who_wrote_it(notify: Notify) -> None:
    """The page's feed gives an id and a name, which is no handle; the time is that of the comment."""
    (fact,) = notify(envelope("page", changes("feed", FEED))).facts
    assert fact.identifiers == (Identifier("user_id", "facebook:24000000000029"),)
    assert fact.traits == (Trait("name", "Ada L", Method.OBSERVED),)
    assert fact.occurred_at == datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_a_comment_that_changes_is_another_event(notify: Notify) -> None:
    """Posting, editing and taking back are three events; each reported again is the same one."""
    values = [{**FEED, "verb": verb} for verb in ("add", "edited", "remove", "add")]
    facts = notify(envelope("page", changes("feed", *values))).facts
    assert [said(fact)[0] for fact in facts] == [
        "comment_posted",
        "comment_edited",
        "comment_removed",
        "comment_posted",
    ]
    assert len({fact.message_id for fact in facts}) == 3


@pytest.mark.parametrize("network", ["page", "instagram"])
@pytest.mark.parametrize("shape", ["messaging", "standby", "changes"])
def test_a_message_names_its_sender(notify: Notify, network: str, shape: str) -> None:
    """Written to us, or to another app while ours stands by, or reported among the changes."""
    entry = changes("messages", MESSAGE) if shape == "changes" else {shape: [MESSAGE]}
    (fact,) = notify(envelope(network, entry)).facts
    source = {"page": "facebook", "instagram": "instagram"}[network]
    assert names(fact) == [f"user_id={source}:9001"]
    assert said(fact) == ("message_received", {"network": source, "account": ACCOUNT, "text": "Hello"})
    assert fact.occurred_at == datetime(2026, 1, 5, 8, 0, 0, 123_000, tzinfo=UTC)


@pytest.mark.parametrize("shape", ["messaging", "standby", "changes"])
def test_a_message_taken_back_is_another_event(notify: Notify, shape: str) -> None:
    """It is told apart from the message itself, says which one it was, and happened when it was taken back."""
    removal = {"sender": {"id": "9001"}, "timestamp": 1_767_600_060_000, "message": {"mid": "m_1", "is_deleted": True}}
    entry = changes("messages", MESSAGE, removal) if shape == "changes" else {shape: [MESSAGE, removal]}
    message, removed = notify(envelope("instagram", entry)).facts
    assert (message.message_id, removed.message_id) == ("message:m_1", "message:m_1:removed")
    assert said(removed) == ("message_removed", {"network": "instagram", "account": ACCOUNT, "message_id": "m_1"})
    assert names(removed) == names(message)
    assert removed.occurred_at == datetime(2026, 1, 5, 8, 1, tzinfo=UTC)


def test_a_message_that_meta_does_not_pass_on_says_so(notify: Notify) -> None:
    """Somebody wrote, and why there is no text is no riddle."""
    sticker = {**MESSAGE, "message": {"mid": "m_3", "is_unsupported": True}}
    (fact,) = notify(envelope("instagram", {"messaging": [sticker]})).facts
    assert fact.message_id == "message:m_3"
    assert said(fact) == ("message_received", {"network": "instagram", "account": ACCOUNT, "unsupported": True})


@pytest.mark.parametrize(
    "entry",
    [
        changes("feed", {**FEED, "from": {"id": ACCOUNT, "name": "The shop"}}),
        {"messaging": [{**MESSAGE, "message": {"mid": "m_2", "is_echo": True}}]},
        {"messaging": [{**MESSAGE, "message": {"mid": "m_2", "is_echo": True, "is_deleted": True}}]},
        {"messaging": [{"sender": {"id": "9001"}, "read": {"watermark": 1}}]},
        changes("feed", {"item": "reaction", "verb": "add", "from": {"id": "7"}}),
        changes("feed", {**FEED, "verb": "hide"}),
        changes("ratings", {}),
        {"changed_fields": ["feed"]},
    ],
    ids=[
        "own comment",
        "own message",
        "own message removed",
        "receipt",
        "reaction",
        "hidden",
        "other field",
        "fields without values",
    ],
)
def test_what_no_customer_wrote_is_kept_as_refused(notify: Notify, entry: dict[str, Any]) -> None:
    """The account's own words and what we do not know become no facts, and what stands beside them does."""
    reception = notify(envelope("page", entry, changes("feed", FEED)))
    assert [fact.message_id for fact in reception.facts] == ["comment:4_5"]
    assert len(reception.refusals) == 1
    assert json.loads(reception.refusals[0].raw)["object"] == "page"


def test_another_product_of_meta_is_kept_as_refused(notify: Notify) -> None:
    """A subscription too many loses nothing."""
    reception = notify(envelope("whatsapp_business_account", changes("messages", {})))
    assert [refusal.reason for refusal in reception.refusals] == ["object: expected one of instagram, page"]


@pytest.mark.parametrize("payload", [{}, [], {"object": "page"}, {"object": "page", "entry": []}, {"entry": "x"}])
def test_an_envelope_with_nothing_in_it_is_refused(notify: Notify, payload: object) -> None:
    """It is not what Meta sends."""
    with pytest.raises(PayloadError):
        notify(payload)


def handshake(account: Source, **query: str) -> Reception:
    """Answer a handshake."""
    named = {f"hub.{name}": value for name, value in query.items()}
    return MetaConnector().receive(Request("GET", "", query=named), account)


def test_the_subscription_is_confirmed(account: Source) -> None:
    """Meta gets its challenge back if it knows our token."""
    answer = handshake(account, mode="subscribe", verify_token="our own token", challenge="1158201444").response
    assert (answer.status, answer.body) == (200, b"1158201444")


@pytest.mark.parametrize("token", ["", "another token", "our own token "])
def test_a_stranger_cannot_subscribe(account: Source, token: str) -> None:
    """Whoever does not know our token gets no answer."""
    with pytest.raises(SignatureError, match=r"query hub\.verify_token"):
        handshake(account, mode="subscribe", verify_token=token, challenge="1")


@pytest.mark.parametrize("query", [{"mode": "unsubscribe"}, {"challenge": ""}, {"challenge": "<script>"}])
def test_a_strange_handshake_is_refused(account: Source, query: dict[str, str]) -> None:
    """Nothing is repeated that is no challenge."""
    good = {"mode": "subscribe", "verify_token": "our own token", "challenge": "1"}
    with pytest.raises(PayloadError, match=r"query: expected hub\.mode"):
        handshake(account, **(good | query))


@pytest.mark.parametrize("missing", ["app_secret", "verify_token"])
def test_an_account_without_secrets_never_starts(account: Source, missing: str) -> None:
    """A source that could not verify anything is an error of its configuration."""
    secrets = {name: secret for name, secret in account.secrets.items() if name != missing}
    with pytest.raises(FixConfigurationError, match=f"expected a secret {missing}"):
        MetaConnector().check(Source("social", secrets=secrets))
