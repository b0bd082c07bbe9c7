"""A plugin for the tests of the collector: connectors that behave, and payloads at which they misbehave.

`lines` takes one fact a line; a line that begins with `bad` is no fact, and a word of `MISCHIEF` in the first line has
its effect.
`rows` reads such lines from a file, three a page.
"""

import json
import logging
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sima_sdk import (
    Connector,
    Event,
    Fact,
    FixConfigurationError,
    Identifier,
    Page,
    PayloadError,
    PullConnector,
    PushConnector,
    Reception,
    Refusal,
    Request,
    Response,
    Route,
    SignatureError,
    Source,
    hookimpl,
)

PAGE = 3


def loop() -> None:
    """Hold the interpreter in one bad regular expression."""
    re.match(r"(a|a)+$", "a" * 60 + "b")


def crash() -> None:
    """End the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def gorge() -> None:
    """Take more memory than there is."""
    bytearray(1 << 40)


def fail() -> None:
    """Log and warn of what nobody foresaw, and raise it, with a value in each text."""
    logging.getLogger("channel").warning("cannot read %s", "secret-value")
    warnings.warn("cannot read secret-value", stacklevel=1)
    raise KeyError("secret-value")


def leave() -> None:
    """Ask the interpreter to end."""
    raise SystemExit(3)


def misfit() -> None:
    """Find out only now that the source cannot work."""
    raise FixConfigurationError("source web: expected another colour")


def doze() -> None:
    """Take a second, and leave a sign that it began."""
    dozing(os.getpid()).touch()
    time.sleep(1.0)


def dozing(pid: int) -> Path:
    """The sign that a worker process began to doze."""
    return Path(__file__).with_name(f"dozing-{pid}")


MISCHIEF: dict[str, Callable[[], None]] = {
    "loop": loop,
    "crash": crash,
    "gorge": gorge,
    "fail": fail,
    "leave": leave,
    "misfit": misfit,
    "doze": doze,
}


class LinesConnector(PushConnector):
    """One fact a line."""

    name = "lines"
    routes = (Route("POST"), Route("GET", "/hello"), Route("POST", "echo/report"), Route("POST", "odd"))

    def check(self, source: Source) -> None:
        """Refuse a source with an option that it does not know."""
        if source.options.keys() - {"colour"}:
            raise FixConfigurationError(f"source {source.name}: knows no option but colour")
        if source.options.get("colour") == "unreadable":
            Path(__file__).with_name("absent").read_text()

    def receive(self, request: Request, source: Source) -> Reception:
        """Read the lines."""
        if request.headers.get("x-signature") != source.secrets.get("signing"):
            raise SignatureError("header x-signature: expected the secret")
        if request.path == "/hello":
            return Reception(response=Response(body=request.query.get("name", "").encode(), headers={"x-seen": "yes"}))
        lines = request.body.decode().splitlines()
        if lines and lines[0] in MISCHIEF:
            MISCHIEF[lines.pop(0)]()
        facts = tuple(read_fact(line) for line in lines if not line.startswith("bad"))
        refusals = tuple(Refusal("expected a fact", line.encode()) for line in lines if line.startswith("bad"))
        if request.path == "odd" and "status" in request.query:
            return Reception(facts, refusals, Response(json.loads(request.query["status"]), b"text"))
        if request.path == "odd":
            return Reception(facts, refusals, Response(headers={"x-split": "a\r\nx-smuggled: b"}))
        if request.path == "echo/report":
            return Reception(
                facts, refusals, Response(201, b'{"lines": %d}' % len(lines), "application/json", report=True)
            )
        return Reception(facts, refusals, Response(body=b"taken"))


class RowsConnector(PullConnector):
    """One fact a line of a file."""

    name = "rows"

    def pull(self, source: Source, file: Path, checkpoint: str = "") -> Iterator[Page]:
        """Yield the lines, three a page."""
        lines = file.read_text().splitlines()
        if not lines or lines[0] != "rows":
            raise PayloadError("line 1: expected the word rows")
        for start in range(int(checkpoint or 1), len(lines), PAGE):
            page = lines[start : start + PAGE]
            if page[0] in MISCHIEF:
                MISCHIEF[page.pop(0)]()
            facts = tuple(read_fact(line) for line in page if not line.startswith("bad"))
            refusals = tuple(Refusal("expected a fact", line.encode()) for line in page if line.startswith("bad"))
            yield Page(facts, refusals, str(start + PAGE))


def read_fact(line: str) -> Fact:
    """Return the fact of a line: its number, or an object with `id`, `identifiers` and, of choice, `timeless`."""
    try:
        value = json.loads(line)
    except ValueError:
        raise PayloadError("line: expected JSON") from None
    if isinstance(value, int):
        value = {"id": f"m{value}", "identifiers": [["user_id", f"u{value}"]], "properties": {"number": value}}
    identifiers = tuple(Identifier(kind, text) for kind, text in value["identifiers"])
    occurred_at = None if value.get("timeless") else datetime(2026, 1, 1, tzinfo=UTC)
    return Fact(value["id"], identifiers, occurred_at, Event("seen", value.get("properties", {})))


@hookimpl
def register_connectors() -> Sequence[Connector]:
    """Bring both."""
    return [LinesConnector(), RowsConnector()]
