"""The collector's own disk: buffered facts, refused payloads (`refusals`), checkpoints of imports.

One SQLite file in WAL mode with `synchronous=FULL`: what a method has returned from is on disk. One thread owns the
connection, and the work of all callers that wait for it shares a transaction, so they also share the cost of a sync.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sima_runtime.errors import OverloadedError

from sima_collector.facts import MOST_BYTES, MOST_FACTS, Chunk, Refused
from sima_collector.models import open_file
from sima_collector.rooms import Claim, Disk, Room
from sima_collector.store.refusals import Refusals, now, used_bytes

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A chunk in the buffer, under the number that says its place in the order."""

    id: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far an import is: the connector's own mark, and the counts up to there (JSON)."""

    position: str
    totals: str


@dataclass(slots=True)
class _Work:
    """What a caller wants done in a transaction, and how to take its side effects back if that fails."""

    run: Callable[[sqlite3.Connection], Any]
    undo: Callable[[], None]
    future: asyncio.Future[Any]


class Store:
    """Opens the file and hands out its three parts: `spool`, `refusals` and `checkpoints`.

    Raises:
        FixConfigurationError: The directory cannot be written, another process uses it, or a newer version made it.
    """

    def __init__(self, directory: Path, spool_bytes: int, refusal_bytes: int) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._db = self._thread.submit(open_file, directory).result()
            sizes = self._thread.submit(_sizes, self._db).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self.disk = Disk(directory)
        self._waiting: list[_Work] = []
        self._committing: asyncio.Task[None] | None = None
        self.spool = Spool(self, Room("buffer", spool_bytes, sizes[0]))
        self.refusals = Refusals(self.run, self.disk, Room("refusals", refusal_bytes, sizes[1]))
        self.checkpoints = Checkpoints(self)

    async def run(self, work: Callable[[sqlite3.Connection], T], undo: Callable[[], None] = lambda: None) -> T:
        """Run `work` in a transaction and return its result once that is on disk; call `undo` if it does not get there.

        Raises:
            OverloadedError: The disk is full or broken, or the work says so of its room.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Work(work, undo, future))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_waiting())
        return await future

    async def close(self) -> None:
        """Finish what is waiting and close the file."""
        if self._committing is not None:
            await self._committing
        await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown()

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await loop.run_in_executor(self._thread, self._transact, batch)
            except Exception:  # noqa: BLE001 - whatever it was, nobody may wait for ever
                _log.exception("store_crashed")
                results = [OverloadedError("disk")] * len(batch)
            for work, result in zip(batch, results, strict=True):
                _resolve(work.future, result)

    def _transact(self, batch: Sequence[_Work]) -> Sequence[object]:
        try:
            self.disk.begin()
            self._db.execute("BEGIN IMMEDIATE")
            results = [self._attempt(work) for work in batch]
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, each caller must hear of it
            _log.error("store_failed", error=str(error) if isinstance(error, sqlite3.Error) else type(error).__name__)
            self._roll_back()
            for work in batch:
                work.undo()
            return [OverloadedError("disk")] * len(batch)
        return results

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:  # then the next transaction cannot begin, and tries again
            _log.error("rollback_failed", error=str(error))

    def _attempt(self, work: _Work) -> object:
        """Run one caller's work so that its failure undoes nothing of the others'."""
        self._db.execute("SAVEPOINT work")
        try:
            result = work.run(self._db)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - its own caller gets it
            self._db.execute("ROLLBACK TO work")
            work.undo()
            self._db.execute("RELEASE work")
            return error
        self._db.execute("RELEASE work")
        return result


class Spool:
    """Facts that wait for the profile service, in the order in which they came."""

    def __init__(self, store: Store, room: Room) -> None:
        self._store, self.room = store, room

    async def put(self, chunks: Sequence[Chunk]) -> None:
        """Append chunks; they are on disk afterwards.

        Raises:
            OverloadedError: The buffer or the disk is full; nothing was appended.
        """
        claim, size = Claim(self.room), sum(len(chunk.data) for chunk in chunks)
        claim.take(size)
        rows = [(chunk.workspace, chunk.source, chunk.facts, chunk.data) for chunk in chunks]

        def work(db: sqlite3.Connection) -> None:
            self._store.disk.require(size)
            db.executemany("INSERT INTO spool (workspace, source, facts, data) VALUES (?, ?, ?, ?)", rows)

        await self._store.run(work, claim.undo)

    async def workspaces(self) -> list[str]:
        """The workspaces that have facts waiting."""
        return await self._store.run(
            lambda db: [name for (name,) in db.execute("SELECT DISTINCT workspace FROM spool")]
        )

    async def head(self, workspace: str) -> list[Spooled]:
        """The oldest chunks of a workspace, as many as one call can carry but at least one; empty if none waits."""
        return await self._store.run(lambda db: _head(db, workspace))

    async def settle(self, done: Sequence[Spooled], refused: Sequence[Refused]) -> None:
        """Remove chunks that the profile service has answered, and keep what it refused of them, in one step.

        Raises:
            OverloadedError: The disk is full or broken; nothing was removed.
        """
        refusals, numbers = self._store.refusals, [(row.id,) for row in done]

        def work(db: sqlite3.Connection) -> Counter[str]:
            db.executemany("DELETE FROM spool WHERE id = ?", numbers)
            return refusals.insert(db, refused)

        await refusals.make_room(refused)
        refusals.tell(await self._store.run(work))
        self.room.give_back(sum(len(row.chunk.data) for row in done))


class Checkpoints:
    """How far each unfinished import is."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: bytes) -> Checkpoint | None:
        """The checkpoint of an import; None if it never began or was finished."""
        row = await self._store.run(
            lambda db: db.execute("SELECT position, totals FROM checkpoints WHERE key = ?", (key,)).fetchone()
        )
        return None if row is None else Checkpoint(*row)

    async def put(self, key: bytes, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint of an import."""
        row = (key, checkpoint.position, checkpoint.totals, now())
        await self._store.run(lambda db: db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)", row))

    async def finish(self, key: bytes) -> None:
        """Forget the checkpoint of an import that is complete."""
        await self._store.run(lambda db: db.execute("DELETE FROM checkpoints WHERE key = ?", (key,)))

    async def expire(self, older_than: int) -> None:
        """Forget imports that nobody went on with since an instant (microseconds since 1970)."""
        await self._store.run(lambda db: db.execute("DELETE FROM checkpoints WHERE at < ?", (older_than,)))


def _sizes(db: sqlite3.Connection) -> tuple[int, int]:
    (waiting,) = db.execute("SELECT coalesce(sum(length(data)), 0) FROM spool").fetchone()
    return waiting, used_bytes(db)


def _head(db: sqlite3.Connection, workspace: str) -> list[Spooled]:
    """Choose by size before reading any data: a thousand chunks may be more than fits into memory."""
    facts = size = last = 0
    for number, more_facts, more_bytes in db.execute(
        "SELECT id, facts, length(data) FROM spool WHERE workspace = ? ORDER BY id LIMIT ?", (workspace, MOST_FACTS)
    ):
        facts, size = facts + more_facts, size + more_bytes
        if last and (facts > MOST_FACTS or size > MOST_BYTES):
            break
        last = number
    rows = db.execute(
        "SELECT id, workspace, source, facts, data FROM spool WHERE workspace = ? AND id <= ? ORDER BY id",
        (workspace, last),
    )
    return [Spooled(number, Chunk(*columns)) for number, *columns in rows]


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
