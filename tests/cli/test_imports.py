"""What a person reads of an import that the collector did not take as it was."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sima_cli.errors import CommandError
from sima_cli.imports import import_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "contacts.csv"
    path.write_text("Email\nada@example.com\n")
    return path


def imported(file: Path, status: int, *lines: Mapping[str, Any]) -> dict[str, int]:
    """Send the file to a collector that answers so."""

    async def send() -> dict[str, int]:
        answer = httpx.MockTransport(lambda _: httpx.Response(status, text="\n".join(map(json.dumps, lines))))
        async with httpx.AsyncClient(transport=answer, base_url="http://collector") as client:
            return await import_file(client, "crm", file, "token", lambda _: None)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (503, [{"status": 503, "detail": "all of imports is in use"}]),
        (200, [{"type": "progress"}, {"type": "error", "status": 503, "detail": "all of imports is in use"}]),
    ],
    ids=["from the beginning", "in the middle"],
)
def test_an_import_for_which_there_is_no_place_is_said_in_words(
    file: Path, status: int, lines: list[dict[str, Any]]
) -> None:
    """Whoever sends a file to a Sima that stops, or is busy, learns that it takes no more."""
    with pytest.raises(CommandError, match="Sima takes no more imports at the moment"):
        imported(file, status, *lines)
