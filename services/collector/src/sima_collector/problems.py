"""How exceptions look to an HTTP client: a status and a problem document (RFC 9457). Nothing else knows statuses."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from sima_runtime.errors import (
    InvalidFieldsError,
    NotFoundError,
    PageTokenError,
    RetryLaterError,
    SimaError,
    UnauthenticatedError,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sima_collector.bodies import ClosingResponse
from sima_collector.errors import (
    BodyTooSlowError,
    EncodedError,
    MethodMissingError,
    PayloadRejectedError,
    RouteMissingError,
    TooLargeError,
    Verdict,
)

RETRY_SECONDS = 5
_MEDIA_TYPE = "application/problem+json"
# A browser hides the answer from a page of another origin that is not allowed to read it. The pixel, which would then
# send again what was refused, shall see it; there is nothing in it but what is wrong with the page's own request.
_READABLE = {"access-control-allow-origin": "*"}

_STATUSES: Mapping[type[SimaError], HTTPStatus] = {
    RouteMissingError: HTTPStatus.NOT_FOUND,
    NotFoundError: HTTPStatus.NOT_FOUND,
    MethodMissingError: HTTPStatus.METHOD_NOT_ALLOWED,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    EncodedError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BodyTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    InvalidFieldsError: HTTPStatus.BAD_REQUEST,
    PageTokenError: HTTPStatus.BAD_REQUEST,
    RetryLaterError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_VERDICTS: Mapping[Verdict, HTTPStatus] = {
    Verdict.DENIED: HTTPStatus.UNAUTHORIZED,
    Verdict.MALFORMED: HTTPStatus.BAD_REQUEST,
    Verdict.FAILED: HTTPStatus.UNPROCESSABLE_ENTITY,
}


def problem(error: SimaError) -> Response:
    """The answer that tells of an exception.

    Raises:
        SimaError: The exception itself if it is not meant for clients.
    """
    status = _status(error)
    # Before the body was read to its end the connection cannot be used again.
    unread = isinstance(error, EncodedError | TooLargeError | BodyTooSlowError)
    return (ClosingResponse if unread else Response)(
        _document(status, str(error)), status, {**_headers(error), **_READABLE}, _MEDIA_TYPE
    )


async def answer_problem(_: Request, error: Exception) -> Response:
    """Starlette's handler for exceptions of the domain."""
    if not isinstance(error, SimaError):
        raise error
    return problem(error)


async def answer_http_problem(_: Request, error: Exception) -> Response:
    """Starlette's handler for what its own routing refuses."""
    if not isinstance(error, HTTPException):
        raise error
    body = _document(HTTPStatus(error.status_code), error.detail)
    return Response(body, error.status_code, {**(error.headers or {}), **_READABLE}, _MEDIA_TYPE)


def surprise() -> Response:
    """The answer when something happened that nobody foresaw: the log has the details, the client no text."""
    return Response(_document(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error"), 500, _READABLE, _MEDIA_TYPE)


def _status(error: SimaError) -> HTTPStatus:
    if isinstance(error, PayloadRejectedError):
        return _VERDICTS[error.verdict]
    for kind in type(error).__mro__:
        if kind in _STATUSES:
            return _STATUSES[kind]
    raise error


def _headers(error: SimaError) -> dict[str, str]:
    if isinstance(error, MethodMissingError):
        return {"allow": ", ".join(error.allowed)}
    if isinstance(error, RetryLaterError):
        return {"retry-after": str(RETRY_SECONDS)}
    if isinstance(error, UnauthenticatedError):
        return {"www-authenticate": "Bearer"}
    return {}


def _document(status: HTTPStatus, detail: str) -> bytes:
    return json.dumps({"title": status.phrase, "status": status, "detail": detail}).encode()
