"""Options that several commands share."""

from typing import Annotated

import typer

from sima_cli.connection import Connection

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most this many.")]


def connection_of(context: typer.Context) -> Connection:
    """Return what the options before the command said about where Sima is."""
    connection = context.find_object(Connection)
    if connection is None:
        raise TypeError("the command was not called through the main one")
    return connection
