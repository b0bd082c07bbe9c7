"""`sima import`: files in, through the connector of a source."""

from pathlib import Path
from typing import Annotated

import httpx
import typer

from sima_cli.commands.options import Json, connection_of
from sima_cli.failures import runs
from sima_cli.imports import OUTCOMES, import_file
from sima_cli.output import counting, out, print_json, table

EXAMPLE = "Example: [cyan]sima import crm contacts.csv[/]"

_SECONDS = 600.0  # between two signs of life

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="What to import.")]


@runs
async def import_files(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source that reads files.")],
    files: Files,
    as_json: Json = False,
) -> None:
    """Import files. The same file again changes nothing; one that was interrupted goes on where it was."""
    connection = connection_of(context)
    token = connection.import_token(source)
    results = []
    async with httpx.AsyncClient(
        base_url=connection.address("collector"), verify=connection.tls_context(), timeout=_SECONDS
    ) as client:
        for file in files:
            with counting(file.name) as show:
                counts = await import_file(client, source, file, token, show)
            results.append({"file": file.name, **counts})
    if as_json:
        print_json(results)
        return
    rows = [(str(result["file"]), *(f"{result[outcome]:,}" for outcome in OUTCOMES)) for result in results]
    out.print(table("", ("file", *(f"#{outcome}" for outcome in OUTCOMES)), rows))
