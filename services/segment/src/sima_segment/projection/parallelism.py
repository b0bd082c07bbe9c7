"""How many threads DuckDB uses: all of them for what looks at everybody, one for what concerns a few hundred people.

There, several wait for each other more than they help: measured with 650 events on two cores, a step takes an eighth to
a quarter less of the processor on one thread. That leaves room for the services beside it. To end a thread and start it
anew takes some milliseconds, so threads stay until there is work for one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import duckdb


class Parallelism:
    """The threads of one DuckDB instance, which all of its connections share."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, most: int) -> None:
        """Begin with all threads.

        Args:
            connection: For nothing else.
            most: How many threads there may be, and are.
        """
        self._connection = connection
        self._most = self._now = most
        self._lock = Lock()
        self._users = 0

    @contextmanager
    def full(self) -> Iterator[None]:
        """Use all threads; several may ask for it at once, from threads of their own."""
        with self._lock:
            self._users += 1
            self._use(self._most)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1

    def one(self) -> None:
        """Use one thread from now on, unless somebody uses all."""
        with self._lock:
            if not self._users:
                self._use(1)

    def _use(self, threads: int) -> None:
        if threads != self._now:
            self._connection.execute(f"SET threads = {threads:d}")
            self._now = threads
