"""The entrances of the pixel: the script, the events that it sends, and a picture for e-mails.

Options of a source: `write_key`, which script and pictures must then repeat (it stands in public pages and is no
secret), and `origins`, with commas between them: the sites whose pages may send events; by default any site. A picture
without the key is shown, and counted nowhere.

In the browser of a visitor the script stores two first-party cookies and nothing else, each for a year: `sima_id`, a
random id, and `sima_user`, the user id that a page told it. For visitors who ask not to be tracked it stores and sends
nothing.
"""

import json
from collections.abc import Mapping
from importlib.resources import files

from sima_sdk import (
    Fact,
    PayloadError,
    PushConnector,
    Reception,
    Refusal,
    Request,
    Response,
    Route,
    SignatureError,
    Source,
)
from sima_sdk.identifiers import MAX_LENGTH
from sima_sdk.payload import parse_object
from sima_sdk.signatures import check_proof

from sima_plugin_pixel.events import read_event, read_picture

SCRIPT = (files("sima_plugin_pixel") / "sima.js").read_bytes()
PICTURE = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
MOST_EVENTS = 100


class PixelConnector(PushConnector):
    """What happens on our own web pages and in our e-mails."""

    name = "pixel"
    options = ("write_key", "origins")
    routes = (
        Route("GET", "/sima.js"),
        Route("OPTIONS", "/events"),
        Route("POST", "/events"),
        Route("GET", "/pixel.gif"),
    )

    def receive(self, request: Request, source: Source) -> Reception:
        """Answer one of the routes."""
        if request.path == "/sima.js":
            return Reception(response=_script())
        if request.method == "OPTIONS":
            return Reception(response=_accepted(request))
        return _picture(request, source) if request.path == "/pixel.gif" else _events(request, source)


def _script() -> Response:
    caching = {"cache-control": "public, max-age=3600", "access-control-allow-origin": "*"}
    return Response(body=SCRIPT, content_type="text/javascript; charset=utf-8", headers=caching)


def _picture(request: Request, source: Source) -> Reception:
    """Count an opened e-mail; the picture is shown in any case, for the reader is not to blame."""
    response = Response(body=PICTURE, content_type="image/gif", headers={"cache-control": "no-store"})
    if _refuses_tracking(request):
        return Reception(response=response)
    try:
        _check_key(request, source)
        return Reception((read_picture(request.query),), response=response)
    except SignatureError:  # what proves nothing leaves no trace
        return Reception(response=response)
    except PayloadError as error:
        raw = json.dumps(dict(request.query)).encode()
        return Reception(refusals=(Refusal(str(error), raw),), response=response)


def _events(request: Request, source: Source) -> Reception:
    _check_key(request, source)
    _check_origin(request, source)
    if _refuses_tracking(request):  # also for those whose script is older than their wish; nothing of it is kept
        return Reception(response=_accepted(request))
    body = parse_object(request.body)
    anonymous_id = body.text("anonymous_id")
    if anonymous_id and len(anonymous_id) > MAX_LENGTH:  # it would be repeated in each refusal
        raise PayloadError(f"anonymous_id: expected at most {MAX_LENGTH} characters")
    batch = body.objects("batch")
    if not 1 <= len(batch) <= MOST_EVENTS:
        raise PayloadError(f"batch: expected a list of 1 to {MOST_EVENTS} events")
    facts: list[Fact] = []
    refusals: list[Refusal] = []
    for item in batch:
        try:
            facts.append(read_event(item, anonymous_id))
        except PayloadError as error:
            raw = json.dumps({"anonymous_id": anonymous_id, "batch": [item.json()]}).encode()
            refusals.append(Refusal(str(error), raw))
    return Reception(tuple(facts), tuple(refusals), _accepted(request))


def _accepted(request: Request) -> Response:
    return Response(status=204, headers=_cross_origin(request))


def _cross_origin(request: Request) -> Mapping[str, str]:
    origin = request.headers.get("origin", "")
    return {
        "access-control-allow-origin": origin if origin.isascii() and origin.isprintable() and origin else "*",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "content-type",
        "vary": "origin",
    }


def _check_key(request: Request, source: Source) -> None:
    if "write_key" in source.options:
        check_proof(request.query.get("key"), source.options["write_key"], "query key")


def _check_origin(request: Request, source: Source) -> None:
    allowed = [origin.strip() for origin in source.options.get("origins", "").split(",") if origin.strip()]
    if allowed and request.headers.get("origin") not in allowed:
        raise SignatureError("header origin: expected a site that the source allows")


def _refuses_tracking(request: Request) -> bool:
    return request.headers.get("dnt") == "1" or request.headers.get("sec-gpc") == "1"
