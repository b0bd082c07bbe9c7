"""Reads request bodies: never more than allowed, never for longer than allowed, and never more at once than fits."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sima_collector.errors import BodyTooSlowError, EncodedError, TooLargeError
from sima_collector.rooms import Claim

# How long, and how many pieces, a client that is refused is listened to, so that it hears the answer.
_LINGER_SECONDS, _LINGER_PIECES = 1.0, 64


async def read_body(request: Request, most_bytes: int, seconds: float, claim: Claim) -> bytes:
    """Read a body into memory.

    Args:
        request: The request.
        most_bytes: Longest body that is read.
        seconds: How long the client may take.
        claim: Takes the memory; the caller gives it back.

    Raises:
        EncodedError: The body is compressed.
        TooLargeError: The body is, or says that it is, longer than `most_bytes`.
        BodyTooSlowError: The client took longer than `seconds`.
        OverloadedError: Too much is being read at the moment.
        ClientDisconnect: The client went away.
    """
    pieces = []
    async for piece in body_pieces(request, most_bytes, seconds):
        claim.take(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


async def body_pieces(request: Request, most_bytes: int, seconds: float) -> AsyncIterator[bytes]:
    """Yield the pieces of a body as they arrive; arguments and exceptions as in `read_body`."""
    if request.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise EncodedError
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most_bytes:
        raise TooLargeError(most_bytes)
    deadline = asyncio.get_running_loop().time() + seconds
    size = 0
    stream = aiter(request.stream())
    while (piece := await _next(stream, deadline, seconds)) is not None:
        size += len(piece)
        if size > most_bytes:
            raise TooLargeError(most_bytes)
        yield piece


async def _next(stream: AsyncIterator[bytes], deadline: float, seconds: float) -> bytes | None:
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(stream, None)
    except TimeoutError:
        raise BodyTooSlowError(seconds) from None


class ClosingResponse(Response):
    """An answer given before the body was read to its end.

    The connection is closed afterwards. What the client still sends is read and dropped for a moment: closing at once
    would make its kernel discard the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, listen for a moment, and close."""
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                for _ in range(_LINGER_PIECES):
                    message = await receive()
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})
