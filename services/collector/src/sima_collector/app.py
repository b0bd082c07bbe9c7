"""The HTTP side of the collector: requests become calls of the domain, and what comes of them becomes answers.

Addresses: `/in/{source}` and below for channels, `/import/{source}` for files, `/refusals` and `/metrics` for
administrators, `/healthz` and `/readyz` for whoever runs the process.
"""

import asyncio
from collections.abc import Awaitable, Callable

from sima_runtime.errors import DeadlineExceededError, SimaError
from sima_sdk.connectors import Request as ChannelRequest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sima_collector.access import SOURCE, AccessMiddleware
from sima_collector.admin import Administration
from sima_collector.bodies import read_body
from sima_collector.intake import Answer, Intake
from sima_collector.problems import answer_http_problem, answer_problem
from sima_collector.rooms import Claim, Room
from sima_collector.service import Collector
from sima_collector.settings import HttpSettings
from sima_collector.uploads import Uploads

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# The server decides on these; what a connector says of them would contradict it.
_SERVERS_OWN = frozenset({"content-length", "transfer-encoding", "connection"})


def make_app(collector: Collector) -> Starlette:
    """Return the application over the parts of a running collector."""
    settings = collector.settings
    entrance = Entrance(collector.intake, settings)
    uploads = Uploads(collector)
    routes = [
        Route("/in/{source}", entrance.receive, methods=_METHODS),
        Route("/in/{source}/{rest:path}", entrance.receive, methods=_METHODS),
        Route("/import/{source}", uploads.receive, methods=("POST",)),
        Route("/healthz", _alive),
        Route("/readyz", _readiness(collector)),
        *Administration(collector).routes(),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(AccessMiddleware, most=settings.requests)],
        exception_handlers={
            SimaError: answer_problem,
            HTTPException: answer_http_problem,
            ClientDisconnect: _nobody_there,
        },
    )


class Entrance:
    """Where channels send what they have."""

    def __init__(self, intake: Intake, settings: HttpSettings) -> None:
        self._intake, self._settings = intake, settings
        self._bodies = Room("memory for bodies", settings.bodies_bytes, 0)

    async def receive(self, request: Request) -> Response:
        """Answer a request to a source once all that came of it is durable.

        Raises:
            SimaError: It cannot be taken, or not now.
        """
        rest = request.path_params.get("rest", "")
        configured, path = self._intake.route(request.path_params["source"], request.method, rest)
        request.scope[SOURCE] = configured.name
        claim = Claim(self._bodies)
        try:
            body = await read_body(request, self._settings.body_bytes, self._settings.body_seconds, claim)
            async with asyncio.timeout(self._settings.answer_seconds):
                return _response(await self._intake.take(configured, _channel_request(request, path, body)))
        except TimeoutError:
            raise DeadlineExceededError from None
        finally:
            claim.undo()


def _channel_request(request: Request, path: str, body: bytes) -> ChannelRequest:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return ChannelRequest(request.method, path, headers, dict(request.query_params), body)


def _response(answer: Answer) -> Response:
    response = Response(answer.response.body, answer.response.status)
    response.headers["content-type"] = answer.response.content_type
    for name, value in answer.response.headers.items():
        if name.lower() not in _SERVERS_OWN:
            response.headers[name] = value
    counts = answer.report.counts()
    if any(counts.values()):
        response.headers.update({f"sima-{name}": str(count) for name, count in counts.items()})
    return response


async def _alive(_: Request) -> Response:
    return JSONResponse({"alive": True})


def _readiness(collector: Collector) -> Callable[[Request], Awaitable[Response]]:
    async def ready(_: Request) -> Response:
        missing = collector.missing()
        return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)

    return ready


async def _nobody_there(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # the client went away; this is for the log only
