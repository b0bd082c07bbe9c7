"""The server's side of the pixel."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sima_plugin_pixel.pixel import MOST_EVENTS, SCRIPT, PixelConnector
from sima_sdk.connectors import Reception, Request, Source
from sima_sdk.errors import PayloadError, SignatureError
from sima_sdk.facts import Consent, Event, Identifier, Method, Trait

Texts = Mapping[str, str]

VIEW = {"id": "e1", "at": "2026-01-31T09:00:00.000Z", "name": "page_viewed", "properties": {"duration_s": 12.3}}
ADA = {"user_id": "42", "email": "ada@example.com"}
OPEN = Source("web")
KEYED = Source("web", options={"write_key": "wk_1"})
NOTHING: Texts = {}


def beacon(
    *batch: object, source: Source = OPEN, query: Texts = NOTHING, headers: Texts = NOTHING, anonymous_id: object = "a1"
) -> Reception:
    """Send events as the script does."""
    body = json.dumps({"anonymous_id": anonymous_id, "batch": list(batch)}).encode()
    return PixelConnector().receive(Request("POST", "/events", headers, query, body), source)


def picture(query: Texts, *, source: Source = OPEN, headers: Texts = NOTHING) -> Reception:
    """Open an e-mail."""
    return PixelConnector().receive(Request("GET", "/pixel.gif", headers, query), source)


def test_a_page_view_belongs_to_the_visitor() -> None:
    """Who, what, when, and how long it was looked at."""
    (fact,) = beacon(VIEW).facts
    assert fact.message_id == "e1"
    assert fact.identifiers == (Identifier("anonymous_id", "a1"),)
    assert fact.occurred_at == datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert fact.event == Event("page_viewed", {"duration_s": 12.3})


def test_a_visitor_who_says_who_they_are_is_joined_with_their_visit() -> None:
    """Names and the anonymous id stand in one fact; what the form said was declared."""
    item = {
        "id": "e2",
        "at": VIEW["at"],
        "identifiers": {"user_id": 42, "email": "a@example.com"},
        "traits": {"age": 37},
    }
    (fact,) = beacon(item).facts
    assert fact.identifiers == (
        Identifier("user_id", "42"),
        Identifier("email", "a@example.com"),
        Identifier("anonymous_id", "a1"),
    )
    assert fact.traits == (Trait("age", 37.0, Method.DECLARED),)


def test_a_page_cannot_make_up_other_kinds_of_names() -> None:
    """Anybody can write a page's calls, so a passport is no business of theirs."""
    (fact,) = beacon({**VIEW, "identifiers": {"passport": "X1", "loyalty_card": "S-1"}}).facts
    assert fact.identifiers == (Identifier("anonymous_id", "a1"),)


def test_a_consent_is_taken() -> None:
    """Given or taken back on the page."""
    (fact,) = beacon({"id": "e3", "at": VIEW["at"], "consents": {"email_marketing": True, "ads": False}}).facts
    assert fact.consents == (Consent("email_marketing", granted=True), Consent("ads", granted=False))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "batch[0].id: expected a value"),
        ({"at": None}, "batch[0].at: expected a value"),
        ({"at": "yesterday"}, "batch[0].at: expected a time in ISO 8601 with its zone"),
        ({"properties": []}, "batch[0].properties: expected an object"),
        (
            {"traits": {"a": 2**53 + 1}},
            "batch[0].traits.a: expected a number of at most 2^53; longer ones belong into texts",
        ),
        ({"traits": {"a": []}}, "batch[0].traits.a: expected a text, a number, true or false"),
        ({"consents": {"a": "yes"}}, "batch[0].consents.a: expected true or false"),
        ({"traits": {"": 1}}, "batch[0].traits: expected names that are not blank"),
    ],
)
def test_a_bad_event_does_not_take_others_along(change: dict[str, Any], complaint: str) -> None:
    """It is refused by its path, kept with its visitor, and the one behind it is taken."""
    reception = beacon(VIEW | change, VIEW)
    assert len(reception.facts) == 1
    assert [refusal.reason for refusal in reception.refusals] == [complaint]
    assert json.loads(reception.refusals[0].raw) == {"anonymous_id": "a1", "batch": [VIEW | change]}


def test_an_event_of_nobody_is_kept_as_refused() -> None:
    """Without any name it belongs to nobody."""
    (refusal,) = beacon(VIEW, anonymous_id=None).refusals
    assert refusal.reason.startswith("identifiers: expected at least one of user_id")


@pytest.mark.parametrize("batch", [(), (VIEW,) * (MOST_EVENTS + 1), ("x",)])
def test_a_batch_has_its_bounds(batch: tuple[object, ...]) -> None:
    """Nothing, too much and no events are refused."""
    with pytest.raises(PayloadError, match="batch"):
        beacon(*batch)


def test_a_small_body_stays_small() -> None:
    """What is repeated with each refused event is short, so that nobody fills a disk with one request."""
    with pytest.raises(PayloadError, match="anonymous_id: expected at most 512 characters"):
        beacon(*[{"id": "e"}] * MOST_EVENTS, anonymous_id="x" * 513)


def test_an_opened_mail_is_counted() -> None:
    """The picture's address says who and which campaign."""
    reception = picture({**ADA, "campaign": "spring", "id": "mail-1"})
    (fact,) = reception.facts
    assert fact.message_id == "mail-1"
    assert fact.event == Event("email_opened", {"campaign": "spring"})
    assert [one.kind for one in fact.identifiers] == ["user_id", "email"]
    assert fact.occurred_at is None


def test_the_picture_is_always_shown() -> None:
    """One transparent pixel that is fetched each time, also where nothing can be counted."""
    wrong_key, no_key = picture({**ADA, "key": "wk_2"}, source=KEYED), picture(ADA, source=KEYED)
    for reception in (picture(ADA), picture({}), picture(ADA, headers={"dnt": "1"}), wrong_key, no_key):
        assert reception.response.status == 200
        assert reception.response.body.startswith(b"GIF89a\x01\x00\x01\x00")
        assert len(reception.response.body) == 43
        assert reception.response.content_type == "image/gif"
        assert reception.response.headers["cache-control"] == "no-store"


def test_a_picture_of_nobody_is_kept_as_refused() -> None:
    """What was in its address is not lost."""
    (refusal,) = picture({"campaign": "spring"}).refusals
    assert json.loads(refusal.raw) == {"campaign": "spring"}


@pytest.mark.parametrize("key", [{}, {"key": ""}, {"key": "wk_2"}])
def test_a_picture_without_the_write_key_leaves_no_trace(key: Texts) -> None:
    """What proves nothing is not stored, or anybody could fill the disk; malformed or not."""
    for query in (ADA, {"campaign": "spring"}):
        reception = picture({**query, **key}, source=KEYED)
        assert (reception.facts, reception.refusals) == ((), ())


@pytest.mark.parametrize("wish", ["dnt", "sec-gpc"])
def test_who_does_not_want_to_be_followed_leaves_no_trace(wish: str) -> None:
    """Neither a fact nor a refusal, which would keep the payload as well."""
    reception = beacon(VIEW, headers={wish: "1"})
    assert (reception.facts, reception.refusals, reception.response.status) == ((), (), 204)
    opened = picture(ADA, headers={wish: "1"})
    assert (opened.facts, opened.refusals) == ((), ())
    unproven = picture(ADA, source=KEYED, headers={wish: "1"})
    assert (unproven.facts, unproven.refusals) == ((), ())


def test_the_script_is_served() -> None:
    """Any page may load it, and keeps it for a while."""
    answer = PixelConnector().receive(Request("GET", "/sima.js"), OPEN).response
    assert b"sendBeacon" in answer.body
    assert answer.content_type.startswith("text/javascript")
    assert answer.headers == {"cache-control": "public, max-age=3600", "access-control-allow-origin": "*"}


def test_the_script_travels_with_the_distribution(tmp_path: Path) -> None:
    """Whoever installs the plugin has the script that it serves."""
    plugin = Path(__file__).parents[3] / "plugins" / "pixel"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=plugin, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(wheel).read("sima_plugin_pixel/sima.js") == SCRIPT


def test_other_sites_are_kept_out() -> None:
    """With an allow-list, only pages of these sites may send; the script itself is no secret."""
    source = Source("web", options={"origins": "https://shop.example, https://www.shop.example"})
    assert beacon(VIEW, source=source, headers={"origin": "https://www.shop.example"}).facts
    for origin in ("https://evil.example", "null", "https://shop.example.evil", ""):
        with pytest.raises(SignatureError, match="header origin"):
            beacon(VIEW, source=source, headers={"origin": origin})
    with pytest.raises(SignatureError, match="header origin"):
        beacon(VIEW, source=source)
    assert PixelConnector().receive(Request("GET", "/sima.js"), source).response.status == 200


def test_the_write_key_is_asked_for() -> None:
    """Of events and of pictures."""
    assert beacon(VIEW, source=KEYED, query={"key": "wk_1"}).facts
    assert picture({**ADA, "key": "wk_1"}, source=KEYED).facts[0].event == Event("email_opened", {})
    for key in ("", "wk_2"):
        with pytest.raises(SignatureError, match="query key"):
            beacon(VIEW, source=KEYED, query={"key": key})
        assert picture({**ADA, "key": key}, source=KEYED).facts == ()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://shop.example", "https://shop.example"), ("", "*"), ("a\r\nb: c", "*"), ("سر", "*")],
)
def test_browsers_may_read_the_answer(origin: str, allowed: str) -> None:
    """Pages of other origins are answered, and no header can be smuggled in."""
    for request in (
        Request("OPTIONS", "/events", {"origin": origin}),
        Request("POST", "/events", {"origin": origin, "dnt": "1"}),
    ):
        answer = PixelConnector().receive(request, OPEN).response
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == allowed
        assert answer.headers["vary"] == "origin"
