"""The batcher on its own: whoever hands facts over is answered, and what waits for a call is bounded."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from sima.profile.v1.profile_service_pb2 import IngestRequest
from sima.type.v1.fact_pb2 import Fact
from sima_collector import draining
from sima_collector.batcher import Batcher, BatchLimits
from sima_collector.draining import Drainer
from sima_collector.facts import Chunk, Refused, Report, refused_facts
from sima_collector.keeper import Keeper
from sima_collector.messages import Parsed
from sima_collector.redaction import Redaction
from sima_collector.store import Spooled, Store
from sima_runtime.errors import DependencyUnavailableError, OverloadedError, RemoteError

from tests.collector.conftest import eventually


@dataclass
class MemoryIngest:
    """Stores facts in memory, once it is free to; or fails with an error."""

    failure: Exception | None = None
    free: asyncio.Event = field(default_factory=asyncio.Event)
    chunks: list[Chunk] = field(default_factory=list)

    async def send(self, workspace: str, chunks: Sequence[Chunk]) -> list[Report]:
        """Store facts, or fail."""
        if self.failure is not None:
            raise self.failure
        await self.free.wait()
        self.chunks += chunks
        return [Report(accepted=chunk.facts) for chunk in chunks]

    def succeeded(self, workspace: str) -> int:
        """How many facts were stored."""
        return len(self.chunks)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with room for a buffer."""
    opened = Store(tmp_path, spool_bytes=1_000_000, refusal_bytes=1_000)
    yield opened
    await opened.close()


@pytest.fixture
def ingest() -> MemoryIngest:
    """The profile service."""
    return MemoryIngest()


@pytest.fixture
async def batcher(store: Store, ingest: MemoryIngest) -> AsyncIterator[Batcher]:
    """A batcher with one call at a time."""
    drainer = Drainer(ingest, store.spool)
    yield Batcher(ingest, store.spool, drainer, BatchLimits(calls=1))
    await drainer.stop()


def chunk(name: str) -> Chunk:
    """A chunk of one fact."""
    return Chunk("main", "web", 1, IngestRequest(facts=[Fact(message_id=name)]).SerializeToString())


async def test_what_is_refused_behind_the_buffer_is_counted(
    store: Store, ingest: MemoryIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert on refusals hears of those after an outage, too."""
    [refused], counted = refused_facts(chunk("a"), {0: "no"}), list[Refused]()
    monkeypatch.setattr(draining, "count_refusals", counted.extend)
    monkeypatch.setattr(ingest, "send", AsyncMock(return_value=[Report(refused=[refused])]))
    await store.spool.put([chunk("a")])
    drainer = Drainer(ingest, store.spool)
    drainer.wake("main")
    await drainer.idle()
    assert counted == [refused]


async def test_a_surprise_at_sending_leaves_the_facts_in_the_buffer(batcher: Batcher, ingest: MemoryIngest) -> None:
    """Nobody knows what went wrong, so the facts are kept and their caller is answered."""
    ingest.failure = KeyError("nobody foresaw this")
    async with asyncio.timeout(10):
        assert (await batcher.deliver([chunk("a")])).buffered == 1


@pytest.mark.parametrize("failure", [OverloadedError("disk"), KeyError("nobody foresaw this")])
async def test_a_buffer_that_cannot_be_read_for_a_moment_is_emptied_all_the_same(
    store: Store, ingest: MemoryIngest, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Whoever could not look for facts looks again, without being woken by others."""
    head, failures = store.spool.head, [failure]

    async def failing_once(workspace: str) -> list[Spooled]:
        if failures:
            raise failures.pop()
        return await head(workspace)

    monkeypatch.setattr(store.spool, "head", failing_once)
    await store.spool.put([chunk("a")])
    ingest.free.set()
    drainer = Drainer(ingest, store.spool)
    drainer.wake("main")
    await eventually(lambda: not store.spool.room.used)
    assert ingest.chunks == [chunk("a")]
    await drainer.stop()


@dataclass
class Outage(MemoryIngest):
    """Fails at everything; but when it had failed once, one call that was under way elsewhere ended well."""

    tries: int = 0

    async def send(self, workspace: str, chunks: Sequence[Chunk]) -> list[Report]:
        """Fail."""
        self.tries += 1
        raise RemoteError("profile", "INTERNAL")

    def succeeded(self, workspace: str) -> int:
        """How many calls went well."""
        return min(self.tries, 1)


async def test_what_went_well_when_an_outage_began_is_no_proof_against_a_fact(store: Store) -> None:
    """Only while others go well is a fact to blame for its failure."""
    outage = Outage()
    drainer = Drainer(outage, store.spool)
    await store.spool.put([chunk("a")])
    drainer.wake("main")
    await eventually(lambda: outage.tries >= 6)
    await drainer.stop()
    assert [row.chunk for row in await store.spool.head("main")] == [chunk("a")]
    assert store.refusals.room.used == 0


async def test_what_has_no_room_leaves_no_refusal(
    batcher: Batcher, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again as a whole, and its refused parts would be counted with every try."""
    monkeypatch.setattr(batcher, "deliver", AsyncMock(side_effect=OverloadedError("buffer")))
    keeper = Keeper(batcher, store.refusals, Redaction([]))
    with pytest.raises(OverloadedError):
        await keeper.keep(Parsed((chunk("a"),), tuple(refused_facts(chunk("b"), {0: "no"}))))
    assert store.refusals.room.used == 0


async def test_a_surprise_at_buffering_is_told_to_who_waits(
    batcher: Batcher, ingest: MemoryIngest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be kept nowhere is not acknowledged, and its caller does not wait for ever."""

    async def put(_: object) -> None:
        raise KeyError("nobody foresaw this")

    ingest.failure = DependencyUnavailableError("profile")
    monkeypatch.setattr(store.spool, "put", put)
    async with asyncio.timeout(10):
        with pytest.raises(KeyError):
            await batcher.deliver([chunk("a"), chunk("b")])


async def test_a_surprise_in_the_lane_itself_answers_all_and_costs_nothing_later(
    batcher: Batcher, ingest: MemoryIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers are told to come again, and what comes then is stored."""
    ingest.free.set()
    with monkeypatch.context() as patched:
        patched.setattr(Drainer, "blocked", lambda *_: 1 / 0)
        async with asyncio.timeout(10):
            with pytest.raises(OverloadedError):
                await batcher.deliver([chunk("a")])
    assert (await batcher.deliver([chunk("a")])).accepted == 1


async def test_facts_whose_caller_has_gone_are_not_sent(batcher: Batcher, ingest: MemoryIngest) -> None:
    """Their sender was told to come again; what others sent beside them goes on."""
    first = asyncio.create_task(batcher.deliver([chunk("a")]))
    await eventually(lambda: bool(batcher._lanes) and bool(batcher._lanes["main"].running))
    gone = asyncio.create_task(batcher.deliver([chunk("b")]))
    last = asyncio.create_task(batcher.deliver([chunk("c")]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    ingest.free.set()
    assert [(await one).accepted for one in (first, last)] == [1, 1]
    assert ingest.chunks == [chunk("a"), chunk("c")]


async def test_no_more_waits_for_a_call_than_has_room(store: Store, ingest: MemoryIngest) -> None:
    """Who comes then is told to come again; room comes back with each caller that goes, and with each call."""
    limits = BatchLimits(calls=1, waiting_bytes=2 * len(chunk("a").data))
    batcher = Batcher(ingest, store.spool, Drainer(ingest, store.spool), limits)
    waiting = [asyncio.create_task(batcher.deliver([chunk("a")]))]
    await eventually(lambda: bool(batcher._lanes) and bool(batcher._lanes["main"].running))
    waiting += [asyncio.create_task(batcher.deliver([chunk(name)])) for name in "bc"]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await batcher.deliver([chunk("d")])
    waiting.pop().cancel()
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(batcher.deliver([chunk("e")])))
    await asyncio.sleep(0)
    ingest.free.set()
    assert [(await one).accepted for one in waiting] == [1, 1, 1]
    assert (await batcher.deliver([chunk("f")])).accepted == 1
    assert ingest.chunks == [chunk(name) for name in "abef"]


class BrokenConnection:
    """A connection to SQLite at which some statements fail."""

    def __init__(self, connection: sqlite3.Connection, *failing: str) -> None:
        self._connection, self.failing = connection, failing

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Fail, or do it."""
        if statement in self.failing:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *parameters)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


async def test_a_transaction_that_cannot_even_be_rolled_back_answers_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every caller is told to come again, and once the disk is sound the store works as before."""
    with monkeypatch.context() as patched:
        patched.setattr(store, "_db", BrokenConnection(store._db, "COMMIT", "ROLLBACK"))
        async with asyncio.timeout(10):
            both = [store.spool.put([chunk("a")]), store.spool.put([chunk("b")])]
            told = await asyncio.gather(*both, return_exceptions=True)
    assert [type(one) for one in told] == [OverloadedError, OverloadedError]
    with pytest.raises(OverloadedError):  # this one finds the transaction still open, and ends it
        await store.spool.put([chunk("c")])
    await store.spool.put([chunk("d")])
    assert [row.chunk for row in await store.spool.head("main")] == [chunk("d")]
    assert store.spool.room.used == len(chunk("d").data)
