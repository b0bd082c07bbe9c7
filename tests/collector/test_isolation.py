"""The search for facts at which calls fail, while the way to the profile service may fail as well."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from sima.profile.v1.profile_service_pb2 import IngestRequest
from sima.type.v1.fact_pb2 import Fact
from sima_collector.facts import Chunk, Report
from sima_collector.isolation import send_apart
from sima_runtime.errors import DeadlineExceededError, SimaError


@dataclass
class FlakyIngest:
    """Fails with an error at calls of these numbers, counted from one, and at calls with more facts than `most`."""

    failing: Sequence[int]
    most: int = 1
    calls: int = 0
    stored: list[str] = field(default_factory=list)

    async def send(self, workspace: str, chunks: Sequence[Chunk]) -> list[Report]:
        """Store facts, or fail."""
        self.calls += 1
        if self.calls in self.failing or len(chunks) > self.most:
            raise DeadlineExceededError
        self.stored += [fact.message_id for chunk in chunks for fact in IngestRequest.FromString(chunk.data).facts]
        return [Report(accepted=1) for _ in chunks]

    def succeeded(self, workspace: str) -> int:
        """How many calls went well."""
        return len(self.stored)


def chunk(*names: str) -> Chunk:
    """A chunk of facts with these message ids."""
    facts = [Fact(message_id=name) for name in names]
    return Chunk("main", "web", len(facts), IngestRequest(facts=facts).SerializeToString())


async def test_a_fact_that_failed_once_is_tried_again_and_stored() -> None:
    """One failure alone says nothing: it may have been a moment's."""
    ingest = FlakyIngest(failing=[2])
    report = await send_apart(ingest, "main", [chunk("a", "b")], 0)
    assert (report.accepted, report.refused, ingest.stored) == (2, [], ["b", "a"])


@pytest.mark.parametrize("begin", range(1, 12))
async def test_no_fact_is_refused_for_an_outage_that_begins_meanwhile(begin: int) -> None:
    """Whenever the way to the service breaks, even if some facts went well before."""
    ingest = FlakyIngest(failing=range(begin, 100))
    with pytest.raises(SimaError):
        await send_apart(ingest, "main", [chunk(*"abcdef")], 0)
    assert ingest.calls < 20


async def test_a_fact_that_fails_while_others_go_well_is_refused() -> None:
    """Whatever the code says, it would hold up all others for ever."""
    ingest = FlakyIngest(failing=[3, 4])
    report = await send_apart(ingest, "main", [chunk("a", "b")], 0)
    assert ([one.message_id for one in report.refused], report.accepted) == (["b"], 1)
