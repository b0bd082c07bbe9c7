"""Files that are sent to be imported."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sima_collector.settings import CollectorSettings

from tests.collector.conftest import SOURCES, Door, MemoryProfile, OpenDoor, ProfileSwitch, eventually, opened

TOKEN = {"authorization": "Bearer let-me"}
MakeSettings = Callable[..., CollectorSettings]


async def send_file(door: Door, *lines: object, name: str = "rows.txt", **headers: str) -> httpx.Response:
    """Post a file of rows to be imported."""
    content = "\n".join(["rows", *map(str, lines)])
    return await door.client.post(
        "/import/files", params={"filename": name}, content=content, headers={**TOKEN, **headers}
    )


def told(answer: httpx.Response) -> list[dict[str, Any]]:
    """The lines of an answer."""
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_file_is_imported_page_by_page_and_told_so(door: Door, profile: MemoryProfile) -> None:
    """Each page is durable before it is reported, and the last line sums up."""
    lines = told(await send_file(door, *range(7)))
    assert [(line["type"], line["accepted"]) for line in lines] == [
        ("progress", 3),
        ("progress", 6),
        ("progress", 7),
        ("done", 7),
    ]
    assert profile.ids() == [f"m{n}" for n in range(7)]


async def test_the_same_file_again_changes_nothing(door: Door, profile: MemoryProfile) -> None:
    """All its facts are duplicates then."""
    await send_file(door, *range(5))
    *_, done = told(await send_file(door, *range(5)))
    assert (done["type"], done["accepted"], done["duplicates"], done["resumed"]) == ("done", 0, 5, False)
    assert len(profile.ids()) == 5


async def test_what_a_file_holds_beside_facts_is_stored(door: Door, profile: MemoryProfile) -> None:
    """Refusals of the connector and of the profile service are counted and kept."""
    profile.refuse.add("m3")
    *_, done = told(await send_file(door, 1, "bad", 2, 3))
    assert (done["accepted"], done["refused"]) == (2, 2)
    assert {one["reason"] for one in await door.refusals()} == {"expected a fact", "occurred_at: must not lie ahead"}


async def test_a_file_that_is_not_of_the_channel_is_400(door: Door) -> None:
    """The reason is told at once, and the administrator learns that there was such a file."""
    answer = await door.client.post("/import/files", content="nonsense", headers=TOKEN)
    assert (answer.status_code, answer.json()["detail"]) == (400, "line 1: expected the word rows")
    (stored,) = await door.refusals()
    assert (stored["raw"], stored["reason"]) == ("file upload", "line 1: expected the word rows")


@pytest.mark.parametrize(
    ("mischief", "reason"),
    [
        ("loop", "reading a page took longer than 2 s"),
        ("crash", "reading a page ended the worker process"),
        ("fail", "the connector failed with KeyError"),
    ],
)
async def test_an_import_goes_on_behind_its_last_page(
    settings: MakeSettings, open_door: OpenDoor, profile: MemoryProfile, mischief: str, reason: str
) -> None:
    """A page that cannot be read ends the import; the same file sent again begins at that page, not before."""
    door = await open_door(settings(page_seconds=2.0))
    progress, error = told(await send_file(door, 1, 2, 3, mischief, 4, 5))
    assert (progress["type"], progress["accepted"]) == ("progress", 3)
    assert (error["type"], error["detail"], error["status"]) == ("error", reason, 422)
    again = await send_file(door, 1, 2, 3, mischief, 4, 5)
    assert (again.status_code, again.json()["detail"]) == (422, reason)
    assert profile.calls == [3]


async def test_a_resumed_import_counts_what_was_done_before(settings: MakeSettings, profile: MemoryProfile) -> None:
    """A collector that stops in the middle leaves a checkpoint, and the next attempt ends with the sum of both."""
    lines = (0, 1, 2, "doze", 3, 4)
    async with opened(settings()) as door:
        sending = asyncio.create_task(send_file(door, *lines))
        await eventually(lambda: profile.ids() == ["m0", "m1", "m2"])
        door.collector.importer.stop()
        *_, error = told(await sending)
        assert (error["type"], error["status"]) == ("error", 503)
        assert (await send_file(door, *lines)).status_code == 503
    async with opened(settings()) as door:
        *_, done = told(await send_file(door, *lines))
    assert (done["accepted"], done["duplicates"], done["resumed"]) == (5, 0, True)
    assert profile.calls == [3, 2]


async def test_another_region_reads_the_file_anew(settings: MakeSettings) -> None:
    """What was half imported with the wrong region for its phone numbers begins again with the right one."""
    changed = settings()
    async with opened(changed) as door:
        await send_file(door, 1, 2, 3, "fail")
    sources = [{**one, "default_region": "SA"} for one in SOURCES]
    changed.sources_file.write_text(json.dumps({"sources": sources}))
    async with opened(changed) as door:
        progress, _ = told(await send_file(door, 1, 2, 3, "fail"))
    assert (progress["duplicates"], progress["resumed"]) == (3, False)


async def test_an_upload_without_room_on_the_disk_is_503(door: Door) -> None:
    """Whether its folder or its file cannot be made, the client is told to come again."""
    door.collector.uploads.rmdir()
    assert (await send_file(door, 1)).status_code == 503


async def test_an_import_waits_for_room(
    settings: MakeSettings, open_door: OpenDoor, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """With profile service and buffer unavailable it stands still and goes on afterwards."""
    door = await open_door(settings(buffer_bytes=500))
    await switch.unplug()
    sending = asyncio.create_task(send_file(door, *range(30)))
    await asyncio.sleep(2)
    assert not sending.done()
    await switch.plug_in()
    *_, done = told(await sending)
    await eventually(lambda: len(profile.ids()) == 30)
    assert done["accepted"] + done["buffered"] + done["duplicates"] >= 30


async def test_an_import_needs_the_sources_token(door: Door, profile: MemoryProfile) -> None:
    """Nobody who can only reach the collector can put facts into it this way."""
    for headers in ({}, {"authorization": "Bearer guess"}, {"authorization": "Basic let-me"}):
        assert (await door.client.post("/import/files", content="rows\n1", headers=headers)).status_code == 401
    assert profile.ids() == []


@pytest.mark.parametrize("source", ["nobody", "web"])
async def test_only_sources_that_read_files_take_them(door: Door, source: str) -> None:
    """A source that is pushed to has no import."""
    assert (await door.client.post(f"/import/{source}", content="rows", headers=TOKEN)).status_code == 404


async def test_a_file_that_is_too_large_is_413(settings: MakeSettings, open_door: OpenDoor) -> None:
    """And leaves nothing on the disk."""
    door = await open_door(settings(import_bytes=100))
    assert (await send_file(door, *range(100))).status_code == 413
    assert list(door.collector.uploads.iterdir()) == []


async def test_more_imports_than_allowed_are_503(settings: MakeSettings, open_door: OpenDoor) -> None:
    """The excess is told to come back, and nothing of a finished import stays on the disk."""
    door = await open_door(settings(imports=1))
    answers = await asyncio.gather(*(send_file(door, "doze", n) for n in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
    assert (await send_file(door, 1)).status_code == 200
    assert list(door.collector.uploads.iterdir()) == []


async def test_the_name_of_a_file_cannot_lead_elsewhere(door: Door, profile: MemoryProfile) -> None:
    """Whatever a client calls its file, it lies in a folder of its own."""
    for name in ("../../etc/passwd", "..", "/", "a b;c.csv", "x" * 500):
        assert told(await send_file(door, 1, name=name))[-1]["type"] == "done"
    assert [path.name for path in door.collector.uploads.parent.iterdir() if path.is_dir()] == ["uploads"]
