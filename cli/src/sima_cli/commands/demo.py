"""`sima demo`: the sample channels in, people and segments out."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sima_cli.commands.options import connection_of
from sima_cli.commands.up import where
from sima_cli.connection import Connection
from sima_cli.demo.run import Listener, run_demo
from sima_cli.errors import CommandError
from sima_cli.failures import runs
from sima_cli.folder import Folder, Running
from sima_cli.output import err, out, print_json, step
from sima_cli.report.findings import Findings
from sima_cli.report.show import show
from sima_cli.sample.generator import Sample, generate
from sima_cli.sample.people import Plan
from sima_cli.stack import Setup, own_sources, running_stack
from sima_cli.stopping import until_stopped

EXAMPLE = "Example: [cyan]sima demo --people 500 --stay[/]"

People = Annotated[int, typer.Option("--people", min=20, max=100_000, help="How many people to make up.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, other people.")]
Junk = Annotated[float, typer.Option("--junk", min=0, max=10, help="Percent of messages with junk in them.")]
SharedDevices = Annotated[
    float, typer.Option("--shared-devices", min=0, max=5, help="Percent of the people who share a family's tablet.")
]
Stay = Annotated[bool, typer.Option("--stay", help="Keep everything running afterwards, until Ctrl-C.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]


@runs
async def demo(  # noqa: PLR0917 - its options
    context: typer.Context,
    people: People = 2_000,
    seed: Seed = 1,
    junk: Junk = 3.0,
    shared_devices: SharedDevices = 2.0,
    stay: Stay = False,
    as_json: AsJson = False,
) -> None:
    """Send a made-up world through every channel into a fresh Sima, and report what it understood."""
    begun = time.monotonic()
    plan = Plan(people, datetime.now(UTC).replace(microsecond=0), seed, junk / 100, shared_devices / 100)
    folder = Folder(connection_of(context).data_dir)
    folder.prepare()
    folder.refuse_second()
    with until_stopped(), _fresh(folder) as fresh:
        making = asyncio.create_task(asyncio.to_thread(generate, plan))
        async with running_stack(Setup(folder, fresh.root, own_sources(fresh)), step) as running:
            findings = await _demonstrate(running, Connection(folder.root), await making, fresh)
            _report(replace(findings, seconds=time.monotonic() - begun), as_json)
            if stay:
                err.print(_what_next(running, folder, findings))
                await asyncio.Event().wait()


async def _demonstrate(running: Running, connection: Connection, sample: Sample, fresh: Folder) -> Findings:
    with _bars(sample) as listener:
        return await run_demo(running, connection, sample, fresh.root / "sample", listener)


def _report(findings: Findings, as_json: bool) -> None:
    if as_json:
        print_json(findings.as_json())
    else:
        show(findings, out)
    if findings.accuracy.precision < 1.0:
        raise CommandError("People were put together who are not one: precision is below 1.0.")


@contextmanager
def _fresh(folder: Folder) -> Iterator[Folder]:
    """Give an empty folder for the data of one demo, which goes with it."""
    fresh = Folder(folder.root / "demo")
    shutil.rmtree(fresh.root, ignore_errors=True)
    fresh.prepare()
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh.root, ignore_errors=True)


@contextmanager
def _bars(sample: Sample) -> Iterator[Listener]:
    """Show a bar for each channel while it is sending."""
    columns = (TextColumn("  {task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        sizes = sample.sizes()
        tasks = {source: progress.add_task(source, total=size, visible=False) for source, size in sizes.items()}

        def on_sent(source: str) -> None:
            progress.update(tasks[source], advance=1, visible=True)

        yield Listener(step, on_sent)


def _what_next(running: Running, folder: Folder, findings: Findings) -> str:
    profile = findings.portrait[0]
    somebody = next(f"{one.kind}:{one.value}" for one in profile.identifiers if one.value)
    segment = findings.live.segment
    lines = (
        f"sima profile get {somebody}",
        f"sima profile events {somebody}",
        "sima segment list",
        f"sima segment members {segment} --limit 5",
        'sima segment preview \'traits.city == "Berlin" && events("comment_posted").exists()\'',
        f"sima segment watch {segment} --json",
        f"curl {running.collector}/refusals",
    )
    return "\n".join(
        (where(running, folder), "", "Try next, in another terminal:", *(f"  {escape(one)}" for one in lines))
    )
