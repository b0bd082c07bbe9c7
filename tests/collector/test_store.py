"""The collector's own disk."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sima_collector import models
from sima_collector.facts import MOST_FACTS, Chunk, Refused
from sima_collector.rooms import Disk
from sima_collector.store import Checkpoint, Store
from sima_collector.store.refusals import now
from sima_runtime.errors import FixConfigurationError, OverloadedError
from structlog.testing import CapturingLogger


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with room for 10,000 bytes of facts, and ten refusals of a thousand bytes each."""
    opened = Store(tmp_path, spool_bytes=10_000, refusal_bytes=10 * room_of(refused(b"x" * 1_000)))
    yield opened
    await opened.close()


def chunk(data: bytes, workspace: str = "main", facts: int = 1) -> Chunk:
    """A chunk of some source."""
    return Chunk(workspace, "web", facts, data)


def refused(raw: bytes, reason: str = "expected JSON") -> Refused:
    """A refused payload of some source."""
    return Refused("main", "web", reason, raw)


def room_of(*kept: Refused) -> int:
    """How much room refusals take."""
    return sum(len(one.raw) + len((one.reason + one.message_id).encode()) + 256 for one in kept)


async def test_the_buffer_keeps_the_order_of_each_workspace(store: Store) -> None:
    """Facts leave in the order in which they came."""
    await asyncio.gather(*(store.spool.put([chunk(f"{n}".encode())]) for n in range(20)))
    await store.spool.put([chunk(b"other", workspace="other")])
    assert [row.chunk.data for row in await store.spool.head("main")] == [f"{n}".encode() for n in range(20)]
    assert sorted(await store.spool.workspaces()) == ["main", "other"]


async def test_one_call_carries_at_most_a_thousand_facts(store: Store) -> None:
    """Chunks are joined up to what one call takes, and a chunk that is larger goes alone."""
    await store.spool.put([chunk(b"a", facts=600), chunk(b"b", facts=400), chunk(b"c", facts=1)])
    head = await store.spool.head("main")
    assert [row.chunk.data for row in head] == [b"a", b"b"]
    await store.spool.settle(head, [])
    await store.spool.put([chunk(b"d", workspace="big", facts=MOST_FACTS + 1), chunk(b"e", workspace="big")])
    assert [row.chunk.data for row in await store.spool.head("big")] == [b"d"]


async def test_a_full_buffer_says_so_and_has_room_again_when_facts_left(store: Store) -> None:
    """The buffer never grows over its limit and never drops a fact to make room."""
    await store.spool.put([chunk(b"x" * 9_000)])
    with pytest.raises(OverloadedError):
        await store.spool.put([chunk(b"y" * 1_001)])
    await store.spool.settle(await store.spool.head("main"), [])
    await store.spool.put([chunk(b"y" * 1_001)])
    assert store.spool.room.used == 1_001


async def test_a_buffer_is_full_only_if_it_will_be_emptier(store: Store) -> None:
    """What is larger than the whole buffer says nothing about the room for others."""
    with pytest.raises(OverloadedError):
        await store.spool.put([chunk(b"x" * 10_001)])
    assert not store.spool.room.full


async def test_a_full_disk_takes_nothing_new_and_lets_all_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """To remove what was sent on takes room on the disk, too: what comes leaves it free."""
    await store.spool.put([chunk(b"x" * 100)])
    monkeypatch.setattr(Disk, "RESERVE", 1 << 62)
    with pytest.raises(OverloadedError, match="disk"):
        await store.spool.put([chunk(b"y" * 100)])
    with pytest.raises(OverloadedError, match="disk"):
        await store.refusals.put([refused(b"z" * 100)])
    head = await store.spool.head("main")
    assert [row.chunk.data for row in head] == [b"x" * 100]
    await store.spool.settle(head, [refused(b"x" * 100)])
    assert (store.spool.room.used, await store.spool.head("main")) == (0, [])
    assert [one.refused.raw for one in await store.refusals.page("", "", 1 << 60, 9)] == [b"x" * 100]


def test_what_comes_in_one_transaction_counts_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands on the disk twice for a while, in the log and in the tables."""
    monkeypatch.setattr(Disk, "RESERVE", 0)
    disk, free = Disk(tmp_path), shutil.disk_usage(tmp_path).free
    disk.require(free // 4)
    with pytest.raises(OverloadedError):
        disk.require(free // 3)
    disk.begin()
    disk.require(free // 3)


async def test_facts_leave_the_buffer_together_with_what_was_refused_of_them(store: Store) -> None:
    """What cannot be kept as refused leaves the facts where they are."""
    await store.spool.put([chunk(b"fact")])
    head = await store.spool.head("main")
    with pytest.raises(UnicodeEncodeError):
        await store.spool.settle(head, [refused(b"good"), refused(b"bad", reason="\ud800")])
    assert await store.spool.head("main") == head
    assert await store.refusals.page("", "", now(), 10) == []
    await store.spool.settle(head, [refused(b"good")])
    assert await store.spool.head("main") == []
    assert [one.refused.raw for one in await store.refusals.page("", "", now(), 10)] == [b"good"]


async def test_one_callers_failure_undoes_nothing_of_the_others(store: Store) -> None:
    """Callers share a transaction and still have fates of their own."""
    results = await asyncio.gather(
        store.refusals.put([refused(b"good")]),
        store.refusals.put([refused(b"bad", reason="\ud800")]),
        store.refusals.put([refused(b"also good")]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), UnicodeEncodeError, type(None)]
    assert store.refusals.room.used == room_of(refused(b"good"), refused(b"also good"))


async def test_who_fills_the_room_for_refusals_loses_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one source sends, what others were refused stays; of its own the newest stay, and the log says so."""
    log = CapturingLogger()
    monkeypatch.setattr("sima_collector.store.refusals._log", log)
    await store.refusals.put([Refused("other", "shop", "too much text", b"s" * 1_000)])
    for n in range(20):
        await store.refusals.put([refused(b"%02d" % n * 500)])
    stored = [one.refused for one in await store.refusals.page("", "", now(), 100)]
    assert [one.source for one in stored] == ["web"] * 9 + ["shop"]
    assert [one.raw[:2] for one in stored[:9]] == [b"%02d" % n for n in range(19, 10, -1)]
    assert store.refusals.room.used == 10 * room_of(refused(b"x" * 1_000))
    assert [call.kwargs for call in log.calls] == [{"source": "web", "count": 1}] * 11


async def test_a_crowd_makes_room_for_a_large_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, no more than must, and a fact that comes meanwhile need not wait until all are gone."""
    log, small = CapturingLogger(), [refused(b"%04d" % n) for n in range(5_000)]
    monkeypatch.setattr("sima_collector.store.refusals._log", log)
    store = Store(tmp_path, spool_bytes=1, refusal_bytes=room_of(*small))
    await store.refusals.put(small)
    large = refused(b"x" * 1_000_000)
    coming = asyncio.create_task(store.refusals.put([large]))
    await asyncio.sleep(0)
    await store.spool.put([chunk(b"f")])
    assert not coming.done()
    await coming
    left = (room_of(*small) - room_of(large)) // room_of(small[0])
    stored = await store.refusals.page("", "", now(), 10_000)
    assert stored[0].size == len(large.raw)
    assert [int(one.refused.raw) for one in stored[1:]] == list(range(5_000))[::-1][:left]
    assert sum(call.kwargs["count"] for call in log.calls) == 5_000 - left
    assert len(log.calls) <= 6
    await store.close()


async def test_sources_that_take_as_much_make_room_alike(tmp_path: Path) -> None:
    """When a third brings a large one, both go down to the same, and who takes far less loses nothing."""
    trifle = [Refused("main", "trifle", "no", b"%04d" % n) for n in range(50)]
    alike = [Refused("main", name, "no", b"%04d" % n) for n in range(2_000) for name in ("shop", "till")]
    store = Store(tmp_path, spool_bytes=1, refusal_bytes=room_of(*trifle, *alike))
    await store.refusals.put([*trifle, *alike])
    await store.refusals.put([Refused("main", "web", "no", b"x" * 300_000)])
    kept = Counter(one.refused.source for one in await store.refusals.page("", "", now(), 10_000))
    assert (kept["trifle"], kept["web"]) == (50, 1)
    assert abs(kept["shop"] - kept["till"]) <= 1
    assert store.refusals.room.limit - 2 * room_of(alike[0]) < store.refusals.room.used <= store.refusals.room.limit
    await store.close()


async def test_a_large_refusal_that_comes_again_displaces_nothing(tmp_path: Path) -> None:
    """It is counted only, though the room is full."""
    kept = [refused(b"old"), refused(b"x" * 1_000_000)]
    store = Store(tmp_path, spool_bytes=1, refusal_bytes=room_of(*kept))
    for some in (kept[:1], [kept[1], kept[1]], kept[1:]):
        await store.refusals.put(some)
    assert [one.times for one in await store.refusals.page("", "", now(), 10)] == [3, 1]
    await store.close()


async def test_a_refusal_that_never_fits_costs_others_nothing(store: Store) -> None:
    """It goes itself, and of its own source only."""
    await store.refusals.put([Refused("other", "shop", "no", b"kept")])
    await store.refusals.put([refused(b"x" * 1_000_000)])
    assert [one.refused.raw for one in await store.refusals.page("", "", now(), 10)] == [b"kept"]


async def test_small_refusals_fill_the_disk_no_more_than_large_ones(tmp_path: Path) -> None:
    """What a refusal takes beside its payload counts, so nobody fills the disk with empty ones."""
    store = Store(tmp_path, spool_bytes=1, refusal_bytes=500_000)
    for n in range(0, 5_000, 50):
        await store.refusals.put([refused(b"%d" % number) for number in range(n, n + 50)])
    await store.close()
    assert (tmp_path / "collector.db").stat().st_size < 1_000_000


async def test_a_file_of_an_earlier_version_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in it is still there, and what was refused counts against the room."""
    with monkeypatch.context() as patch:
        patch.setattr(models, "_VERSIONS", models._VERSIONS[:1])
        db = models.open_file(tmp_path)
    db.execute("INSERT INTO spool VALUES (1, 'main', 'web', 1, x'00')")
    db.execute("INSERT INTO refusals VALUES (1, x'00', 'main', 'web', 'no', '', 1, 1, 1, x'0000')")
    db.close()
    store = Store(tmp_path, spool_bytes=100, refusal_bytes=300)
    assert (store.spool.room.used, store.refusals.room.used) == (1, room_of(refused(b"\0\0", reason="no")))
    await store.refusals.put([refused(b"ab")])
    assert [one.refused.raw for one in await store.refusals.page("", "", now(), 10)] == [b"ab"]
    await store.close()


async def test_the_same_refusal_is_counted_and_not_doubled(store: Store) -> None:
    """A channel that repeats a bad payload for days does not fill the disk."""
    for _ in range(3):
        await store.refusals.put([refused(b"same")])
    await store.refusals.put([refused(b"same", reason="another")])
    stored = await store.refusals.page("", "", now(), 10)
    assert [(one.refused.reason, one.times) for one in stored] == [("another", 1), ("expected JSON", 3)]
    assert stored[1].first_at < stored[1].last_at


async def test_refusals_are_paged_newest_first_and_filtered(store: Store) -> None:
    """A reader asks for one workspace or one source and goes on where the page before ended."""
    for n in range(5):
        await store.refusals.put([Refused("main", "web" if n % 2 else "shop", "no", f"{n}".encode())])
    await store.refusals.put([Refused("other", "web", "no", b"foreign")])
    first = await store.refusals.page("main", "", now(), 2)
    rest = await store.refusals.page("main", "", first[-1].id, 10)
    assert [one.refused.raw for one in first + rest] == [b"4", b"3", b"2", b"1", b"0"]
    assert [one.refused.raw for one in await store.refusals.page("main", "shop", now(), 10)] == [b"4", b"2", b"0"]
    assert await store.refusals.get(first[0].id) == first[0]
    assert await store.refusals.get(10_000) is None


async def test_old_refusals_leave_and_give_their_room_back(store: Store) -> None:
    """What is older than the retention goes, and how much went is told."""
    before = now()
    await store.refusals.put([refused(b"old")])
    assert await store.refusals.expire(before) == 0
    assert await store.refusals.expire(now() + 1) == 1
    assert store.refusals.room.used == 0


async def test_refusals_can_be_removed(store: Store) -> None:
    """Of one source, of one workspace, or all; they give their room back, however many they are."""
    for n in range(40):
        await store.refusals.put([refused(f"{n}".encode())])
    kept = Refused("other", "shop", "no", b"kept")
    await store.refusals.put([kept])
    assert await store.refusals.remove("other", "web") == 0
    assert await store.refusals.remove("", "web") == 40
    assert store.refusals.room.used == room_of(kept)
    assert await store.refusals.remove("other", "") == 1
    assert store.refusals.room.used == 0


async def test_an_import_remembers_how_far_it_is_until_it_is_finished(store: Store) -> None:
    """The latest checkpoint counts; a finished or forgotten import has none."""
    key = b"k"
    assert await store.checkpoints.get(key) is None
    await store.checkpoints.put(key, Checkpoint("1", "{}"))
    await store.checkpoints.put(key, Checkpoint("2", "{}"))
    assert await store.checkpoints.get(key) == Checkpoint("2", "{}")
    await store.checkpoints.finish(key)
    assert await store.checkpoints.get(key) is None
    await store.checkpoints.put(key, Checkpoint("3", "{}"))
    await store.checkpoints.expire(now() + 1)
    assert await store.checkpoints.get(key) is None


async def test_removed_rows_give_their_space_back_to_the_file_system(tmp_path: Path) -> None:
    """After an outage the file shrinks again."""
    store = Store(tmp_path, spool_bytes=1 << 30, refusal_bytes=1_000)
    await store.spool.put([chunk(b"x" * 4_000_000)])
    await store.spool.settle(await store.spool.head("main"), [])
    await store.close()
    assert (tmp_path / "collector.db").stat().st_size < 1_000_000


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Facts, refusals, and how much room they take are read back from the file."""
    store = Store(tmp_path, spool_bytes=100, refusal_bytes=1_000)
    await store.spool.put([chunk(b"fact")])
    await store.refusals.put([refused(b"bad")])
    await store.close()
    again = Store(tmp_path, spool_bytes=100, refusal_bytes=1_000)
    assert [row.chunk for row in await again.spool.head("main")] == [chunk(b"fact")]
    assert (again.spool.room.used, again.refusals.room.used) == (4, room_of(refused(b"bad")))
    await again.close()


def test_a_first_start_that_fails_in_the_middle_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or a crash while the file is made leaves nothing in the way of the next start."""
    with monkeypatch.context() as patch:
        patch.setattr(models, "_VERSIONS", (*models._VERSIONS, "CREATE TABLE spool (id);"))
        with pytest.raises(FixConfigurationError):
            Store(tmp_path, spool_bytes=1, refusal_bytes=1)
    asyncio.run(Store(tmp_path, spool_bytes=1, refusal_bytes=1).close())


async def test_a_directory_belongs_to_one_process(store: Store, tmp_path: Path) -> None:
    """A second collector on the same buffer stops at its start and says why."""
    await store.spool.put([chunk(b"mine")])
    with pytest.raises(FixConfigurationError, match="for this process alone"):
        Store(tmp_path, spool_bytes=1, refusal_bytes=1)


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    """What waits in the buffer is personal data."""
    directory = tmp_path / "data"
    asyncio.run(Store(directory, spool_bytes=1, refusal_bytes=1).close())
    assert directory.stat().st_mode & 0o077 == 0
    assert (directory / "collector.db").stat().st_mode & 0o077 == 0


_WRITER = """
import asyncio, sys
from pathlib import Path
from sima_collector.facts import Chunk
from sima_collector.store import Store

async def main():
    store = Store(Path(sys.argv[1]), 1 << 30, 1)
    n = 0
    while True:
        await asyncio.gather(*(store.spool.put([Chunk("main", "web", 1, str(n + i).encode())]) for i in range(3)))
        n += 3
        print(n, flush=True)

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A process killed while it writes leaves every chunk whose writing had returned, once and in order."""
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = 0
    while acknowledged < 60:
        acknowledged = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    acknowledged = max([acknowledged, *map(int, rest.split())])

    async def read() -> list[int]:
        store = Store(tmp_path, 1 << 30, 1)
        found: list[int] = []
        while head := await store.spool.head("main"):
            found += [int(row.chunk.data) for row in head]
            await store.spool.settle(head, [])
        await store.close()
        return found

    found = asyncio.run(read())
    assert found == list(range(len(found)))
    assert len(found) >= acknowledged
