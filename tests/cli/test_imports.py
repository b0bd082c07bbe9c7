"""What a person reads of an import that the collector did not take as it was."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sima_cli.commands import imports
from sima_cli.errors import CommandError
from sima_cli.imports import COUNTS, Imported, Reason, import_file, refusal_reasons
from sima_cli.main import app
from sima_runtime.errors import OverloadedError
from typer.testing import CliRunner


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "contacts.csv"
    path.write_text("Email\nada@example.com\n")
    return path


def imported(file: Path, status: int, *lines: Mapping[str, Any]) -> Imported:
    """Send the file to a collector that answers so."""

    async def send() -> Imported:
        answer = httpx.MockTransport(lambda _: httpx.Response(status, text="\n".join(map(json.dumps, lines))))
        async with httpx.AsyncClient(transport=answer, base_url="http://collector") as client:
            return await import_file(client, "crm", file, "token", lambda _: None)

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (503, [{"status": 503, "detail": "imports cannot take on more at the moment"}]),
        (
            200,
            [
                {"type": "progress"},
                {"type": "error", "status": 503, "detail": "imports cannot take on more at the moment"},
            ],
        ),
    ],
    ids=["from the beginning", "in the middle"],
)
def test_an_import_for_which_there_is_no_place_is_said_in_words(
    file: Path, status: int, lines: list[dict[str, Any]]
) -> None:
    """Whoever sends a file to a Sima that stops, or is busy, learns that it takes no more."""
    with pytest.raises(CommandError, match="Sima takes no more imports at the moment"):
        imported(file, status, *lines)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_passes_is_no_refusal(file: Path, status: int) -> None:
    """A full disk, or workers that are busy or gone, end the command as not done; the text says to try again."""
    detail = str(OverloadedError("workers"))
    with pytest.raises(CommandError) as caught:
        imported(file, status, {"status": status, "detail": detail})
    assert str(caught.value).startswith("Not taken: workers cannot take on more at the moment. ")
    assert "send it again" in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("told", [{"resumed": True}, {"resumed": False}, {}])
def test_whether_an_import_went_on_is_known(file: Path, told: Mapping[str, Any]) -> None:
    """As the collector says it; one that does not say it began anew."""
    done = imported(file, 200, {"type": "progress", "accepted": 1, **told}, {"type": "done", "accepted": 2, **told})
    assert done == Imported(dict.fromkeys(COUNTS, 0) | {"accepted": 2}, resumed=told.get("resumed", False))


@pytest.mark.parametrize("resumed", [True, False])
def test_an_import_that_went_on_says_so(file: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool) -> None:
    """In a line beside the counts, in which what was done before is, and to programs."""

    async def import_file(*_: object) -> Imported:
        return Imported(dict.fromkeys(COUNTS, 0), resumed)

    monkeypatch.setattr(imports, "import_file", import_file)
    options = ["--collector", "http://127.0.0.1:1", "--import-token-file", str(file.with_name("token"))]
    file.with_name("token").write_text("token")
    result = CliRunner().invoke(app, [*options, "import", "crm", str(file), "--json"])
    assert ("contacts.csv went on where it was interrupted.\n" in result.stderr) is resumed
    assert json.loads(result.stdout)[0]["resumed"] is resumed


def reasons(answer: httpx.Response) -> list[Reason]:
    """What is told of refusals since noon, of a collector that answers so."""

    async def ask() -> list[Reason]:
        transport = httpx.MockTransport(lambda _: answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
            return await refusal_reasons(client, "crm", "token", datetime(2026, 11, 22, 12, tzinfo=UTC))

    return asyncio.run(ask())


def test_reasons_are_those_of_this_import_in_its_order() -> None:
    """The collector names the newest first, and what was refused long ago too."""
    listed = [
        {"reason": "record 2: b", "last_at": "2026-11-22T12:00:02+00:00"},
        {"reason": "record 1: a", "message_id": "", "last_at": "2026-11-22T12:00:01+00:00"},
        {"reason": "phone: c", "message_id": "contact-3", "last_at": "2026-11-22T12:00:00+00:00"},
        {"reason": "record 9: z", "last_at": "2026-11-21T12:00:00+00:00"},
    ]
    assert [reason.text for reason in reasons(httpx.Response(200, json={"refusals": listed}))] == [
        "message contact-3: phone: c",
        "record 1: a",
        "record 2: b",
    ]


@pytest.mark.parametrize(
    ("raw", "not_kept"),
    [
        ('{"source":"crm"}', ""),
        (None, ""),
        ('{"not_kept": {"bytes": 12}}', "facts about the erased"),
        ('{"not_kept": {"bytes": 12, "hash": "0f"}}', "what may hold protected values"),
    ],
)
def test_it_is_told_of_what_only_the_size_is_kept(raw: str | None, not_kept: str) -> None:
    """As the collector writes it in place of what was refused."""
    refusal = {"reason": "r", "last_at": "2026-11-22T12:00:02+00:00"} | ({"raw": raw} if raw else {})
    assert reasons(httpx.Response(200, json={"refusals": [refusal]})) == [Reason("r", not_kept)]


@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(401), httpx.Response(200, text="<html>")])
def test_a_collector_that_does_not_tell_of_refusals_breaks_no_import(answer: httpx.Response) -> None:
    """Elsewhere only administrators may read them."""
    assert reasons(answer) == []
