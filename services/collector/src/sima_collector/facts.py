"""What passes through the collector, and from where: sources, chunks of serialized facts, and what became of them."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.json_format import MessageToJson
from sima.profile.v1.profile_service_pb2 import IngestRequest
from sima.type.v1.fact_pb2 import Fact
from sima_sdk.connectors import Source

#: Most facts in one chunk and in one call of the profile service.
MOST_FACTS = 1_000
#: Most bytes in one call of the profile service, far below what a gRPC message may have; no fact may have more.
MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class ConfiguredSource:
    """One source: what its connector is told of it, and what only the collector needs to know.

    Attributes:
        workspace: Whose facts it brings.
        connector: Name of the connector that reads what it sends.
        source: What the connector is told.
        keep_rejected: Whether what its connector cannot read is kept; None: unless it may hold protected values.
    """

    workspace: str
    connector: str
    source: Source
    keep_rejected: bool | None = None

    @property
    def name(self) -> str:
        """The name under which its facts are stored, and the part of its address."""
        return self.source.name


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some facts of one source in the form in which they travel on: a serialized `IngestRequest`.

    Serialized requests can be joined end to end, so nobody on the way has to read them again.
    """

    workspace: str
    source: str
    facts: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A payload, or a part of one, that did not become a stored fact.

    Attributes:
        workspace: Whose it is.
        source: The configured source that sent it.
        reason: What was expected, without any value of the payload.
        raw: The payload itself; of a fact that was parsed already, the fact as JSON.
        message_id: The source's own id of the message; empty if it was never read.
        read: Whether `raw` is our own text, which holds no protected value, rather than bytes that the source sent.
    """

    workspace: str
    source: str
    reason: str
    raw: bytes
    message_id: str = ""
    read: bool = False


@dataclass(slots=True)
class Report:
    """What became of the facts of a request.

    Attributes:
        accepted: Stored now.
        duplicates: Stored before; nothing changed.
        conflicts: Stored before with other content; both are kept.
        buffered: Durable in the collector's own buffer, on the way to the profile service.
        trimmed: Facts that were taken without an identifier that has no normal form; `refused` says which.
        refused: What was refused, with reasons.
    """

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    buffered: int = 0
    trimmed: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Count what another report counted, too."""
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.conflicts += other.conflicts
        self.buffered += other.buffered
        self.trimmed += other.trimmed
        self.refused.extend(other.refused)

    def counts(self) -> dict[str, int]:
        """The figures by name, in the form in which answers show them."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "buffered": self.buffered,
            "trimmed": self.trimmed,
            "refused": len(self.refused) - self.trimmed,
        }


def joined(chunks: Iterable[Chunk]) -> bytes:
    """The request that holds the facts of all chunks, in their order."""
    return b"".join(chunk.data for chunk in chunks)


def refused_facts(chunk: Chunk, reasons: Mapping[int, str], erased: Container[int] = ()) -> list[Refused]:
    """The facts at some places of a chunk as refusals, with the reason of each; of protected values only their keys.

    Those at the places `erased` name somebody who was erased: nothing is left of them but how large they were.
    """
    facts = IngestRequest.FromString(chunk.data).facts
    return [_refused_fact(chunk, facts[place], reason, place in erased) for place, reason in reasons.items()]


def _refused_fact(chunk: Chunk, fact: Fact, reason: str, erased: bool) -> Refused:
    fact.ClearField("received_at")  # the same fact refused again is the same refusal
    raw = MessageToJson(fact, preserving_proto_field_name=True, indent=None, ensure_ascii=False).encode()
    if erased:
        return Refused(chunk.workspace, chunk.source, reason, b'{"not_kept": {"bytes": %d}}' % len(raw), read=True)
    return Refused(chunk.workspace, chunk.source, reason, raw, fact.message_id, read=True)


def single_facts(chunk: Chunk) -> list[Chunk]:
    """The facts of a chunk as chunks of one fact each."""
    return [
        Chunk(chunk.workspace, chunk.source, 1, IngestRequest(facts=[fact]).SerializeToString())
        for fact in IngestRequest.FromString(chunk.data).facts
    ]
