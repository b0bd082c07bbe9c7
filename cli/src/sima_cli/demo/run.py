"""The whole demo against a running Sima, from the first request to the findings."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sima_cli.connection import Connection
from sima_cli.demo.channels import emptied, let_speak
from sima_cli.demo.last import buy_once_more
from sima_cli.demo.portrait import choose_portrait
from sima_cli.demo.segments import create_segments
from sima_cli.folder import Running
from sima_cli.report.accuracy import measure
from sima_cli.report.feeds import read_facts, read_grouping
from sima_cli.report.findings import Findings
from sima_cli.sample.generator import Sample
from sima_cli.sending import OnSent

_BUFFER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears how the demo goes on.

    Attributes:
        tell: Hears what is being done.
        on_sent: Hears the source of each request and file that was taken; also from other threads.
    """

    tell: Callable[[str], None]
    on_sent: OnSent


async def run_demo(
    running: Running, connection: Connection, sample: Sample, folder: Path, listener: Listener
) -> Findings:
    """Send a sample to a fresh Sima and return what came of it.

    Args:
        running: Where its collector is.
        connection: To its services.
        sample: What to send.
        folder: Where files and truth are written.
        listener: Hears how it goes on.

    Raises:
        CommandError: Something was refused.
        TimeoutError: Something did not happen in time.
        SimaError: What a service answered.
    """
    begun = time.monotonic()
    files = sample.write(folder)
    listener.tell("Sending every channel through its entrance")
    outcomes = await let_speak(running, sample, files, listener.on_sent)
    listener.tell("Waiting until the collector's buffer is empty")
    async with asyncio.timeout(_BUFFER_SECONDS):
        await emptied(running.collector)
    listener.tell("Creating segments")
    segments = await create_segments(connection)
    listener.tell("Reading the feeds")
    grouping = await read_grouping(connection)
    facts = await read_facts(connection)
    portrait = await choose_portrait(connection, sample.people)
    listener.tell("Buying once more")
    live = await buy_once_more(connection, running.collector, sample)
    return Findings(
        facts=facts,
        outcomes=outcomes,
        identifiers=len(grouping.profiles),
        people=grouping.people,
        merges=grouping.merges,
        portrait=portrait,
        segments=segments,
        accuracy=measure(folder, grouping.profiles),
        live=live,
        seconds=time.monotonic() - begun,
    )
