"""Makes durable whatever came of a payload: its facts through the batcher, its other parts as stored refusals."""

from collections.abc import Sequence

from sima_collector.batcher import Batcher
from sima_collector.facts import Refused, Report
from sima_collector.messages import Parsed
from sima_collector.metrics import count_refusals
from sima_collector.redaction import Redaction
from sima_collector.store.refusals import Refusals


class Keeper:
    """What it returned from is on disk, here or at the profile service."""

    def __init__(self, batcher: Batcher, refusals: Refusals, redaction: Redaction) -> None:
        self._batcher, self._refusals, self._redaction = batcher, refusals, redaction

    async def keep(self, parsed: Parsed) -> Report:
        """Make facts and refusals durable, and say what became of them.

        Raises:
            OverloadedError: There is no room; some of it may be durable, and may come again.
        """
        report = await self._batcher.deliver(parsed.chunks)
        report.refused = [*parsed.refused, *report.refused]
        await self.refuse(report.refused)  # behind what there may be no room for, and which then comes again
        report.trimmed = parsed.trimmed
        return report

    async def refuse(self, refused: Sequence[Refused]) -> None:
        """Store what was refused, without values of protected identifiers.

        Raises:
            OverloadedError: The disk is full or broken.
        """
        await self._refusals.put([self._redaction.of(one) for one in refused])
        count_refusals(refused)
