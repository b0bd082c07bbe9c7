"""`sima import`: files in, through the connector of a source."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from sima_cli.commands.options import Json, connection_of
from sima_cli.errors import RefusedError
from sima_cli.failures import runs
from sima_cli.imports import COUNTS, OUTCOMES, Reason, import_file, refusal_reasons, shown_name
from sima_cli.output import counting, err, harmless, out, print_json, table

EXAMPLE = "Example: [cyan]sima import crm contacts.csv[/]"

_REASONS = 3
_SECONDS = 600.0  # between two signs of life

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="What to import.")]


@dataclass
class _Found:
    """What became of the files: the counts of those that were read, why parts of them were refused, and the others."""

    results: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


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
    found = _Found()
    async with httpx.AsyncClient(
        base_url=connection.address("collector"), verify=connection.tls_context(), timeout=_SECONDS
    ) as client:
        try:
            for file in files:
                await _import(client, source, file, token, found)
        finally:  # if it stops in the middle, what became of the files before is told all the same
            if found.results:
                _print(found.results, as_json)
    _tell_of_conflicts(sum(result["conflicts"] for result in found.results))
    _tell_of_refused(found, f"{client.base_url}/refusals?source={source}")


async def _import(client: httpx.AsyncClient, source: str, file: Path, token: str, found: _Found) -> None:
    """Import a file; one that is refused keeps those behind it from nothing."""
    begun = datetime.now(UTC)
    name = shown_name(file)
    try:
        with counting(name) as show:
            imported = await import_file(client, source, file, token, show)
    except asyncio.CancelledError:
        err.print(f"Interrupted in {harmless(name)}. The same command goes on where it was.")
        raise
    except RefusedError as error:
        found.unread.append(f"{name}: {error}")
        return
    found.results.append({"file": name, "resumed": imported.resumed, **imported.counts})
    if imported.resumed:
        err.print(f"{harmless(name)} went on where it was interrupted.")
    if imported.counts["refused"] or imported.counts["trimmed"]:
        found.reasons += [
            one._replace(text=f"{name}, {one.text}") for one in await refusal_reasons(client, source, token, begun)
        ]


def _print(results: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    rows = [(str(result["file"]), *(f"{result[name]:,}" for name in COUNTS)) for result in results]
    out.print(table("", ("file", *(f"#{name}" for name in COUNTS)), rows))


def _tell_of_conflicts(conflicts: int) -> None:
    if conflicts:
        say = f"{conflicts:,} in conflict: the same message said something else before. Both are kept"
        err.print(f'[bold yellow]![/] {say}; see "Conflicts" in docs/operating.md.')


def _tell_of_refused(found: _Found, kept: str) -> None:
    """Say what was refused, also of facts that were taken, and why; raise RefusedError if nothing of a file was."""
    refused, trimmed = (sum(result[name] for result in found.results) for name in ("refused", "trimmed"))
    lines = list(found.unread)
    if refused or trimmed:
        counted = [f"{refused:,} refused"] if refused else []
        counted += [f"{trimmed:,} taken without an identifier that cannot be read"] if trimmed else []
        reasons = [f"  {reason.text}" for reason in found.reasons[:_REASONS]]
        lines = [*lines, f"{', '.join(counted)}:", *reasons, _where_it_is(found.reasons, kept)]
    lines += [f"{result['file']}: no records were found in it." for result in found.results if _is_empty(result)]
    text = "\n".join(lines)
    if found.unread or any(_is_nothing(result) for result in found.results):
        raise RefusedError(text)
    if text:
        err.print(f"[bold yellow]![/] {harmless(text)}")


def _where_it_is(reasons: Sequence[Reason], kept: str) -> str:
    """Say where what was refused is kept, and of what only the size is."""
    left_out = sorted({reason.not_kept for reason in reasons} - {""})
    but = f" Of {' and '.join(left_out)} only the size is kept." if left_out else ""
    return f'It is kept with its reasons at {kept}; see "Refused payloads" in docs/operating.md.{but}'


def _is_empty(result: Mapping[str, Any]) -> bool:
    return not any(result[count] for count in COUNTS)


def _is_nothing(result: Mapping[str, Any]) -> bool:
    """Whether all that a file holds was refused."""
    return bool(0 < result["refused"] == sum(result[outcome] for outcome in OUTCOMES))
