"""Keeps everything running on this machine, and says where it is."""

from pathlib import Path

from sima_cli.folder import Folder, Running
from sima_cli.output import err, step
from sima_cli.stack import Setup, own_sources, running_stack
from sima_cli.stopping import until_stopped


async def stay_up(folder: Folder, sources: Path | None) -> None:
    """Run everything until somebody stops it.

    Args:
        folder: Where the data is.
        sources: What the collector serves; None: what the folder says.

    Raises:
        CommandError: Something runs, starts or stops in that folder.
        CrashedError: A process ended by itself.
        StoppedError: Somebody stopped it before everything ran.
    """
    with until_stopped() as stay:
        async with folder.alone(step) as lock:
            setup = Setup(folder, folder.root, sources or own_sources(folder), lock)
            async with running_stack(setup, step) as running:
                err.print(where(running, folder))
                await stay()


def where(running: Running, folder: Folder) -> str:
    """Return the addresses of what runs, for people."""
    return "\n".join(
        (
            "[bold green]Sima is up.[/] Stop it with Ctrl-C.",
            f"  collector  {running.collector}/in/SOURCE",
            f"  identity   {running.identity}  (gRPC)",
            f"  profile    {running.profile}  (gRPC)",
            f"  segment    {running.segment}  (gRPC)",
            f"  logs       {folder.logs}",
        )
    )
