"""The administrative addresses."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sima_collector.settings import CollectorSettings
from sima_runtime.errors import FixConfigurationError

from tests.collector.conftest import Door, OpenDoor

MakeSettings = Callable[..., CollectorSettings]
DEEP = base64.urlsafe_b64encode(b"[" * 10_000).decode()


async def test_refusals_are_paged(door: Door) -> None:
    """Newest first; the token leads on and is only good for the same question."""
    for n in range(5):
        await door.send(f"{{bad {n}")
    seen, token = [], ""
    while True:
        answer = (await door.client.get("/refusals", params={"page_size": "2", "page_token": token})).json()
        seen += [one["raw"] for one in answer["refusals"]]
        if not (token := answer["next_page_token"]):
            break
        other = await door.client.get("/refusals", params={"workspace": "main", "page_token": token})
        assert other.status_code == 400
    assert seen == [f"{{bad {n}" for n in (4, 3, 2, 1, 0)]


async def test_refusals_are_filtered(door: Door) -> None:
    """By workspace and by source."""
    await door.send("{bad in main")
    await door.send("{bad elsewhere", source="branch")
    assert [one["raw"] for one in await door.refusals(workspace="other")] == ["{bad elsewhere"]
    assert [one["raw"] for one in await door.refusals(source="web")] == ["{bad in main"]
    assert await door.refusals(workspace="third") == []


async def test_refusals_can_be_removed(door: Door) -> None:
    """All of a source, a workspace or both, as they are listed; and how many went is told."""
    for source in ("web", "web", "branch"):
        await door.send(f"{{bad {source}", source=source)
    answer = await door.client.delete("/refusals", params={"workspace": "main", "source": "web"})
    assert (answer.status_code, answer.json()) == (200, {"removed": 1})
    assert [one["raw"] for one in await door.refusals()] == ["{bad branch"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "workspace"),
        ({"workspace": ""}, "workspace"),
        ({"workspce": "main"}, "workspce"),
        ({"workspace": "main", "before": "1"}, "before"),
        ({"source": ["web", "branch"]}, "source"),
    ],
)
async def test_nothing_is_removed_by_a_slip(door: Door, query: dict[str, Any], field: str) -> None:
    """Who names neither workspace nor source, or misspells one, hears so; he does not lose all there is."""
    await door.send("{bad")
    answer = await door.client.delete("/refusals", params=query)
    assert answer.status_code == 400
    assert field in answer.text
    assert len(await door.refusals()) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"page_size": "-1"},
        {"page_size": "many"},
        {"page_token": "x"},
        {"page_token": "W10="},
        {"page_token": DEEP},
        {"limit": "3"},
        {"source": ["web", "branch"]},
    ],
)
async def test_a_bad_question_is_400(door: Door, query: dict[str, Any]) -> None:
    """Page sizes are whole numbers, tokens are ours, and each parameter is known and comes once."""
    assert (await door.client.get("/refusals", params=query)).status_code == 400


async def test_the_raw_bytes_can_be_fetched_whole(door: Door) -> None:
    """Long payloads are not in the list but at an address of their own, which no browser will run."""
    body = b"\xff" + b"<script>" * 5_000
    assert (await door.send(body)).status_code == 422
    (stored,) = await door.refusals()
    assert ("raw" in stored, stored["size"]) == (False, len(body))
    answer = await door.client.get(f"/refusals/{stored['id']}/raw")
    assert answer.content == body
    assert answer.headers["x-content-type-options"] == "nosniff"
    for number in (12345, 2**64):
        assert (await door.client.get(f"/refusals/{number}/raw")).status_code == 404
    assert (await door.client.get(f"/refusals/{'9' * 5_000}/raw")).status_code == 404
    assert (await door.client.get("/refusals/١/raw")).status_code == 404


async def test_metrics_tell_how_full_the_rooms_are(door: Door) -> None:
    """An administrator sees a buffer that fills up before it is full."""
    answer = await door.client.get("/metrics")
    assert answer.status_code == 200


async def test_a_configured_token_is_needed(settings: MakeSettings, open_door: OpenDoor, tmp_path: Path) -> None:
    """With it everything is open, without it nothing."""
    (tmp_path / "token").write_text("open-sesame\n")
    door = await open_door(settings(admin_token_file=tmp_path / "token"))
    for path in ("/refusals", "/refusals/1/raw", "/metrics"):
        answer = await door.client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (await door.client.delete("/refusals")).status_code == 401
    headers = {"authorization": "Bearer open-sesame"}
    assert (await door.client.get("/refusals", headers=headers)).status_code == 200
    assert (await door.client.post("/import/files", content="rows\n1", headers=headers)).status_code == 200


async def test_without_a_token_others_find_nothing(settings: MakeSettings, open_door: OpenDoor) -> None:
    """A collector that others can reach has no administrative addresses unless a token guards them."""
    door = await open_door(settings(listen_address="0.0.0.0:0"))
    for path in ("/refusals", "/refusals/1/raw", "/metrics"):
        assert (await door.client.get(path)).status_code == 404
    assert (await door.client.get("/healthz")).status_code == 200


def test_a_name_that_begins_like_loopback_is_not_loopback(settings: MakeSettings) -> None:
    """Behind it others may reach the collector, so what is for this machine alone stays closed."""
    assert settings(listen_address="127.0.0.1:0").listens_on_loopback
    assert not settings(listen_address="127.evil.example:0").listens_on_loopback
    assert not settings(listen_address="unix:0").listens_on_loopback


async def test_a_page_in_a_browser_cannot_pretend_to_be_local(door: Door) -> None:
    """A name of somebody else's that points to loopback does not open the refusals."""
    assert (await door.client.get("/refusals", headers={"host": "evil.example"})).status_code == 401


def test_a_token_file_that_says_nothing_is_a_mistake(settings: MakeSettings, tmp_path: Path) -> None:
    """Neither an absent nor an empty file means that no token is needed."""
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "absent"):
        with pytest.raises(FixConfigurationError, match="admin_token_file"):
            settings(admin_token_file=tmp_path / name).admin_token()
