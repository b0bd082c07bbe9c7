"""Meta's webhooks for Facebook pages and Instagram accounts: https://developers.facebook.com/docs/graph-api/webhooks.

Secrets of a source: `app_secret`, with which Meta signs, and `verify_token`, which Meta repeats when it subscribes.
"""

import json

from sima_sdk import Fact, PayloadError, PushConnector, Reception, Refusal, Request, Response, Route, Source
from sima_sdk.payload import Fields, check_json, fields_of, parse_json
from sima_sdk.signatures import check_proof, hmac_sha256

from sima_plugin_social.items import Item, items_of

SIGNATURE = "x-hub-signature-256"


class MetaConnector(PushConnector):
    """What people write to a page or account."""

    name = "meta"
    options = ()
    routes = (Route("GET"), Route("POST"))

    def check(self, source: Source) -> None:
        """Require both secrets."""
        source.secret("app_secret")
        source.secret("verify_token")

    def receive(self, request: Request, source: Source) -> Reception:
        """Answer the subscription handshake, or read a notification."""
        if request.method == "GET":
            return _subscribed(request, source)
        signature = "sha256=" + hmac_sha256(source.secret("app_secret"), request.body).hex()
        check_proof(request.headers.get(SIGNATURE), signature, f"header {SIGNATURE}")
        return _read(request.body)


def _subscribed(request: Request, source: Source) -> Reception:
    check_proof(request.query.get("hub.verify_token"), source.secret("verify_token"), "query hub.verify_token")
    challenge = request.query.get("hub.challenge", "")
    if request.query.get("hub.mode") != "subscribe" or not challenge.isalnum():
        raise PayloadError("query: expected hub.mode to be subscribe and hub.challenge to be letters and digits")
    return Reception(response=Response(body=challenge.encode()))


def _read(body: bytes) -> Reception:
    """Read a notification item by item: one that says nothing we know is refused, and those beside it are kept."""
    facts: list[Fact] = []
    refusals: list[Refusal] = []
    for item in (item for envelope in _envelopes(body) for item in items_of(envelope)):
        try:
            facts.append(item.fact())
        except PayloadError as error:
            refusals.append(_refused(item, error))
    if not facts and not refusals:
        raise PayloadError("entry: expected at least one change or message")
    return Reception(tuple(facts), tuple(refusals), Response(body=b"EVENT_RECEIVED"))


def _envelopes(body: bytes) -> tuple[Fields, ...]:
    """Return the notifications of a body: mostly one object, but a list of them where Meta's documents say so."""
    value, plain = parse_json(body)
    check_json(value, plain=plain)
    return fields_of(value if isinstance(value, list) else [value], "body")


def _refused(item: Item, error: PayloadError) -> Refusal:
    return Refusal(str(error), json.dumps(item.raw(), ensure_ascii=False).encode())
