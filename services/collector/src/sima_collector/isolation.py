"""Finds the facts at which calls of the profile service fail, so that one fact never holds up those behind it."""

from collections.abc import Sequence

from sima_runtime.errors import SimaError

from sima_collector.facts import Chunk, Report
from sima_collector.ingest import Ingest, may_be_a_facts_fault, refused_fact, single_facts

# More facts than these that fail alone, with nothing going well meanwhile, say that it is not the facts.
_MOST = 2


async def send_apart(ingest: Ingest, workspace: str, chunks: Sequence[Chunk], since: int) -> Report:
    """Send facts in ever smaller calls, and refuse those that fail alone while others go well.

    Args:
        ingest: The profile service.
        workspace: Whose facts they are.
        chunks: The facts, which failed together.
        since: How many calls had gone well for the workspace before these facts began to fail.

    Raises:
        SimaError: Nothing went well since then, so it is not these facts; or the service cannot be reached.
    """
    report, suspects = await _halve(ingest, workspace, chunks, since)
    for suspect in suspects:
        try:
            report.add(*await ingest.send(workspace, [suspect]))
        except SimaError as error:
            if not may_be_a_facts_fault(error) or ingest.succeeded(workspace) == since:
                raise
            report.refused.append(refused_fact(suspect, 0, f"the profile service failed at this fact: {error}"))
    return report


async def _halve(ingest: Ingest, workspace: str, chunks: Sequence[Chunk], since: int) -> tuple[Report, list[Chunk]]:
    """Send all that goes well, and return what became of it and the facts that failed alone."""
    report = Report()
    suspects: list[Chunk] = []
    parts = [[fact for chunk in chunks for fact in single_facts(chunk)]]
    while parts:
        part = parts.pop()
        try:
            for one in await ingest.send(workspace, part):
                report.add(one)
        except SimaError as error:
            if not may_be_a_facts_fault(error) or (len(suspects) > _MOST and ingest.succeeded(workspace) == since):
                raise
            if len(part) == 1:
                suspects += part
            else:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
    return report, suspects
