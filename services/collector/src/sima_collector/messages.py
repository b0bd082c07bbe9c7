"""What the collector and its workers say to each other, as dataclasses and as frames."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sima_sdk.connectors import Request, Response, Source

from sima_collector.errors import Verdict
from sima_collector.facts import Chunk, ConfiguredSource, Refused
from sima_collector.frames import Frame


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a worker is told at its start.

    Attributes:
        plugins: Names of the plugins to load; None: all that are installed.
        sources: The configured sources.
        secrets: The secret of each workspace, with which identifiers are keyed.
        memory_bytes: Most address space of the process; 0: no limit.
        seconds: Longest time for one payload, after which the process ends by itself if nobody ended it before.
    """

    plugins: tuple[str, ...] | None
    sources: tuple[ConfiguredSource, ...]
    secrets: Mapping[str, bytes]
    memory_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectorInfo:
    """What the collector must know of a connector to serve it. `routes` holds method and path; None: it is pulled."""

    routes: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the plugins of a worker bring.

    Attributes:
        connectors: By name.
        plugins: Name, distribution and version of each.
        protected: Kinds of identifiers whose values are never kept.
    """

    connectors: Mapping[str, ConnectorInfo]
    plugins: tuple[tuple[str, str, str], ...] = ()
    protected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A payload that was refused as a whole; the reason repeats no value of it."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What came out of one request or one page.

    Attributes:
        chunks: Its facts, normalised and with keys.
        refused: Its parts that are no facts.
        trimmed: How many facts were taken without an identifier that has no normal form.
        response: The HTTP answer that the connector wants.
        checkpoint: Of a page: where to go on behind it.
        last: Of a pull: nothing comes behind this.
    """

    chunks: tuple[Chunk, ...] = ()
    refused: tuple[Refused, ...] = ()
    trimmed: int = 0
    response: Response = field(default_factory=Response)
    checkpoint: str = ""
    last: bool = False


def assignment_frame(assignment: Assignment) -> Frame:
    """An assignment as it travels."""
    head = {
        "plugins": assignment.plugins,
        "sources": [asdict(source) for source in assignment.sources],
        "secrets": {workspace: secret.hex() for workspace, secret in assignment.secrets.items()},
        "memory_bytes": assignment.memory_bytes,
        "seconds": assignment.seconds,
    }
    return Frame(head)


def read_assignment(frame: Frame) -> Assignment:
    """The assignment in a frame."""
    head = frame.head
    return Assignment(
        None if head["plugins"] is None else tuple(head["plugins"]),
        tuple(ConfiguredSource(one["workspace"], one["connector"], Source(**one["source"])) for one in head["sources"]),
        {workspace: bytes.fromhex(secret) for workspace, secret in head["secrets"].items()},
        head["memory_bytes"],
        head["seconds"],
    )


def catalogue_frame(catalogue: Catalogue) -> Frame:
    """A catalogue as it travels."""
    return Frame(
        {
            "connectors": {name: info.routes for name, info in catalogue.connectors.items()},
            "plugins": catalogue.plugins,
            "protected": catalogue.protected,
        }
    )


def read_catalogue(frame: Frame) -> Catalogue:
    """The catalogue in a frame."""
    connectors = {
        name: ConnectorInfo(None if routes is None else tuple((method, path) for method, path in routes))
        for name, routes in frame.head["connectors"].items()
    }
    plugins = tuple((name, dist, version) for name, dist, version in frame.head["plugins"])
    return Catalogue(connectors, plugins, tuple(frame.head["protected"]))


def request_frame(source: str, request: Request) -> Frame:
    """A request to a source as it travels."""
    head = {
        "source": source,
        "method": request.method,
        "path": request.path,
        "headers": request.headers,
        "query": request.query,
    }
    return Frame(head, (request.body,))


def read_request(frame: Frame) -> Request:
    """The request in a frame."""
    head = frame.head
    return Request(head["method"], head["path"], head["headers"], head["query"], frame.blobs[0])


def outcome_frame(outcome: Parsed | Rejected) -> Frame:
    """What came of a payload, as it travels."""
    if isinstance(outcome, Rejected):
        return Frame({"verdict": outcome.verdict, "reason": outcome.reason})
    response = outcome.response
    head = {
        "chunks": [(chunk.workspace, chunk.source, chunk.facts) for chunk in outcome.chunks],
        "refused": [(one.workspace, one.source, one.reason, one.message_id, one.read) for one in outcome.refused],
        "trimmed": outcome.trimmed,
        "response": (response.status, response.content_type, dict(response.headers), response.report),
        "checkpoint": outcome.checkpoint,
        "last": outcome.last,
    }
    blobs = (response.body, *(chunk.data for chunk in outcome.chunks), *(one.raw for one in outcome.refused))
    return Frame(head, blobs)


def read_outcome(frame: Frame) -> Parsed | Rejected:
    """The outcome in a frame."""
    head = frame.head
    if "verdict" in head:
        return Rejected(Verdict(head["verdict"]), head["reason"])
    status, content_type, headers, report = head["response"]
    body, *rest = frame.blobs
    return Parsed(
        _chunks(head["chunks"], rest),
        _refused(head["refused"], rest[len(head["chunks"]) :]),
        head["trimmed"],
        Response(status, body, content_type, headers, report),
        head["checkpoint"],
        head["last"],
    )


def _chunks(rows: Sequence[Any], blobs: Sequence[bytes]) -> tuple[Chunk, ...]:
    return tuple(
        Chunk(workspace, source, facts, data) for (workspace, source, facts), data in zip(rows, blobs, strict=False)
    )


def _refused(rows: Sequence[Any], blobs: Sequence[bytes]) -> tuple[Refused, ...]:
    return tuple(
        Refused(workspace, source, reason, raw, message_id, read)
        for (workspace, source, reason, message_id, read), raw in zip(rows, blobs, strict=True)
    )
