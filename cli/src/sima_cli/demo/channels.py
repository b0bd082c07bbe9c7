"""Lets all channels of a sample speak at once, each through its real entrance."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from sima_cli.folder import Running
from sima_cli.imports import import_file
from sima_cli.sample.generator import Sample
from sima_cli.sending import OnSent, Sender

_IMPORT_SECONDS = 600.0
_PAUSE_SECONDS = 0.2
_ROOM = "sima_collector_room_used"


async def let_speak(running: Running, sample: Sample, files: Mapping[str, Path], on_sent: OnSent) -> Counter[str]:
    """Send every request and every file of a sample, and return what became of the facts.

    Args:
        running: To whom.
        sample: What.
        files: Where its files are, by source.
        on_sent: Hears the source of each request and of each file that was taken; also from other threads.

    Raises:
        CommandError: The collector refused something or does not answer.
    """
    sender = Sender(running.collector)
    try:
        async with asyncio.TaskGroup() as group:
            requests = group.create_task(asyncio.to_thread(sender.send_all, sample.deliveries, on_sent))
            imports = group.create_task(_import(running, files, on_sent))
        return requests.result() + imports.result()
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    finally:
        sender.stop()


async def emptied(collector: str) -> None:
    """Wait until the collector's own buffer is empty: facts wait there while the profile service is busy."""
    async with httpx.AsyncClient(base_url=collector) as client:
        while _buffered_bytes((await client.get("/metrics")).text):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(_PAUSE_SECONDS)


def _buffered_bytes(metrics: str) -> float:
    samples = (sample for family in text_string_to_metric_families(metrics) for sample in family.samples)
    return sum(one.value for one in samples if one.name.startswith(_ROOM) and one.labels.get("room") == "buffer")


async def _import(running: Running, files: Mapping[str, Path], on_sent: OnSent) -> Counter[str]:
    totals: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=running.collector, timeout=_IMPORT_SECONDS) as client:
        for source, file in files.items():
            imported = await import_file(client, source, file, running.import_tokens[source], _unheard)
            totals.update(imported.counts)
            on_sent(source)
    return totals


def _unheard(_: Mapping[str, int]) -> None:
    """Progress within a file is too quick to be shown."""
