"""Sends facts that fail together in smaller calls, so that neither their number nor one of them holds up the others."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sima_runtime.errors import SimaError

from sima_collector.facts import Chunk, Report, refused_facts, single_facts
from sima_collector.ingest import Ingest, may_be_a_facts_fault

# More facts than these that fail alone, with nothing going well meanwhile, say that it is not the facts.
_MOST = 2


async def send_apart(ingest: Ingest, workspace: str, chunks: Sequence[Chunk], since: int) -> Report:
    """Send facts in ever smaller calls, and refuse those that fail alone while others go well.

    Args:
        ingest: The profile service.
        workspace: Whose facts they are.
        chunks: The facts, which failed together.
        since: How many calls had gone well for the workspace when these facts were tried the time before.

    Raises:
        SimaError: Nothing went well since then, so it is not these facts; or the service cannot be reached.
    """
    search = _Search(ingest, workspace, since)
    await search.halve([fact for chunk in chunks for fact in single_facts(chunk)])
    await search.judge()
    return search.report


@dataclass(eq=False, slots=True)
class _Search:
    """What became of the facts so far: a report of those that went well, and those that failed alone."""

    ingest: Ingest
    workspace: str
    since: int
    report: Report = field(default_factory=Report)
    suspects: list[Chunk] = field(default_factory=list)
    good: Chunk | None = None

    async def halve(self, facts: Sequence[Chunk]) -> None:
        """Send all that goes well; what fails alone is a suspect."""
        parts = [facts]
        while parts:
            part = parts.pop()
            try:
                await self._send(part)
            except SimaError as error:
                if len(part) > 1:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                if len(self.suspects) > _MOST and not await self._is_to_blame(error):
                    raise
                self.suspects += part

    async def judge(self) -> None:
        """Try the suspects once more, and refuse those that fail while others go well."""
        for suspect in self.suspects:
            try:
                await self._send([suspect])
            except SimaError as error:
                if not await self._is_to_blame(error):
                    raise
                reason = f"the profile service failed at this fact: {error}"
                self.report.refused += refused_facts(suspect, {0: reason})

    async def _send(self, part: Sequence[Chunk]) -> None:
        for one in await self.ingest.send(self.workspace, part):
            self.report.add(one)
        self.good = part[0]

    async def _is_to_blame(self, error: SimaError) -> bool:
        """Whether a fact that failed alone is to blame for it; raises if the service cannot be reached."""
        if may_be_a_facts_fault(error):
            return self.ingest.succeeded(self.workspace) != self.since
        if self.good is None:
            return False
        # An outage may have begun meanwhile: only a fact that goes well directly afterwards shows that none did.
        # It was stored before, so it is a duplicate now.
        await self.ingest.send(self.workspace, [self.good])
        return True
