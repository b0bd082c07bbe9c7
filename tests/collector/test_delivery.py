"""Group commit, and what happens while the profile service is away."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from sima_collector.settings import CollectorSettings

from tests.collector.conftest import Door, MemoryProfile, OpenDoor, ProfileSwitch, eventually, opened

MakeSettings = Callable[..., CollectorSettings]


async def test_requests_share_calls(door: Door, profile: MemoryProfile) -> None:
    """What arrives while calls are under way travels together, at most a thousand facts a call."""
    profile.hold.clear()
    sending = [asyncio.create_task(door.send("\n".join(str(100 * n + m) for m in range(100)))) for n in range(40)]
    await asyncio.sleep(1)
    profile.hold.set()
    assert {(await task).status_code for task in sending} == {200}
    assert sum(profile.calls) == 4_000
    assert max(profile.calls) <= 1_000
    assert len(profile.calls) < 40


async def test_a_large_payload_is_split_into_calls(door: Door, profile: MemoryProfile) -> None:
    """More facts than one call takes arrive all the same, in order."""
    answer = await door.send("\n".join(map(str, range(2_500))))
    assert answer.headers["sima-accepted"] == "2500"
    assert max(profile.calls) <= 1_000
    assert len(profile.ids()) == 2_500


async def test_facts_are_buffered_while_the_profile_service_is_away(
    door: Door, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """The channel is answered as ever; the facts follow in their order once the service is back."""
    await door.send("0")
    await switch.unplug()
    for n in range(1, 6):
        answer = await door.send(f"{n}")
        assert (answer.status_code, answer.headers["sima-buffered"]) == (200, "1")
    await switch.plug_in()
    await eventually(lambda: profile.ids() == [f"m{n}" for n in range(6)])
    await eventually(lambda: not door.collector.store.spool.room.used)
    assert (await door.send("6")).headers["sima-accepted"] == "1"


async def test_the_buffer_survives_a_restart(
    settings: MakeSettings, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """What an earlier process buffered is sent on by the next."""
    await switch.unplug()
    async with opened(settings()) as door:
        await door.send("1\n2")
    await switch.plug_in()
    async with opened(settings()):
        await eventually(lambda: profile.ids() == ["m1", "m2"])


async def test_stopping_empties_the_buffer_if_it_can(
    settings: MakeSettings, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """Facts that are on their way when the collector stops arrive before it ends."""
    async with opened(settings()) as door:
        profile.hold.clear()
        sending = asyncio.create_task(door.send("1"))
        await eventually(lambda: profile.waiting > 0)
        profile.hold.set()
    assert profile.ids() == ["m1"]
    assert (await sending).status_code == 200


async def test_a_full_buffer_answers_503_and_takes_again_afterwards(
    settings: MakeSettings, open_door: OpenDoor, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """Nothing is acknowledged that does not fit, and nothing acknowledged is lost."""
    door = await open_door(settings(buffer_bytes=1_000))
    room = door.collector.store.spool.room
    await switch.unplug()
    assert (await door.send("0")).status_code == 200
    room.limit = 3 * room.used + room.used // 2
    assert [(await door.send(f"{n}")).status_code for n in range(1, 3)] == [200, 200]
    assert (await door.client.get("/readyz")).status_code == 200
    assert [(await door.send(f"{n}")).status_code for n in range(3, 6)] == [503, 503, 503]
    unready = await door.client.get("/readyz")
    assert (unready.status_code, unready.json()["missing"]) == (503, ["buffer"])
    await switch.plug_in()
    await eventually(lambda: profile.ids() == ["m0", "m1", "m2"] and not room.used)
    assert (await door.client.get("/readyz")).status_code == 200
    assert (await door.send("9")).status_code == 200


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    ],
)
async def test_whatever_fails_downstream_is_waited_for(
    door: Door, profile: MemoryProfile, code: grpc.StatusCode
) -> None:
    """An outage, an overload, a fault and a wrong credential all end one day, and no fact is refused for them."""
    profile.failure = code
    answers = [await door.send(f"{n}") for n in range(5)]
    assert {answer.headers["sima-buffered"] for answer in answers} == {"1"}
    await asyncio.sleep(1.5)
    profile.failure = None
    await eventually(lambda: sorted(profile.ids()) == [f"m{n}" for n in range(5)])
    assert await door.refusals() == []


async def test_a_call_that_takes_too_long_is_buffered_and_stored_once(
    settings: MakeSettings, open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """Nobody knows whether it was stored, so it is sent again, and its identity keeps it single."""
    door = await open_door(settings(ingest_seconds=2.0))
    profile.hold.clear()
    assert (await door.send("1")).headers["sima-buffered"] == "1"
    profile.hold.set()
    await eventually(lambda: not door.collector.store.spool.room.used)
    assert profile.facts == {("main", "m1"): 1}


async def test_a_fact_at_which_calls_fail_holds_up_nobody(door: Door, profile: MemoryProfile) -> None:
    """It is found among thousands, refused with the reason, and the others are stored."""
    profile.poison |= {"m7", "m1234"}
    answer = await door.send("\n".join(map(str, range(2_000))))
    assert answer.status_code == 200
    await eventually(lambda: len(profile.ids()) == 1_998)
    await eventually(lambda: not door.collector.store.spool.room.used)
    stored = await door.refusals()
    assert {one["message_id"] for one in stored} == {"m7", "m1234"}
    assert all(one["reason"].startswith("the profile service failed at this fact") for one in stored)


async def test_a_fact_without_an_outcome_is_not_taken_for_stored(door: Door, profile: MemoryProfile) -> None:
    """Nobody knows what became of it, so it is kept as refused, and the others are stored."""
    profile.odd.add("m2")
    assert (await door.send("1\n2\n3")).headers["sima-buffered"] == "3"
    await eventually(lambda: not door.collector.store.spool.room.used)
    assert profile.ids() == ["m1", "m3"]
    assert [one["message_id"] for one in await door.refusals()] == ["m2"]


async def test_facts_that_are_too_many_for_a_call_arrive_in_smaller_ones(door: Door, profile: MemoryProfile) -> None:
    """A batch that can never go through as a whole is halved until its parts do, and nothing is refused."""
    profile.most = 3
    assert (await door.send("\n".join(map(str, range(20))))).headers["sima-buffered"] == "20"
    await eventually(lambda: not door.collector.store.spool.room.used)
    assert profile.ids() == [f"m{n}" for n in range(20)]
    assert await door.refusals() == []


async def test_a_fact_at_which_calls_never_end_holds_up_nobody(
    settings: MakeSettings, open_door: OpenDoor, profile: MemoryProfile
) -> None:
    """It is refused because those around it get through, and the workspace is no longer blocked."""
    door = await open_door(settings(ingest_seconds=2.0))
    profile.stuck.add("m3")
    await door.send("\n".join(map(str, range(6))))
    await eventually(lambda: not door.collector.store.spool.room.used)
    assert sorted(profile.ids()) == ["m0", "m1", "m2", "m4", "m5"]
    (stored,) = await door.refusals()
    assert stored["message_id"] == "m3"
    assert stored["reason"].startswith("the profile service failed at this fact: the deadline passed")
    assert (await door.send("7")).headers["sima-accepted"] == "1"


async def test_facts_that_fail_alone_wait_for_a_sign_of_life(door: Door, profile: MemoryProfile) -> None:
    """While nothing at all goes well it is not their fault; the first success shows that it is."""
    profile.poison |= {"m1", "m2", "m3", "m4"}
    await door.send("1\n2\n3\n4")
    await asyncio.sleep(2)
    assert await door.refusals() == []
    await door.send("5")
    await eventually(lambda: not door.collector.store.spool.room.used)
    assert {one["message_id"] for one in await door.refusals()} == {"m1", "m2", "m3", "m4"}
    assert profile.ids() == ["m5"]


async def test_what_is_refused_after_the_buffer_is_stored_with_its_reason(
    door: Door, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """The channel was answered long ago; the administrator still sees it."""
    await switch.unplug()
    profile.refuse.add("m2")
    assert (await door.send("1\n2\n3")).headers["sima-buffered"] == "3"
    await switch.plug_in()
    await eventually(lambda: profile.ids() == ["m1", "m3"])
    await eventually(lambda: not door.collector.store.spool.room.used)
    (stored,) = await door.refusals()
    assert (stored["message_id"], stored["reason"]) == ("m2", "occurred_at: must not lie ahead")


async def test_a_fact_without_a_time_happened_when_it_came_to_the_collector(
    door: Door, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """However long it stays in the buffer; so what was said before it never overrules what was said after."""
    await switch.unplug()
    line = {"id": "m1", "identifiers": [["user_id", "u1"]], "timeless": True}
    await door.send(json.dumps(line))
    taken = datetime.now(UTC)
    await asyncio.sleep(0.1)
    await switch.plug_in()
    await eventually(lambda: profile.ids() == ["m1"])
    (fact,) = profile.received
    assert not fact.HasField("occurred_at")
    assert taken - timedelta(minutes=1) < fact.received_at.ToDatetime(UTC) < taken


async def test_a_full_room_for_refusals_holds_up_no_fact_in_the_buffer(
    settings: MakeSettings, open_door: OpenDoor, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """What the profile service refuses is kept as the newest, and the facts around it are stored."""
    door = await open_door(settings(refusal_bytes=1_000))
    assert (await door.send("{" + "x" * 900)).status_code == 400
    profile.refuse.add("m2")
    await switch.unplug()
    await door.send("1\n2\n3")
    await switch.plug_in()
    await eventually(lambda: profile.ids() == ["m1", "m3"] and not door.collector.store.spool.room.used)
    assert [one["message_id"] for one in await door.refusals()] == ["m2"]
