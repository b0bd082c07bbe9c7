"""For administrators: what was refused, and the metrics.

Without a configured token these addresses exist only if the collector listens on loopback.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sima_runtime.errors import (
    InvalidFieldsError,
    NotFoundError,
    PageTokenError,
    UnauthenticatedError,
    Violation,
    Violations,
)
from sima_runtime.paging import page_size
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sima_collector.service import Collector
from sima_collector.store.refusals import StoredRefusal

_log = structlog.get_logger(__name__)

_LAST = 2**62
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Handler = Callable[[Request], Awaitable[Response]]


class Administration:
    """The administrative addresses."""

    def __init__(self, collector: Collector) -> None:
        self._refusals = collector.store.refusals
        self._token = collector.admin_token
        self._exists = self._token is not None or collector.settings.listens_on_loopback

    def routes(self) -> list[Route]:
        """The routes; none if neither a token is configured nor only this machine can reach the collector."""
        if not self._exists:
            return []
        return [
            Route("/refusals", self._guarded(self._list)),
            Route("/refusals", self._guarded(self._remove), methods=("DELETE",)),
            Route("/refusals/{number}/raw", self._guarded(self._raw)),
            Route("/metrics", self._guarded(_metrics)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if self._token is not None:
                require_token(request, self._token)
            elif request.url.hostname not in _LOOPBACK_NAMES:
                # A page in a browser of this machine may have made its own name point here.
                raise UnauthenticatedError
            return await handler(request)

        return guarded

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        _only(query, "workspace", "source", "page_size", "page_token").check()
        workspace, source = query.get("workspace", ""), query.get("source", "")
        size = page_size(_whole(query.get("page_size", "0")))
        before = _position(query.get("page_token", ""), [workspace, source])
        found = await self._refusals.page(workspace, source, before, size)
        token = _token([workspace, source, found[-1].id]) if len(found) == size else ""
        return JSONResponse({"refusals": [_shown(one) for one in found], "next_page_token": token})

    async def _remove(self, request: Request) -> Response:
        workspace, source = _to_remove(request.query_params)
        removed = await self._refusals.remove(workspace, source)
        _log.warning("refusals_removed", count=removed)
        return JSONResponse({"removed": removed})

    async def _raw(self, request: Request) -> Response:
        number = request.path_params["number"]
        is_number = number.isascii() and number.isdecimal() and len(number) <= len(str(_LAST)) and int(number) <= _LAST
        stored = await self._refusals.get(int(number)) if is_number else None
        if stored is None:
            raise NotFoundError("refusal", number if is_number else "")
        # Whatever it is, no browser may run it.
        headers = {"content-disposition": "attachment", "x-content-type-options": "nosniff"}
        return Response(stored.refused.raw, media_type="application/octet-stream", headers=headers)


def require_token(request: Request, *tokens: str) -> None:
    """Check that a request shows one of some bearer tokens.

    Raises:
        UnauthenticatedError: It does not.
    """
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    good = [hmac.compare_digest(shown.strip().encode(), token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(good):
        raise UnauthenticatedError


async def _metrics(_: Request) -> Response:
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


def _shown(stored: StoredRefusal) -> dict[str, Any]:
    refused = stored.refused
    shown = {
        "id": stored.id,
        "workspace": refused.workspace,
        "source": refused.source,
        "reason": refused.reason,
        "message_id": refused.message_id,
        "times": stored.times,
        "first_at": _instant(stored.first_at),
        "last_at": _instant(stored.last_at),
        "size": stored.size,
    }
    if stored.size == len(refused.raw):  # else it is too long for a list and has an address of its own
        shown["raw"] = refused.raw.decode(errors="replace")
    return shown


def _instant(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat()


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise InvalidFieldsError([Violation("page_size", "expected a whole number")])
    return int(text)


def _only(query: QueryParams, *names: str) -> Violations:
    """Note parameters that mean nothing, or that come twice: a slip must not show, or remove, what nobody named."""
    found = Violations()
    for name in query.keys() - set(names):
        found.add(name, f"expected only {', '.join(names)}")
    for name in names:
        found.require(len(query.getlist(name)) <= 1, name, "expected it once")
    return found


def _to_remove(query: QueryParams) -> tuple[str, str]:
    """Return workspace and source."""
    found = _only(query, "workspace", "source")
    workspace, source = query.get("workspace", ""), query.get("source", "")
    found.require(bool(workspace or source), "workspace", "expected it, or source, or both")
    found.check()
    return workspace, source


def _token(position: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(token: str, filters: list[str]) -> int:
    """Return the number below which a page begins.

    Raises:
        PageTokenError: The token was given for other filters, or never.
    """
    if not token:
        return _LAST
    try:
        *same, number = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise PageTokenError from None
    if same != filters or not isinstance(number, int) or not 0 <= number <= _LAST:
        raise PageTokenError
    return number
