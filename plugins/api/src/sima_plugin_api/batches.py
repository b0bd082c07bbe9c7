"""Facts in batches: `POST batch` with `{"batch": [...]}`, 1 to 1,000 items as `sima_plugin_api.items` describes them.

Secret of a source: `token`, which a caller shows as `Authorization: Bearer TOKEN`. The answer is a JSON object:
`facts`, how many items were read, `refused`, a list of `index` and `reason`, and `result`, what became of the facts.
"""

import json
from typing import Any

from sima_sdk import Fact, PayloadError, PushConnector, Reception, Refusal, Request, Response, Route, Source
from sima_sdk.payload import check_json, parse_json
from sima_sdk.signatures import bearer_token, check_proof

from sima_plugin_api.items import read_fact

MOST_ITEMS = 1_000


class ApiConnector(PushConnector):
    """What other services of the company know."""

    name = "api"
    options = ()
    routes = (Route("POST", "/batch"),)

    def check(self, source: Source) -> None:
        """Require the token."""
        source.secret("token")

    def receive(self, request: Request, source: Source) -> Reception:
        """Read a batch item by item: a bad one is refused, and those beside it are kept."""
        check_proof(bearer_token(request), source.secret("token"), "header authorization")
        items, plain = _items(request.body)
        facts: list[Fact] = []
        refused: list[tuple[int, str]] = []
        for index, item in enumerate(items):
            try:
                if not plain:
                    check_json(item, "item")
                facts.append(read_fact(item))
            except PayloadError as error:
                refused.append((index, str(error)))
        refusals = tuple(Refusal(reason, _raw(items[index], request.body)) for index, reason in refused)
        return Reception(tuple(facts), refusals, _answer(len(facts), refused))


def _items(body: bytes) -> tuple[list[Any], bool]:
    value, plain = parse_json(body)
    items = value.get("batch") if isinstance(value, dict) else None
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_ITEMS:
        raise PayloadError(f"batch: expected a list of 1 to {MOST_ITEMS} items")
    if len(value) > 1:  # what somebody means for all items would otherwise be lost in silence
        raise PayloadError("body: expected no fields but batch")
    return items, plain


def _raw(item: object, body: bytes) -> bytes:
    try:
        return json.dumps(item).encode()
    except RecursionError:  # nested so deeply that only the body itself shows it
        return body


def _answer(facts: int, refused: list[tuple[int, str]]) -> Response:
    answer = {"facts": facts, "refused": [{"index": index, "reason": reason} for index, reason in refused]}
    return Response(body=json.dumps(answer).encode(), content_type="application/json", report=True)
