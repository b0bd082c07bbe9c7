"""Partitions and other work that no call waits for."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from sima.profile.v1.profile_service_pb2 import INGEST_OUTCOME_ACCEPTED, INGEST_OUTCOME_DUPLICATE
from sima.type.v1.fact_pb2 import Event, Fact
from sima_profile.maintenance import Maintenance
from sima_profile.partitions import ARCHIVE
from sima_profile.settings import StorageSettings
from sima_runtime.database import execute

from .conftest import Stack, by, email

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTITIONS = "SELECT relid::regclass::text FROM pg_partition_tree('facts') WHERE isleaf ORDER BY 1"


def event_at(instant: datetime) -> Fact:
    """An event at some time."""
    fact = Fact(source="web", identifiers=[email("ada")], event=Event(name="e"))
    fact.occurred_at.FromDatetime(instant)
    return fact


def undated() -> Fact:
    """An event that states no time."""
    fact = event_at(datetime.now(UTC))
    fact.ClearField("occurred_at")
    return fact


async def remembered(stack: Stack) -> Sequence[object]:
    """The messages whose first arrival is remembered."""
    return await stack.rows("SELECT message FROM message_times WHERE workspace = %s", stack.workspace)


async def age(stack: Stack, hours: int) -> None:
    """Let so many hours pass."""
    earlier = """UPDATE message_times SET last_received_at = last_received_at - make_interval(hours => %s)
        WHERE workspace = %s"""
    async with stack.database.transaction() as connection:
        await execute(connection, earlier, (hours, stack.workspace))


async def test_facts_of_any_age_find_a_partition(stack: Stack) -> None:
    """Months have their own, all that is old shares the archive, and nothing is made by a call."""
    before = await stack.rows(PARTITIONS)
    now = datetime.now(UTC)
    old = [datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC), datetime(1997, 1, 1, tzinfo=UTC)]
    await stack.ingest(*[event_at(instant) for instant in (*old, now)])
    found = await stack.rows(
        "SELECT tableoid::regclass::text FROM facts WHERE workspace = %s ORDER BY occurred_at", stack.workspace
    )
    assert found == [(ARCHIVE,)] * 3 + [(f"facts_{now:%Y_%m}",)]
    assert await stack.rows(PARTITIONS) == before
    profile = await stack.profile(by(email("ada")))
    assert (profile.event_count, profile.first_seen_at.ToDatetime(UTC)) == (4, old[0])
    timeline = (await stack.events(by(email("ada")))).events
    assert [event.occurred_at.ToDatetime(UTC) for event in timeline] == [now, *reversed(old)]


async def test_partitions_are_made_ahead_once_whoever_asks(stack: Stack) -> None:
    """Replicas that look at the same time make each only once, and each has the indexes of the whole."""
    settings = StorageSettings(partition_months_ahead=5)
    rounds = [Maintenance(stack.database, settings) for _ in range(3)]
    await asyncio.gather(*[one.make_partitions() for one in rounds])
    names = [name for (name,) in await stack.rows(PARTITIONS)]
    assert len(names) == len(set(names)) == 1 + 24 + 1 + 5
    indexes = await stack.rows(
        "SELECT count(*) FROM pg_partition_tree('facts') AS part JOIN pg_index ON indrelid = part.relid GROUP BY relid"
    )
    assert indexes == [(4,)] * (len(names) + 1)


async def test_times_of_messages_are_forgotten_after_their_days(stack: Stack) -> None:
    """A message that states no time is remembered for a while only."""
    await stack.ingest(undated())
    maintenance = Maintenance(stack.database, StorageSettings(message_time_days=1))
    await maintenance.round()
    assert len(await remembered(stack)) == 1
    await age(stack, 25)
    await maintenance.round()
    assert await remembered(stack) == []


async def test_a_message_that_keeps_coming_is_never_a_new_one(stack: Stack) -> None:
    """A file without times that is imported every week changes nothing, in a year neither."""
    fact = undated()
    assert (await stack.ingest(fact))[0].outcome == INGEST_OUTCOME_ACCEPTED
    maintenance = Maintenance(stack.database, StorageSettings(message_time_days=10))
    for _ in range(3):
        await age(stack, 7 * 24)
        assert (await stack.ingest(fact))[0].outcome == INGEST_OUTCOME_DUPLICATE
        await maintenance.round()
    assert len(await remembered(stack)) == 1
