"""Files that are sent to be imported: `POST /import/{source}?filename=`, with the file as body.

The answer is one JSON object a line: `progress` after each page, and in the end `done` or `error`, with the counts of
what became of the facts up to there.
"""

import asyncio
import hashlib
import json
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from sima_runtime.errors import OverloadedError, SimaError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sima_collector.access import SOURCE
from sima_collector.admin import require_token
from sima_collector.bodies import body_pieces
from sima_collector.errors import RouteMissingError
from sima_collector.facts import ConfiguredSource
from sima_collector.imports import Progress
from sima_collector.problems import problem
from sima_collector.service import Collector
from sima_collector.sources import IMPORT_TOKEN

_PIECE_BYTES = 1 << 20
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


class Uploads:
    """Takes files to the sources of pull connectors."""

    def __init__(self, collector: Collector) -> None:
        self._collector, self._settings = collector, collector.settings

    async def receive(self, request: Request) -> Response:
        """Store the file for the time of its import, and answer while it is imported.

        Raises:
            SimaError: It cannot be taken, or not now.
        """
        configured = self._configured(request)
        request.scope[SOURCE] = configured.name
        async with AsyncExitStack() as stack:
            stack.enter_context(self._collector.importer.slot())
            folder = stack.enter_context(_folder(self._collector.uploads))
            file = Path(folder) / _file_name(request.query_params.get("filename", ""))
            digest = await self._save(request, file)
            run = self._collector.importer.run(configured, file, digest)
            progress = await stack.enter_async_context(aclosing(run))
            first = await anext(progress)
            return _ImportResponse(first, progress, stack.pop_all())

    def _configured(self, request: Request) -> ConfiguredSource:
        configured = self._collector.sources.get(request.path_params["source"])
        if configured is None or self._collector.pool.catalogue.connectors[configured.connector].routes is not None:
            raise RouteMissingError("expected the name of a configured source that reads files")
        tokens = (configured.source.secrets.get(IMPORT_TOKEN), self._collector.admin_token)
        require_token(request, *(token for token in tokens if token))
        return configured

    async def _save(self, request: Request, file: Path) -> bytes:
        """Write a body to a file and return the hash of its content."""
        digest = hashlib.blake2b(digest_size=16)
        waiting = bytearray()
        pieces = body_pieces(request, self._settings.import_bytes, self._settings.import_seconds)
        try:
            with file.open("wb") as target:
                async for piece in pieces:
                    waiting += piece
                    digest.update(piece)
                    if len(waiting) >= _PIECE_BYTES:
                        await asyncio.to_thread(target.write, bytes(waiting))
                        waiting.clear()
                target.write(waiting)
        except OSError as error:
            raise OverloadedError("disk") from error
        return digest.digest()


class _ImportResponse(StreamingResponse):
    """Streams the progress of an import, and cleans up behind it however it ends."""

    def __init__(self, first: Progress, rest: AsyncGenerator[Progress], stack: AsyncExitStack) -> None:
        super().__init__(_lines(first, rest), media_type="application/x-ndjson")
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines as they come."""
        async with self._stack:
            await super().__call__(scope, receive, send)


def _folder(parent: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for one file.

    Raises:
        OverloadedError: The disk is full or broken.
    """
    try:
        return tempfile.TemporaryDirectory(dir=parent)
    except OSError as error:
        raise OverloadedError("disk") from error


async def _lines(first: Progress, rest: AsyncIterator[Progress]) -> AsyncIterator[bytes]:
    yield _line(first)
    try:
        async for progress in rest:
            yield _line(progress)
    except SimaError as error:
        answer = problem(error)
        yield _encode({"type": "error", **json.loads(bytes(answer.body))})


def _line(progress: Progress) -> bytes:
    return _encode({"type": "done" if progress.done else "progress", "resumed": progress.resumed, **progress.totals})


def _encode(line: dict[str, object]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _file_name(name: str) -> str:
    """A name that is safe in any directory and keeps its ending, from which a connector may tell the format."""
    safe = _UNSAFE.sub("_", name.rpartition("/")[2])[-100:].lstrip(".")
    return safe or "upload"
