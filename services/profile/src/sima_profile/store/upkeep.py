"""What is done beside the calls: partitions made ahead, and rows that are kept for a while only."""

from psycopg import sql
from sima_runtime.database import Driver, execute, fetch

from sima_profile.partitions import Partition
from sima_profile.store.times import to_database

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('profile partitions', 0))"
_PARTITIONS = "SELECT relid::regclass::text FROM pg_partition_tree('facts') WHERE isleaf AND parentrelid IS NOT NULL"
_MAKE = sql.SQL("CREATE TABLE {name} (LIKE facts INCLUDING DEFAULTS INCLUDING INDEXES)")
# Attaching a table that was made beside does not hold up those who read and write the others.
_ATTACH = sql.SQL("ALTER TABLE facts ATTACH PARTITION {name} FOR VALUES FROM ({lower}) TO ({upper})")
_FORGET_TIMES = """DELETE FROM message_times WHERE (workspace, message) IN (
    SELECT workspace, message FROM message_times WHERE last_received_at < %s LIMIT 10000)"""


async def partitions(connection: Driver) -> set[str]:
    """Return the names of the partitions of the facts; nobody else makes any before the transaction ends."""
    await execute(connection, _LOCK)
    return {name for (name,) in await fetch(connection, _PARTITIONS)}


async def make_partition(connection: Driver, partition: Partition) -> None:
    """Make a partition."""
    name = sql.Identifier(partition.name)
    lower = sql.SQL("MINVALUE") if partition.lower is None else sql.Literal(str(partition.lower))
    await connection.execute(_MAKE.format(name=name))
    await connection.execute(_ATTACH.format(name=name, lower=lower, upper=sql.Literal(str(partition.upper))))


async def forget_times(connection: Driver, before: int) -> int:
    """Forget when messages were first received that last came before an instant, some at a time; return how many."""
    return await execute(connection, _FORGET_TIMES, (to_database(before),))
