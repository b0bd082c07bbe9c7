"""The file of a projection: one process at a time, and thrown away when it cannot be read, because it is a cache."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from sima_runtime.errors import FixConfigurationError

from sima_segment.projection.tables import has_layout

# The log of what is written grows to this size before it is worked into the file, which takes a moment.
_LOG_SIZE = "256MB"
# A join with at most so many people looks them up in the index rather than going through the table: measured, that is
# five times as fast for 300 people of a million, and as fast for 2,500.
_INDEXES = {"dynamic_or_filter_threshold": 2_000, "index_scan_max_count": 100_000}


@dataclass(frozen=True)
class Resources:
    """What DuckDB may use.

    Attributes:
        threads: How many threads; each works on its own part of a table.
        memory: How much memory, in DuckDB's form, for example `2GB`; beyond that it uses the disk.
    """

    threads: int = 2
    memory: str = "2GB"


#: What goes wrong in a projection that cannot be read or written.
ProjectionError = duckdb.Error
#: Settings of DuckDB.
Settings = dict[str, str | bool | int | float | list[str]]

# What DuckDB says, in errors of various classes, of blocks and versions of rows that do not fit together.
_SPOILED = ("Corrupt", "Conflict on tuple")
_BROKEN = (duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)


class ProjectionFile:
    """A file that belongs to this process until it is released."""

    def __init__(self, path: Path | None) -> None:
        """Take a file, which need not exist; None stands for memory.

        Raises:
            FixConfigurationError: Another process has it.
        """
        self._path = path
        self._lock = None if path is None else _lock(_lock_of(path))

    def open(self, resources: Resources, layout: str) -> duckdb.DuckDBPyConnection:
        """Connect to the file; if it is of another layout or broken, to a new one."""
        settings: Settings = {
            "threads": resources.threads,
            "memory_limit": resources.memory,
            "checkpoint_threshold": _LOG_SIZE,
            "arrow_lossless_conversion": True,
            "preserve_insertion_order": False,
            **_INDEXES,
        }
        if self._path is None:
            return duckdb.connect(config=settings)
        if self._path.exists():
            if (connection := _opened(self._path, settings, layout)) is not None:
                return connection
            _remove(self._path)
        return duckdb.connect(self._path, config=settings)

    def release(self) -> None:
        """Let another process have the file."""
        if self._lock is not None:
            os.close(self._lock)


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Keep other services from a directory of projections, which is made if need be, during the block.

    The locks of single files come too late for that: a service that has not been asked for a workspace has none.

    Raises:
        FixConfigurationError: It cannot be made or written, or another process has it.
    """
    lock = _lock(directory / "lock")
    try:
        yield
    finally:
        os.close(lock)


def is_broken(error: ProjectionError) -> bool:
    """Whether an error is the file's own, so that a new one mends it: not of memory, disk, or what was asked.

    DuckDB also calls it fatal when the disk is full at a checkpoint.
    """
    text = str(error)
    return any(word in text for word in _SPOILED) or (isinstance(error, _BROKEN) and "create checkpoint" not in text)


def discard(path: Path) -> None:
    """Throw away a projection that is closed.

    Raises:
        FixConfigurationError: Another process has it by now.
    """
    lock = _lock(_lock_of(path))
    try:
        _remove(path)
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    for part in (path, path.with_name(path.name + ".wal")):
        part.unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            reason = "another process uses it" if isinstance(error, BlockingIOError) else type(error).__name__
            raise FixConfigurationError(
                f"data_dir {path.parent}: cannot be opened for this process alone ({reason})"
            ) from error
        held.pop_all()
    return lock


def _opened(path: Path, settings: Settings, layout: str) -> duckdb.DuckDBPyConnection | None:
    """Connect to a file that is there; None if it is of another layout or broken."""
    with ExitStack() as held:
        try:
            connection = held.enter_context(duckdb.connect(path, config=settings))
            if not has_layout(connection, layout):
                return None
        except ProjectionError as error:
            if is_broken(error) or isinstance(error, duckdb.IOException):  # what is no database, or of another version
                return None
            raise
        held.pop_all()
        return connection
