"""`sima up`: everything on this machine, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from sima_cli.commands.options import connection_of
from sima_cli.failures import runs
from sima_cli.folder import Folder

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


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="The rules of identity, YAML. Default: sima.yaml of the data directory, if there is one.",
    ),
]


@runs
async def up(context: typer.Context, sources: SourcesFile = None, config: ConfigFile = None) -> None:
    """Start PostgreSQL, identity, profile, segment and collector on this machine, and stay until Ctrl-C."""
    from sima_cli.staying import stay_up  # noqa: PLC0415 - takes a second, and the other commands need none of it

    await stay_up(Folder(connection_of(context).data_dir), sources, config)
