"""Hands facts to the profile service as the bytes they are, and counts what became of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from sima.profile.v1.profile_service_pb2 import (
    INGEST_OUTCOME_ACCEPTED,
    INGEST_OUTCOME_CONFLICT,
    INGEST_OUTCOME_DUPLICATE,
    INGEST_OUTCOME_REFUSED,
    IngestResponse,
    IngestResult,
)
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import InvalidFieldsError, RemoteError, SimaError

from sima_collector.facts import Chunk, Report, joined, refused_facts
from sima_collector.metrics import count_facts

_METHOD = "/sima.profile.v1.ProfileService/Ingest"
# A call that fails so would fail again and again: perhaps one of its facts is to blame.
_FAULTS = frozenset({"INTERNAL", "UNKNOWN", "INVALID_ARGUMENT", "OUT_OF_RANGE", "DATA_LOSS", "FAILED_PRECONDITION"})
_COUNTED = {
    "accepted": INGEST_OUTCOME_ACCEPTED,
    "duplicate": INGEST_OUTCOME_DUPLICATE,
    "conflict": INGEST_OUTCOME_CONFLICT,
    "refused": INGEST_OUTCOME_REFUSED,
}
# Of a fact with any other outcome nobody knows whether it is stored.
_OUTCOMES = frozenset(_COUNTED.values())


class Ingest(Protocol):
    """What batcher and drainer need of the profile service."""

    async def send(self, workspace: str, chunks: Sequence[Chunk]) -> list[Report]:
        """Store facts durably and say what became of each chunk's.

        Raises:
            SimaError: Nothing is known to be stored.
        """

    def succeeded(self, workspace: str) -> int:
        """How many calls for a workspace went well since the start."""


class ProfileIngest:
    """The real profile service."""

    def __init__(self, client: ServiceClient, seconds: float) -> None:
        """Use a client; each call may take `seconds`."""
        self._client, self._seconds = client, seconds
        # The request is bytes already, so there is nothing to serialize.
        self._method: Any = client.channel.unary_unary(_METHOD, response_deserializer=IngestResponse.FromString)
        self._succeeded: Counter[str] = Counter()

    async def send(self, workspace: str, chunks: Sequence[Chunk]) -> list[Report]:
        """Store facts durably and say what became of each chunk's.

        Raises:
            SimaError: Nothing is known to be stored.
        """
        response: IngestResponse = await self._client.call(
            self._method, joined(chunks), workspace=workspace, deadline=self._seconds
        )
        results = response.results
        told = [result.outcome in _OUTCOMES for result in results]
        if not all(told) or len(told) != sum(chunk.facts for chunk in chunks):
            raise RemoteError("profile", "INTERNAL")
        self._succeeded[workspace] += 1
        reports, start = [], 0
        for chunk in chunks:
            reports.append(_report(chunk, results[start : start + chunk.facts]))
            start += chunk.facts
        return reports

    def succeeded(self, workspace: str) -> int:
        """How many calls for a workspace went well since the start."""
        return self._succeeded[workspace]


def may_be_a_facts_fault(error: SimaError) -> bool:
    """Whether a call may have failed because of what it carried, rather than because of where it went."""
    return isinstance(error, InvalidFieldsError) or (isinstance(error, RemoteError) and error.code in _FAULTS)


def _report(chunk: Chunk, results: Sequence[IngestResult]) -> Report:
    outcomes = [result.outcome for result in results]
    for name, outcome in _COUNTED.items():
        count_facts(chunk, name, outcomes.count(outcome))
    report = Report(
        accepted=outcomes.count(INGEST_OUTCOME_ACCEPTED),
        duplicates=outcomes.count(INGEST_OUTCOME_DUPLICATE),
        conflicts=outcomes.count(INGEST_OUTCOME_CONFLICT),
    )
    if INGEST_OUTCOME_REFUSED in outcomes:
        refused = [place for place, outcome in enumerate(outcomes) if outcome == INGEST_OUTCOME_REFUSED]
        erased = {place for place in refused if results[place].erased}
        report.refused = refused_facts(chunk, {place: _reason(results[place]) for place in refused}, erased)
    return report


def _reason(result: IngestResult) -> str:
    return "; ".join(f"{violation.field}: {violation.description}" for violation in result.violations)
