"""Payloads that did not become facts, on the collector's own disk: within a limit, and each source within its share.

Anybody can send nonsense to a source that is open to browsers. So whoever fills the room makes its own oldest refusals
go, and neither those of other sources nor any fact.
"""

import asyncio
import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from sima_collector.facts import Refused
from sima_collector.metrics import refusals_evicted
from sima_collector.models import REFUSAL_SIZE
from sima_collector.rooms import Disk, Room

T = TypeVar("T")

# Longer raw payloads are not listed, only found one by one: a page of them may be more than fits into memory.
_LISTED_BYTES = 16 << 10
_ANY_BYTES = 1 << 40
# So many are removed in one transaction: they may be large, and everybody waits for its end.
_PORTION = 32
# So many come, or go for want of room, in one transaction; those that go are hardly larger than what comes.
_CROWD = 1_000
# Less displaces no more than a crowd of the smallest, and needs no transactions before its own.
_MUCH_BYTES = _CROWD * 256
# The oldest of a source, until they take the given bytes.
_OLDEST = f"""SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM
    (SELECT id, {REFUSAL_SIZE.format(row="refusals")} AS size FROM refusals WHERE source = ? ORDER BY id
     LIMIT {_CROWD}))
    WHERE before < ?"""
_SELECT = (
    "SELECT id, workspace, source, reason, CASE WHEN length(raw) <= ? THEN raw ELSE x'' END, message_id,"
    " first_at, last_at, times, length(raw) FROM refusals"
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoredRefusal:
    """A refused payload as it is kept.

    Attributes:
        id: Its number; later ones are greater.
        refused: The payload and the reason.
        first_at: When it came for the first time, in microseconds since 1970.
        last_at: When it came for the last time.
        times: How often the same bytes came and were refused for the same reason.
        size: Length of the raw payload in bytes.
    """

    id: int
    refused: Refused
    first_at: int
    last_at: int
    times: int
    size: int


class Run(Protocol):
    """Runs work in a transaction; `Store.run`."""

    async def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> T:
        """Return the result once it is on disk."""


class Refusals:
    """The same bytes refused for the same reason again are counted, not doubled."""

    def __init__(self, run: Run, disk: Disk, room: Room) -> None:
        """Use a file on a disk, whose transactions `run` runs; `room` shows how much of it is used."""
        self._run, self._disk, self.room = run, disk, room
        self._making_room = asyncio.Lock()

    async def put(self, refused: Sequence[Refused]) -> None:
        """Keep refused payloads; they are on disk afterwards. For want of room others go, and the log says how many.

        Raises:
            OverloadedError: The disk is full or broken; some may be kept, and may come again.
        """
        for start in range(0, len(refused), _CROWD):
            await self._put(refused[start : start + _CROWD])

    async def make_room(self, refused: Sequence[Refused]) -> None:
        """Let others go before much is inserted, a crowd in each transaction: who waits for the disk waits for one.

        Raises:
            OverloadedError: The disk is full or broken.
        """
        if sum(len(one.raw) for one in refused) <= _MUCH_BYTES:
            return
        async with self._making_room:  # else all that wait here would share, and lengthen, each transaction
            while evicted := await self._run(lambda db: _evict(db, self.room, _coming(db, refused))):
                self.tell(evicted)

    def insert(self, db: sqlite3.Connection, refused: Iterable[Refused]) -> Counter[str]:
        """Keep refused payloads within a transaction; returns how many of each source went, for `tell` afterwards."""
        for one in refused:
            _insert(db, one)
        evicted: Counter[str] = Counter()
        while more := _evict(db, self.room, {}):
            evicted += more
        return evicted

    def tell(self, evicted: Counter[str]) -> None:
        """Log and count what had to go for want of room."""
        for source, count in evicted.items():
            refusals_evicted.add(count, {"source": source})
            _log.warning("refusals_evicted", source=source, count=count)

    async def page(self, workspace: str, source: str, before: int, size: int) -> list[StoredRefusal]:
        """The newest `size` refusals with a number below `before`; empty workspace or source: of all.

        Raw payloads of more than 16 KiB are left out; `get` has them.
        """
        condition, values = _matching(workspace, source)
        rows = await self._run(
            lambda db: db.execute(
                f"{_SELECT} WHERE {condition} AND id < ? ORDER BY id DESC LIMIT ?",
                (_LISTED_BYTES, *values, before, size),
            ).fetchall()
        )
        return [_stored(row) for row in rows]

    async def get(self, number: int) -> StoredRefusal | None:
        """The refusal with this number; None if there is none."""
        row = await self._run(lambda db: db.execute(f"{_SELECT} WHERE id = ?", (_ANY_BYTES, number)).fetchone())
        return None if row is None else _stored(row)

    async def remove(self, workspace: str, source: str) -> int:
        """Remove all refusals of a workspace, a source or both (the other is empty); returns how many."""
        return await self._remove(*_matching(workspace, source))

    async def expire(self, older_than: int) -> int:
        """Remove refusals that came last before an instant (microseconds since 1970); returns how many."""
        return await self._remove("last_at < ?", (older_than,))

    async def _put(self, refused: Sequence[Refused]) -> None:
        def work(db: sqlite3.Connection) -> Counter[str]:
            self._disk.require(sum(len(one.raw) for one in refused))
            return self.insert(db, refused)

        await self.make_room(refused)
        self.tell(await self._run(work))

    async def _remove(self, condition: str, values: Sequence[Any]) -> int:
        removed = 0
        while portion := await self._run(lambda db: _remove_some(db, condition, values, self.room)):
            removed += portion
        return removed


def used_bytes(db: sqlite3.Connection) -> int:
    """How many bytes refusals take."""
    (used,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM refusal_bytes").fetchone()
    return int(used)


def now() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1_000


def _matching(workspace: str, source: str) -> tuple[str, list[str]]:
    """Name what is asked for only: so each question finds the index that answers it."""
    asked = [(column, value) for column, value in (("workspace", workspace), ("source", source)) if value]
    return " AND ".join(["TRUE", *(f"{column} = ?" for column, _ in asked)]), [value for _, value in asked]


def _insert(db: sqlite3.Connection, refused: Refused) -> None:
    at = now()
    db.execute(
        "INSERT INTO refusals (hash, workspace, source, reason, message_id, first_at, last_at, times, raw) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?) "
        "ON CONFLICT (hash) DO UPDATE SET times = times + 1, last_at = excluded.last_at",
        (_hash(refused), refused.workspace, refused.source, refused.reason, refused.message_id, at, at, refused.raw),
    )


def _hash(refused: Refused) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in (refused.workspace, refused.source, refused.reason, refused.message_id):
        digest.update(f"{part}\x1f".encode())
    digest.update(refused.raw)
    return digest.digest()


def _coming(db: sqlite3.Connection, refused: Iterable[Refused]) -> Counter[str]:
    """The bytes of payloads, by source, that are not stored yet: one that comes again takes no more room."""
    coming: Counter[str] = Counter()
    for digest, one in {_hash(one): one for one in refused}.items():
        if not db.execute("SELECT 1 FROM refusals WHERE hash = ?", (digest,)).fetchone():
            coming[one.source] += len(one.raw)
    return coming


def _evict(db: sqlite3.Connection, room: Room, coming: Mapping[str, int]) -> Counter[str]:
    """Remove the oldest of the source that takes the most, at most a crowd of them; returns how many, empty if none.

    None go once what is stored and what is `coming`, in bytes by source, fit together.
    """
    taken = Counter(dict(db.execute("SELECT source, bytes FROM refusal_bytes").fetchall()))
    taken.update(coming)
    gone: Counter[str] = Counter()
    if (excess := taken.total() - room.limit) > 0:
        ((source, most),) = taken.most_common(1)
        amount = min(excess, most - _share(taken.values(), room.limit))
        gone[source] = db.execute(f"DELETE FROM refusals WHERE id IN ({_OLDEST})", (source, amount)).rowcount
    room.used = used_bytes(db)
    return +gone


def _share(taken: Iterable[int], limit: int) -> int:
    """How much each source may keep if they do not all fit: those that take less leave the rest to the others."""
    sizes = sorted(taken)
    while sizes[0] <= limit // len(sizes):
        limit -= sizes.pop(0)
    return limit // len(sizes)


def _remove_some(db: sqlite3.Connection, condition: str, values: Sequence[Any], room: Room) -> int:
    chosen = f"SELECT id FROM refusals WHERE {condition} LIMIT {_PORTION}"
    removed = db.execute(f"DELETE FROM refusals WHERE id IN ({chosen})", values).rowcount
    room.used = used_bytes(db)
    return removed


def _stored(row: Sequence[Any]) -> StoredRefusal:
    number, workspace, source, reason, raw, message_id, *rest = row
    return StoredRefusal(number, Refused(workspace, source, reason, raw, message_id), *rest)
