"""How many threads DuckDB uses: all of them for what looks at everybody, one for what concerns a few hundred people.

There, several wait for each other more than they help: measured with 650 events on two cores, a step takes an eighth to
a quarter less of the processor on one thread. That leaves room for the services beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import duckdb


class Parallelism:
    """The threads of one DuckDB instance, which all of its connections share."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, most: int) -> None:
        """Begin with one thread.

        Args:
            connection: For nothing else.
            most: How many threads there may be.
        """
        self._connection = connection
        self._most = most
        self._lock = Lock()
        self._users = 0
        self._use(1)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Use all threads; several may ask for it at once, from threads of their own."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            before, self._users = self._users, self._users + more
            if (before > 0) != (self._users > 0):
                self._use(self._most if self._users else 1)

    def _use(self, threads: int) -> None:
        self._connection.execute(f"SET threads = {threads:d}")
