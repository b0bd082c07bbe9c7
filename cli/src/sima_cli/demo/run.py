"""The whole demo against a running Sima, from the first request to the findings."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sima.segment.v1.segment_service_pb2 import GetMembershipsRequest
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1.identifier_pb2 import Identifier

from sima_cli import shapes
from sima_cli.connection import Connection
from sima_cli.demo.channels import let_speak
from sima_cli.demo.last import buy_once_more
from sima_cli.demo.portrait import choose_portrait
from sima_cli.demo.segments import create_segments
from sima_cli.errors import CommandError
from sima_cli.folder import Running
from sima_cli.report.accuracy import measure
from sima_cli.report.feeds import read_facts, read_grouping
from sima_cli.report.findings import Findings
from sima_cli.sample.generator import Sample
from sima_cli.sample.people import Person
from sima_cli.sending import OnSent

_CAUGHT_UP_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


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
        CommandError: Something was refused, or did not happen in time.
        SimaError: What a service answered.
    """
    begun = time.monotonic()
    files = sample.write(folder)
    listener.tell("Sending every channel through its entrance")
    outcomes = await let_speak(running, sample, files, listener.on_sent)
    listener.tell("Waiting until the segments have heard of it all")
    await _caught_up(connection, sample.people, datetime.now(UTC))
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


async def _caught_up(connection: Connection, people: tuple[Person, ...], moment: datetime) -> None:
    """Wait until the segments know all facts that were accepted before a moment."""
    email = next(person.email for person in people if person.email)
    request = GetMembershipsRequest(identifier=Identifier(kind="email", value=email))
    deadline = time.monotonic() + _CAUGHT_UP_SECONDS
    async with connection.calls("segment", SegmentServiceStub) as service:
        while time.monotonic() < deadline:
            answer = await service.call(service.stub.GetMemberships, request)
            if shapes.instant(answer.as_of) >= moment:
                return
            await asyncio.sleep(_PAUSE_SECONDS)
    raise CommandError(f"The segments did not work off the facts within {_CAUGHT_UP_SECONDS:.0f} seconds.")
