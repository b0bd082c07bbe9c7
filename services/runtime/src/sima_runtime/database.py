"""Connections to a service's schema in PostgreSQL: async SQLAlchemy over psycopg 3, and COPY for the hot paths.

The pool is SQLAlchemy's; what it gives is psycopg's own connection, which costs less per statement and prepares what is
repeated. `fetch`, `execute` and `copy_into` work on it. Keys are bytes there, see keys.py.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event
from sqlalchemy.engine import AdaptedConnection, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from sima_runtime import keys
from sima_runtime.errors import DependencyUnavailableError, OverloadedError, TooSlowError
from sima_runtime.settings import DatabaseSettings

_log = structlog.get_logger()

Driver = psycopg.AsyncConnection[tuple[Any, ...]]
Parameters = Sequence[Any] | Mapping[str, Any]

# SQLSTATE of "this database cannot" rather than "bad statement": connection exceptions, shutdown and crash of the
# server, too many connections, disk or memory full, no longer the primary, a transaction ended because it was idle.
_LOST = {"08000", "08001", "08003", "08004", "08006", "53100", "53200", "53300", "25006", "25P03"} | {
    f"57P0{digit}" for digit in range(1, 6)
}
# SQLSTATE of "not now": deadlock, serialization failure, lock not available; and of a statement that took too long.
_BUSY = {"40P01", "40001", "55P03"}
_TOO_SLOW = "57014"


class Database:
    """The schema of one service. Statements need no schema before table names: it is the search path."""

    def __init__(self, settings: DatabaseSettings, schema: str) -> None:
        self.settings = settings
        self.schema = schema
        self.engine = _engine(settings, schema)
        self._losses = 0
        event.listen(self.engine.sync_engine, "checkout", self._refuse_outlived)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Driver]:
        """Give psycopg's connection in a transaction; an exception rolls back. Raises as `statement` does."""
        async with self.statement() as own:
            await own.execute("BEGIN", prepare=False)
            yield own
            if own.info.transaction_status is TransactionStatus.INERROR:  # COMMIT would roll back without a word
                raise psycopg.errors.InFailedSqlTransaction("a statement failed and the failure was not handed on")
            await own.commit()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Driver]:
        """Give psycopg's connection in autocommit: one round trip for a single statement.

        Raises:
            OverloadedError: All connections stayed in use, or the database cannot do it now.
            DependencyUnavailableError: The database does not answer.
        """
        async with self._translated(), self.engine.connect() as connection:
            own = _driver(connection)
            try:
                yield own
            except BaseException:
                self._losses += own.closed
                if own.closed or own.info.transaction_status is TransactionStatus.ACTIVE:
                    await connection.invalidate()  # it was left in the midst of something
                raise

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    def connection_arguments(self) -> dict[str, Any]:
        """Arguments for `psycopg.AsyncConnection.connect`, for the few connections that are not pooled."""
        return {"conninfo": self.settings.database_url, **_session(self.settings, self.schema)}

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except PoolTimeoutError:
            raise OverloadedError("database connections") from None
        except (DBAPIError, psycopg.Error) as error:
            sqlstate = cause.sqlstate if (cause := _cause(error)) else None
            if sqlstate == _TOO_SLOW:
                raise TooSlowError from error
            if sqlstate in _BUSY:
                raise OverloadedError("the database") from error
            if not _is_lost(error):
                raise
            _log.warning("database_unavailable", schema=self.schema, exc_info=error)
            raise DependencyUnavailableError("database") from error

    def _refuse_outlived(self, _: object, record: ConnectionPoolEntry, __: object) -> None:
        """Have the pool replace a connection that is older than the last loss: one broken means that all others are."""
        if record.info.setdefault("losses", self._losses) != self._losses:
            raise DisconnectionError("older than the last loss of a connection")


def _driver(connection: AsyncConnection) -> Driver:
    below = cast(Connection, connection.sync_connection).connection
    return cast(Driver, below.driver_connection)


async def fetch(connection: Driver, query: str, parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
    """Run one query and return all rows, transferred in binary."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def execute(connection: Driver, query: str, parameters: Parameters | None = None) -> int:
    """Run one statement and return how many rows it touched."""
    async with connection.cursor() as cursor:
        await cursor.execute(query, parameters)
        return cursor.rowcount


async def copy_into(
    connection: Driver,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Append rows to a table by binary COPY.

    Args:
        connection: Psycopg's connection.
        table: Name of the table; it is written into the statement as it is.
        columns: Names of the columns that the rows have values for.
        types: PostgreSQL type of each column, exactly: binary COPY converts nothing.
        rows: The values, in the order of `columns`; a `uuid` may be 16 bytes.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        write_row = copy.formatter.write_row  # gathers rows, and answers with bytes once it has enough of them
        for row in rows:
            if data := write_row(row):
                await copy.writer.write(data)


def _engine(settings: DatabaseSettings, schema: str) -> AsyncEngine:
    """Make the pool. Its connections rest in autocommit and are only rolled back if need be: both save round trips."""
    engine = create_async_engine(
        make_url(settings.database_url).set(drivername="postgresql+psycopg"),
        connect_args=_session(settings, schema),
        isolation_level="AUTOCOMMIT",
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_overflow,
        pool_timeout=settings.database_pool_wait_seconds,
        pool_reset_on_return=None,
        hide_parameters=True,  # they are personal data, and errors are logged
    )
    event.listen(engine.sync_engine, "connect", _teach_keys)
    event.listen(engine.sync_engine, "reset", _roll_back)
    return engine


def _teach_keys(connection: AdaptedConnection, _: object) -> None:
    keys.register(connection.driver_connection.adapters)


def _roll_back(connection: AdaptedConnection, *_: object) -> None:
    if connection.driver_connection.info.transaction_status is not TransactionStatus.IDLE:
        connection.run_async(lambda own: own.rollback())


# Statements are short and many: starting workers or a compiler for one costs more than it does.
_SHORT_STATEMENTS = ("-c max_parallel_workers_per_gather=0", "-c jit=off")

# A server that is gone without a word, after a failover for example, is noticed within seconds, not hours.
_NOTICE_A_DEAD_SERVER = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def _session(settings: DatabaseSettings, schema: str) -> dict[str, Any]:
    milliseconds = {
        "statement_timeout": settings.database_statement_seconds,
        "idle_in_transaction_session_timeout": settings.database_idle_transaction_seconds,
    }
    options = [f"-c {name}={int(seconds * 1000)}" for name, seconds in milliseconds.items()]
    return {
        **_NOTICE_A_DEAD_SERVER,
        "application_name": f"sima-{schema}",
        # Instants of the year 1 cannot be read in a time zone west of UTC.
        "options": " ".join([f"-c search_path={schema} -c timezone=UTC", *_SHORT_STATEMENTS, *options]),
    }


def _cause(error: DBAPIError | psycopg.Error) -> psycopg.Error | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause if isinstance(cause, psycopg.Error) else None


def _is_lost(error: DBAPIError | psycopg.Error) -> bool:
    cause = _cause(error)
    if cause is None:
        return False
    return cause.sqlstate in _LOST or (cause.sqlstate is None and isinstance(cause, psycopg.OperationalError))
