"""`sima import`: files in, through the connector of a source."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.markup import escape

from sima_cli.commands.options import Json, connection_of
from sima_cli.errors import RefusedError
from sima_cli.failures import runs
from sima_cli.imports import COUNTS, OUTCOMES, import_file, refusal_reasons, shown_name
from sima_cli.output import counting, err, out, print_json, table

EXAMPLE = "Example: [cyan]sima import crm contacts.csv[/]"

_REASONS = 3
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
    results: list[dict[str, Any]] = []
    reasons: list[str] = []
    async with httpx.AsyncClient(
        base_url=connection.address("collector"), verify=connection.tls_context(), timeout=_SECONDS
    ) as client:
        for file in files:
            begun = datetime.now(UTC)
            name = shown_name(file)
            with counting(name) as show:
                counts = await import_file(client, source, file, token, show)
            results.append({"file": name, **counts})
            if counts["refused"] or counts["trimmed"]:
                reasons += [f"{name}, {why}" for why in await refusal_reasons(client, source, token, begun)]
    _print(results, as_json)
    _tell_of_refused(results, reasons, f"{client.base_url}/refusals?source={source}")


def _print(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    rows = [(str(result["file"]), *(f"{result[name]:,}" for name in COUNTS)) for result in results]
    out.print(table("", ("file", *(f"#{name}" for name in COUNTS)), rows))


def _tell_of_refused(results: Sequence[Mapping[str, Any]], reasons: Sequence[str], kept: str) -> None:
    """Say what was refused, also of facts that were taken, and why; raise RefusedError if nothing of a file was."""
    refused, trimmed = (sum(result[name] for result in results) for name in ("refused", "trimmed"))
    if not refused and not trimmed:
        return
    counted = [f"{refused:,} refused"] if refused else []
    counted += [f"{trimmed:,} taken without an identifier that cannot be read"] if trimmed else []
    lines = [f"  {reason}" for reason in reasons[:_REASONS]]
    more = f'All of it is kept with its reason at {kept}; see "Refused payloads" in docs/operating.md.'
    text = "\n".join([f"{', '.join(counted)}:", *lines, more])
    if any(0 < result["refused"] == sum(result[outcome] for outcome in OUTCOMES) for result in results):
        raise RefusedError(text)
    err.print(f"[bold yellow]![/] {escape(text)}")
