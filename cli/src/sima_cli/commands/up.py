"""`sima up`: everything on this machine, until Ctrl-C."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from sima_cli.commands.options import connection_of
from sima_cli.failures import runs
from sima_cli.folder import Folder, Running
from sima_cli.output import err, step
from sima_cli.stack import Setup, own_sources, running_stack
from sima_cli.stopping import until_stopped

EXAMPLE = "Example: [cyan]sima up[/], and in another terminal [cyan]sima import crm contacts.csv[/]"

SourcesFile = Annotated[
    Path | None,
    typer.Option(
        "--sources",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="The collector's sources, YAML or JSON. Default: sources.yaml of the data directory, which is made once.",
    ),
]


@runs
async def up(context: typer.Context, sources: SourcesFile = None) -> None:
    """Start PostgreSQL, identity, profile, segment and collector on this machine, and stay until Ctrl-C."""
    folder = Folder(connection_of(context).data_dir)
    folder.prepare()
    with until_stopped():
        async with running_stack(Setup(folder, folder.root, sources or own_sources(folder)), step) as running:
            err.print(where(running, folder))
            await asyncio.Event().wait()


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
