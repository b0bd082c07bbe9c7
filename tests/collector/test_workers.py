"""Payloads that hang, crash and queue."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sima_collector.process import _spawn
from sima_collector.service import running_collector
from sima_collector.settings import CollectorSettings
from sima_runtime.errors import FixConfigurationError

from tests.collector.conftest import Door, MemoryProfile, OpenDoor, ProfileSwitch, dozes, eventually


@pytest.fixture
async def impatient(settings: Callable[..., CollectorSettings], open_door: OpenDoor) -> Door:
    """A collector in which nothing is read for long."""
    return await open_door(settings(payload_seconds=3.0))


async def test_a_payload_that_never_ends_is_refused_while_others_go_on(impatient: Door, profile: MemoryProfile) -> None:
    """A bad regular expression holds one worker until that is killed; the rest is parsed meanwhile and afterwards."""
    hanging = asyncio.create_task(impatient.send("loop\n1"))
    await asyncio.sleep(0.1)
    others = await asyncio.gather(*(impatient.send(f"{n}") for n in range(2, 30)))
    assert {answer.status_code for answer in others} == {200}
    answer = await hanging
    assert (answer.status_code, answer.json()["detail"]) == (422, "reading it took longer than 3 s")
    (stored,) = await impatient.refusals()
    assert stored["raw"] == "loop\n1"
    assert sorted(profile.ids()) == sorted(f"m{n}" for n in range(2, 30))


async def test_every_worker_can_hang_and_all_are_replaced(impatient: Door, profile: MemoryProfile) -> None:
    """More hanging payloads than workers are refused one after the other, and what waited behind them is parsed."""
    answers = await asyncio.gather(*(impatient.send(f"loop\n{n}") for n in range(3)), impatient.send("4"))
    assert [answer.status_code for answer in answers] == [422, 422, 422, 200]
    await eventually(lambda: len(impatient.collector.pool.pids) == 2)
    assert profile.ids() == ["m4"]


async def test_a_payload_that_kills_its_worker_is_refused(door: Door, profile: MemoryProfile) -> None:
    """It gets one more try, and what was given to the same worker behind it is not lost."""
    answers = await asyncio.gather(door.send("crash"), *(door.send(f"{n}") for n in range(40)))
    assert [answer.status_code for answer in answers] == [422] + [200] * 40
    assert answers[0].json()["detail"] == "reading it ended the worker process"
    assert len(profile.ids()) == 40


async def test_a_worker_killed_from_outside_costs_no_payload(
    door: Door, profile: MemoryProfile, installed: Path
) -> None:
    """Whoever was being parsed is parsed again elsewhere."""
    pids = door.collector.pool.pids
    sending = [asyncio.create_task(door.send(f"doze\n{n}")) for n in range(6)]
    await eventually(lambda: all(dozes(installed, pid) for pid in pids))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert {(await task).status_code for task in sending} == {200}
    assert sorted(profile.ids()) == [f"m{n}" for n in range(6)]
    assert await door.refusals() == []


async def test_a_payload_that_was_never_begun_is_not_refused(impatient: Door, profile: MemoryProfile) -> None:
    """Workers that stand still are replaced after the limit, and what they did not begin is parsed by others."""
    stopped = impatient.collector.pool.pids
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    assert (await impatient.send("1")).status_code == 200
    assert profile.ids() == ["m1"]
    assert await impatient.refusals() == []


async def test_more_payloads_than_may_wait_are_503(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor
) -> None:
    """The queue is bounded; who does not fit is told when to come back, and is served then."""
    door = await open_door(settings(workers=1, waiting_payloads=5))
    answers = await asyncio.gather(*(door.send(f"doze\n{n}") for n in range(10)))
    busy = [answer for answer in answers if answer.status_code == 503]
    assert len(busy) >= 3
    assert {answer.headers["retry-after"] for answer in busy} == {"5"}
    assert {answer.status_code for answer in answers if answer not in busy} == {200}
    assert (await door.send("1")).status_code == 200


async def test_a_payload_whose_caller_has_gone_waits_no_longer(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """Its room was given to others, so it must not stay in memory; it is not parsed either."""
    door = await open_door(settings(workers=1, answer_seconds=0.3, payload_seconds=2.0))
    hanging = asyncio.create_task(door.send("loop\n1"))
    await asyncio.sleep(0.1)
    answers = await asyncio.gather(*(door.send(f"{n}") for n in range(2, 6)))
    assert {answer.status_code for answer in answers} == {503}
    assert door.collector.pool.waiting == 0
    assert (await hanging).status_code == 503
    assert profile.ids() == []


async def test_a_machine_without_room_for_a_process_is_told_of(
    door: Door, settings: Callable[..., CollectorSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start it ends the collector with a reason; later, who needs a worker of its own is told to come again."""

    def spawn(_: int) -> None:
        raise BlockingIOError

    monkeypatch.setattr("sima_collector.process._spawn", spawn)
    token = {"authorization": "Bearer let-me"}
    assert (await door.client.post("/import/files", content="rows\n1", headers=token)).status_code == 503
    with pytest.raises(FixConfigurationError, match="BlockingIOError"):
        async with running_collector(settings(data_dir=tmp_path / "another")):
            pass


async def test_a_start_that_fails_leaves_no_worker_behind(
    settings: Callable[..., CollectorSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is room for one process only, that one is ended, too, before anybody hears of it."""
    spawned: list[subprocess.Popen[bytes]] = []

    def spawn(descriptor: int) -> subprocess.Popen[bytes]:
        if spawned:
            raise BlockingIOError
        spawned.append(_spawn(descriptor))
        return spawned[0]

    monkeypatch.setattr("sima_collector.process._spawn", spawn)
    with pytest.raises(FixConfigurationError, match="BlockingIOError"):
        async with running_collector(settings()):
            pass
    assert spawned[0].returncode is not None


async def test_a_plugin_that_cannot_register_ends_the_start_with_a_reason(
    settings: Callable[..., CollectorSettings], channels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it misses a file, which must not look like the end of the collector to its worker."""
    given = settings()
    code = "import sima_sdk\n@sima_sdk.hookimpl\ndef register_connectors():\n    open('absent')\n"
    (tmp_path / "sima_broken.py").write_text(code)
    info = tmp_path / "sima_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sima-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sima]\nbroken = sima_broken\n")
    monkeypatch.setenv("PYTHONPATH", f"{channels}{os.pathsep}{tmp_path}")
    with pytest.raises(FixConfigurationError, match="FileNotFoundError"):
        async with running_collector(given):
            pass


async def test_workers_that_died_while_idle_are_replaced(door: Door) -> None:
    """The next payload costs nobody anything, and without any payload they are replaced as well."""
    for pid in door.collector.pool.pids:
        os.kill(pid, signal.SIGKILL)
    assert (await door.send("1")).status_code == 200
    killed = door.collector.pool.pids
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: len(door.collector.pool.pids) == 2 and not set(killed) & set(door.collector.pool.pids))


async def test_readiness_tells_of_workers_and_room(
    settings: Callable[..., CollectorSettings], open_door: OpenDoor, switch: ProfileSwitch
) -> None:
    """Whoever routes requests here learns when there is no use in it; the process itself is alive all the same."""
    door = await open_door(settings(buffer_bytes=1))
    assert (await door.client.get("/readyz")).json() == {"ready": True, "missing": []}
    await door.collector.pool.stop()
    answer = await door.client.get("/readyz")
    assert (answer.status_code, answer.json()["missing"]) == (503, ["workers"])
    assert (await door.client.get("/healthz")).status_code == 200
