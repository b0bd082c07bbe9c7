"""Appends facts. What makes a message new or a duplicate is decided here, by one unique index."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from psycopg.errors import UniqueViolation
from sima_runtime.database import Driver, copy_into, execute, fetch
from sima_runtime.feeds import notify
from sima_runtime.keys import Key, Keys

from sima_profile.store.feed import CHANNEL
from sima_profile.store.times import microseconds_of, to_copy, to_database

_HOLD_OWNERS = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
_VERSIONS = "SELECT owners_version, (SELECT epoch FROM feed_epoch) FROM workspaces WHERE workspace = %s"
# Asked for first: to insert a row that is there would wait for who changes it.
_REGISTER = """INSERT INTO workspaces (workspace)
    SELECT %(workspace)s WHERE NOT EXISTS (SELECT FROM workspaces WHERE workspace = %(workspace)s)
    ON CONFLICT DO NOTHING"""

# Ids begin with the time, so first and last one leave out most partitions.
_STORED_CONTENTS = """SELECT id, content FROM facts
    WHERE workspace = %(workspace)s AND id = ANY(%(facts)s) AND id BETWEEN %(first)s AND %(last)s"""

_FIRST_SEEN = """INSERT INTO message_times (workspace, message, received_at)
    SELECT %(workspace)s, message, received_at
    FROM unnest(%(messages)s, %(times)s) AS received (message, received_at) ORDER BY message
    ON CONFLICT (workspace, message) DO UPDATE SET last_received_at = now()
        WHERE message_times.last_received_at < now() - interval '1 hour'"""
_TIMES = f"""SELECT message, {microseconds_of("received_at")} FROM message_times
    WHERE workspace = %s AND message = ANY(%s)"""


class FactRow(NamedTuple):
    """A row of `facts` for COPY, in which a time is an `int8` (see `times.to_copy`)."""

    id: bytes
    occurred_at: int
    source: str
    keys: list[bytes]
    owner: bytes | None
    contested: bool
    name: str | None
    properties: bytes | None
    content: bytes


class ObservationRow(NamedTuple):
    """A row of `observations` for COPY."""

    fact_id: bytes
    position: int
    id: bytes
    owner: bytes | None
    keys: list[bytes]
    trait: str
    type: str
    value: str
    source: str
    method: str
    observed_at: int
    confidence: float


class ConsentRow(NamedTuple):
    """A row of `consents` for COPY."""

    fact_id: bytes
    position: int
    id: bytes
    keys: list[bytes]
    purpose: str
    granted: bool
    source: str
    stated_at: int


class OvertakenError(Exception):
    """Another transaction has just stored the same message, or another content of it."""


@dataclass(frozen=True, slots=True)
class Append:
    """What holds while a transaction appends.

    Attributes:
        connection: In the transaction.
        workspace: Whose facts.
        received_at: The server's clock, in microseconds since 1970.
        owners_version: Which standings of identifiers are in force; nobody changes them before the transaction ends.
        epoch: Epoch of the feed.
    """

    connection: Driver
    workspace: str
    received_at: int
    owners_version: int
    epoch: int

    def parameters(self) -> dict[str, object]:
        """Return what statements that write rows share."""
        return {"workspace": self.workspace, "received_at": to_database(self.received_at), "epoch": self.epoch}


_FACT_TYPES = ("uuid", "int8", "text", "uuid[]", "uuid", "bool", "text", "bytea", "uuid")
_OBSERVATION_TYPES = ("uuid", "int2", "uuid", "uuid", "uuid[]", *["text"] * 5, "int8", "float8")
_CONSENT_TYPES = ("uuid", "int2", "uuid", "uuid[]", "text", "bool", "text", "int8")
_STORED = ("workspace", "received_at", "epoch")
_STORED_TYPES = ("text", "int8", "int4")


def owners_lock(workspace: str) -> str:
    """Return the name of the lock that who appends holds shared, and who changes standings alone."""
    return f"profile owners {workspace}"


async def register(connection: Driver, workspace: str) -> None:
    """Note that a workspace exists, so that its owners are followed.

    Never remembered, for a restore of the database may have taken the row.
    """
    await connection.execute(_REGISTER, {"workspace": workspace})


async def begin(
    connection: Driver, workspace: str, received_at: int, facts: Collection[bytes]
) -> tuple[Append, dict[bytes, bytes]]:
    """Begin to append: until the transaction ends, no standing of an identifier changes; then readers are woken.

    Returns:
        What holds, and the content hashes of those of the facts that are stored already.
    """
    wanted = {"workspace": workspace, "facts": Keys(facts), "first": Key(min(facts)), "last": Key(max(facts))}
    stored = connection.cursor(binary=True)
    async with connection.pipeline():  # one round trip; each statement sees what the one before waited for
        await notify(connection, CHANNEL, workspace)
        await connection.execute(_HOLD_OWNERS, (owners_lock(workspace),))
        await register(connection, workspace)
        versions = await connection.execute(_VERSIONS, (workspace,))
        await stored.execute(_STORED_CONTENTS, wanted)
    [(owners_version, epoch)] = await versions.fetchall()
    return Append(connection, workspace, received_at, owners_version, epoch), dict(await stored.fetchall())


async def append_facts(append: Append, rows: Iterable[FactRow]) -> None:
    """Append facts that were not stored when the transaction began.

    Raises:
        OvertakenError: One of them is stored by now. The transaction has failed.
    """
    try:
        # In the order of ids, so that two calls with the same messages never wait for each other in a circle.
        await _append_parts(append, "facts", FactRow._fields, _FACT_TYPES, sorted(rows))
    except UniqueViolation as error:
        raise OvertakenError from error


async def append_observations(append: Append, rows: Sequence[ObservationRow]) -> None:
    """Append what facts say about traits."""
    await _append_parts(append, "observations", ObservationRow._fields, _OBSERVATION_TYPES, rows)


async def append_consents(append: Append, rows: Sequence[ConsentRow]) -> None:
    """Append what facts say about consents."""
    await _append_parts(append, "consents", ConsentRow._fields, _CONSENT_TYPES, rows)


async def _append_parts(
    append: Append, table: str, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    stored = (append.workspace, to_copy(append.received_at), append.epoch)
    if rows:
        written = ((*row, *stored) for row in rows)
        await copy_into(append.connection, table, (*columns, *_STORED), (*types, *_STORED_TYPES), written)


async def first_times(connection: Driver, workspace: str, received: Mapping[bytes, int]) -> Mapping[bytes, int]:
    """Return when each message was first received: for those that never were, when they are now."""
    messages = Keys(received)
    parameters = {"workspace": workspace, "messages": messages, "times": list(map(to_database, received.values()))}
    await execute(connection, _FIRST_SEEN, parameters)
    return dict(await fetch(connection, _TIMES, (workspace, messages)))
