"""What surrounds every HTTP request: a request id, a limit on how many there are, one log line, one measurement.

Logs hold no address beyond the configured source, for whatever a client writes there may be personal data.
"""

import time

import structlog
from sima_runtime.context import new_request_id
from sima_runtime.errors import OverloadedError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sima_collector.metrics import request_seconds
from sima_collector.problems import problem, surprise

#: Key of the request's scope under which a handler leaves the name of the source.
SOURCE = "sima.source"
_REQUEST_ID = b"sima-request-id"
# Whoever asks these would end or avoid a process that is merely busy.
_PROBES = frozenset({"/healthz", "/readyz"})

_log = structlog.get_logger(__name__)


class AccessMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        """Let at most `most` requests in at once, and probes always."""
        self._app, self._most, self._running = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access = _Access(scope, send)
        counted = scope["path"] not in _PROBES
        self._running += counted
        try:
            fits = not counted or self._running <= self._most
            app = self._app if fits else problem(OverloadedError("requests"))
            await app(scope, receive, access.send)
        except Exception as error:
            if not access.answers_surprise(error):
                raise  # half an answer is out already: only the end of the connection can tell its client
            await surprise()(scope, receive, access.send)
        finally:
            self._running -= counted
            access.report()


class _Access:
    """One request: what was answered, and how long it took."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._id = new_request_id()
        self._started = time.perf_counter()
        self._status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            message["headers"] = [*message["headers"], (_REQUEST_ID, self._id.encode())]
        await self._send(message)

    def answers_surprise(self, error: Exception) -> bool:
        """Log what nobody foresaw; says whether it can still be answered."""
        _log.error("surprise", request_id=self._id, exc_info=error)
        return not self._status

    def report(self) -> None:
        seconds = time.perf_counter() - self._started
        source = self._scope.get(SOURCE, "")
        request_seconds.record(seconds, {"source": source, "status": self._status})
        _log.info(
            "request",
            method=self._scope["method"],
            source=source,
            status=self._status,
            ms=round(1_000 * seconds, 2),
            request_id=self._id,
        )
