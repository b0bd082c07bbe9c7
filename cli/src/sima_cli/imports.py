"""Sends files to the collector, which imports them through the connector of a source."""

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from sima_runtime.errors import OverloadedError

from sima_cli.errors import CommandError, RefusedError, UnreachableError

#: What can become of a fact, as the collector counts it.
OUTCOMES = ("accepted", "duplicates", "conflicts", "buffered", "refused")
#: All that it counts: how many facts of other outcomes were taken without an identifier that has no normal form, too.
COUNTS = (*OUTCOMES, "trimmed")
_PIECE_BYTES = 1 << 18
_REFUSALS = 1_000
_TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_NO_PLACE = str(OverloadedError("imports"))  # what the collector says while it stops, or runs as many as it can


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of the facts of a file.

    Attributes:
        counts: How many there are of each of `COUNTS`, those of earlier attempts included.
        resumed: It went on where an earlier attempt was interrupted.
    """

    counts: Mapping[str, int]
    resumed: bool


class Reason(NamedTuple):
    """Why something was refused.

    Attributes:
        text: What to tell of it.
        not_kept: What of it is not kept but for its size; empty if it is kept.
    """

    text: str
    not_kept: str = ""


#: Called with the counts up to now, after each page.
Progress = Callable[[Mapping[str, int]], None]


async def import_file(
    client: httpx.AsyncClient, source: str, file: Path, token: str, on_progress: Progress
) -> Imported:
    """Send a file to a source and return what became of its facts.

    Args:
        client: Of the collector; its base address is the collector's.
        source: Name of a source that reads files.
        file: What to send.
        token: The bearer token of the source.
        on_progress: Hears the counts while it goes on.

    Raises:
        CommandError: It cannot take the file, or the rest of it, at the moment.
        RefusedError: The collector does not take the file.
        UnreachableError: The collector does not answer, or stopped in the middle.
    """
    last: dict[str, Any] = {}
    try:
        async with client.stream(
            "POST",
            f"/import/{source}",
            params={"filename": shown_name(file)},
            headers=_bearer(token),
            content=_pieces(file),
        ) as answer:
            await _check(answer, source)
            async for line in answer.aiter_lines():
                last = json.loads(line)
                on_progress(_counts(last))
    except httpx.TransportError as error:
        raise UnreachableError(
            f"The collector at {client.base_url} does not answer ({type(error).__name__})."
        ) from None
    if last.get("type") != "done":
        raise CommandError(f"{file} was imported in part only: {_reason(last)}. Send it again to go on.")
    return Imported(_counts(last), bool(last.get("resumed")))


def shown_name(file: Path) -> str:
    """Return the name of a file as text; what is no UTF-8 in it is replaced."""
    return os.fsencode(file.name).decode(errors="replace")


async def refusal_reasons(client: httpx.AsyncClient, source: str, token: str, since: datetime) -> list[Reason]:
    """Return why something of a source was refused since then, in order; nothing if the collector does not tell us."""
    params: dict[str, str | int] = {"source": source, "page_size": _REFUSALS}
    with suppress(httpx.TransportError, ValueError, LookupError):  # something else may stand at that address
        answer = await client.get("/refusals", params=params, headers=_bearer(token))
        found = answer.json()["refusals"] if answer.is_success else []
        return [_told(one) for one in reversed(found) if datetime.fromisoformat(one["last_at"]) >= since]
    return []


def _told(refusal: Mapping[str, Any]) -> Reason:
    """Return the reason of a refusal, with the message if it could be read; else the reason says where it stands."""
    reason, message_id = refusal["reason"], refusal.get("message_id")
    text = f"message {message_id}: {reason}" if message_id else str(reason)
    return Reason(text, _not_kept(str(refusal.get("raw"))))


def _not_kept(raw: str) -> str:
    """What of a refusal only the size stands for; of what may hold protected values there is a hash beside it."""
    if not raw.startswith('{"not_kept": '):
        return ""
    return "what may hold protected values" if '"hash"' in raw else "facts about the erased"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _check(answer: httpx.Response, source: str) -> None:
    if answer.is_success:
        return
    await answer.aread()
    explanations = {
        401: f"The token is not that of source {source}; give it with --import-token-file or SIMA_IMPORT_TOKEN_FILE.",
        404: f"There is no source {source} that reads files. The sources are listed in the collector's sources file.",
    }
    if answer.is_server_error or answer.status_code in _TEMPORARY:
        raise CommandError(f"Not taken: {_problem(answer)}. Nothing is wrong with the file; send it again in a while.")
    raise RefusedError(explanations.get(answer.status_code) or f"Not taken: {_problem(answer)}.")


def _problem(answer: httpx.Response) -> str:
    try:
        return _reason(answer.json())
    except json.JSONDecodeError:
        return f"HTTP status {answer.status_code}"


def _reason(body: Mapping[str, Any]) -> str:
    detail = str(body.get("detail") or body.get("title") or "the collector stopped")
    return "Sima takes no more imports at the moment" if detail == _NO_PLACE else detail


def _counts(line: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(line.get(name, 0)) for name in COUNTS}


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as handle:
        while piece := handle.read(_PIECE_BYTES):
            yield piece
