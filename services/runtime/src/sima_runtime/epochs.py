"""The epoch of a schema's feeds: a number that grows when the database is no longer the one that it was.

After a restore or a promotion, transaction ids may be given out a second time; cursors of before then mean nothing.
"""

from sima_runtime.database import Database, Driver, execute, fetch

#: Statements that every schema with a feed needs once, in its first migration.
FEED_TABLES = (
    "CREATE SEQUENCE feed_seq",
    "CREATE TABLE feed_epoch (epoch integer NOT NULL, system_identifier text NOT NULL, timeline text NOT NULL)",
    "INSERT INTO feed_epoch VALUES (1, '', '')",
)
#: Value of `epoch` for a row being written: `INSERT ... SELECT ..., (SELECT epoch FROM feed_epoch)`.
CURRENT_EPOCH = "(SELECT epoch FROM feed_epoch)"
#: Whether tables may lie on several machines: Citus is loaded.
IS_SPREAD = "current_setting('citus.version', true) IS NOT NULL"
# With Citus a transaction ends here before it does on the other machines, and keeps the lock of its own number until it
# has ended there, too.
_NOT_ENDED = "FROM pg_locks WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
#: All transactions before this one have ended, and what they wrote can be seen.
ENDED_BEFORE = f"""CASE WHEN {IS_SPREAD} THEN (
    SELECT (least_ - coalesce(max(behind) FILTER (WHERE behind < 1::bigint << 31), 0))::text::xid8
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS least_) AS here
    LEFT JOIN LATERAL (SELECT (least_ - transactionid::text::bigint) & ((1::bigint << 32) - 1) AS behind
        {_NOT_ENDED}) AS ending ON true
    GROUP BY least_)
    ELSE pg_snapshot_xmin(pg_current_snapshot()) END"""
#: Whether all that the transaction wrote that inserted a row can be seen.
HAS_ENDED = f"({IS_SPREAD} AND xmin IN (SELECT transactionid {_NOT_ENDED})) IS NOT TRUE"

_SERVER = """SELECT (SELECT system_identifier FROM pg_control_system())::text,
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"""
_ADVANCE = """UPDATE feed_epoch SET system_identifier = %(system)s, timeline = %(timeline)s,
    epoch = epoch + (system_identifier <> '')::integer
    WHERE (system_identifier, timeline) <> (%(system)s, %(timeline)s)"""


async def begin_epoch(database: Database) -> None:
    """Begin a new epoch if the database is another one than it was. Called whenever a service (re)connects."""
    async with database.transaction() as connection:
        [server] = await fetch(connection, _SERVER)
        [stored] = await fetch(connection, "SELECT system_identifier, timeline FROM feed_epoch")
    if stored != server:
        # In a transaction of its own: two replicas that held what they have just read would wait for each other.
        async with database.transaction() as connection:
            await _advance(connection, *server)


async def _advance(connection: Driver, system: str, timeline: str) -> None:
    # Waits until every transaction that has read the old epoch has ended, so no row of it can appear later.
    await execute(connection, "LOCK TABLE feed_epoch IN ACCESS EXCLUSIVE MODE")
    await execute(connection, _ADVANCE, {"system": system, "timeline": timeline})
