"""The demo as a person sees it: everything started, bars while it goes on, the report, and everything ended."""

import asyncio
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sima_cli.connection import Connection
from sima_cli.demo.run import Listener, run_demo
from sima_cli.errors import CommandError
from sima_cli.folder import Folder, Running
from sima_cli.output import err, out, print_json, step
from sima_cli.report.findings import Findings
from sima_cli.report.show import show
from sima_cli.sample.generator import Sample, generate
from sima_cli.sample.people import Plan
from sima_cli.stack import Setup, own_sources, running_stack
from sima_cli.staying import where
from sima_cli.stopping import until_stopped


@dataclass(frozen=True, slots=True)
class Wish:
    """How the person wants it.

    Attributes:
        begun: When the command began, by the monotonic clock.
        stay: Keep everything running afterwards.
        as_json: Print the report for programs.
    """

    begun: float
    stay: bool
    as_json: bool


async def demonstrate(folder: Folder, plan: Plan, wish: Wish) -> None:
    """Run the demo in a fresh folder within a data directory.

    Raises:
        CommandError: Something was refused, or people were put together wrongly.
        CrashedError: A process ended by itself.
        SimaError: What a service answered.
        StoppedError: Somebody stopped it before it was done.
    """
    with until_stopped() as stay:
        async with folder.alone(step) as lock, _fresh(folder) as fresh:
            making = asyncio.create_task(asyncio.to_thread(generate, plan))
            async with running_stack(Setup(folder, fresh.root, own_sources(fresh), lock), step) as running:
                findings = await _findings(running, Connection(folder.root), await making, fresh)
                _report(replace(findings, seconds=time.monotonic() - wish.begun), wish.as_json)
                if wish.stay:
                    err.print(_what_next(running, folder, findings))
                    await stay()


async def _findings(running: Running, connection: Connection, sample: Sample, fresh: Folder) -> Findings:
    with _bars(sample) as listener:
        return await run_demo(running, connection, sample, fresh.root / "sample", listener)


def _report(findings: Findings, as_json: bool) -> None:
    if as_json:
        print_json(findings.as_json())
    else:
        show(findings, out)
    if findings.accuracy.precision < 1.0:
        raise CommandError("People were put together who are not one: precision is below 1.0.")


@asynccontextmanager
async def _fresh(folder: Folder) -> AsyncIterator[Folder]:
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
    elsewhere = folder.root.resolve() != Path(".sima").resolve()
    sima = f"sima --data-dir {shlex.quote(str(folder.root))}" if elsewhere else "sima"
    lines = (
        f"{sima} profile get {somebody}",
        f"{sima} profile events {somebody}",
        f"{sima} segment list",
        f"{sima} segment members {segment} --limit 5",
        f'{sima} segment preview \'traits.city == "Berlin" && events("comment_posted").exists()\'',
        f"{sima} segment watch {segment} --json",
        f"curl {running.collector}/refusals",
    )
    return "\n".join(
        (where(running, folder), "", "Try next, in another terminal:", *(f"  {escape(one)}" for one in lines))
    )
