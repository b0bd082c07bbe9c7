"""Keeps everything running on this machine, and says where it is."""

from pathlib import Path

from sima_cli.config import rules_at_start
from sima_cli.folder import Folder, Running
from sima_cli.output import err, step
from sima_cli.stack import Setup, own_sources, running_stack
from sima_cli.stopping import until_stopped


async def stay_up(folder: Folder, sources: Path | None, config: Path | None = None) -> None:
    """Run everything until somebody stops it.

    Args:
        folder: Where the data is.
        sources: What the collector serves; None: what the folder says.
        config: What the workspace says about itself; None: what the folder says, if it says anything.

    Raises:
        CommandError: Something runs, starts or stops in that folder.
        CrashedError: A process ended by itself.
        MisconfiguredError: Settings or a file have mistakes.
        SimaError: Identity refuses the rules.
        StoppedError: Somebody stopped it before everything ran.
    """
    config = config or (folder.config if folder.config.exists() else None)
    rules = rules_at_start(config) if config else None
    with until_stopped() as stay:
        async with folder.alone(step) as lock:
            setup = Setup(folder, folder.root, sources or own_sources(folder), lock, rules)
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
