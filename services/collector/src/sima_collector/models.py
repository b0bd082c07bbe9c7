"""The tables of the collector's own file, and how the file is opened."""

import os
import sqlite3
from pathlib import Path

from sima_runtime.errors import FixConfigurationError

# What a refusal takes on disk: its texts and payload, and its other columns and places in indexes.
REFUSAL_SIZE = "(length({row}.raw) + length(CAST({row}.reason || {row}.message_id AS BLOB)) + 256)"
# The first makes the tables; each further one brings a file of the version before it up to date.
_VERSIONS = (
    """
CREATE TABLE spool (
  id INTEGER PRIMARY KEY AUTOINCREMENT, workspace TEXT NOT NULL, source TEXT NOT NULL, facts INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;
CREATE INDEX spool_in_order ON spool (workspace, id);
CREATE TABLE refusals (
  id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, workspace TEXT NOT NULL, source TEXT NOT NULL,
  reason TEXT NOT NULL, message_id TEXT NOT NULL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
  times INTEGER NOT NULL, raw BLOB NOT NULL
) STRICT;
CREATE INDEX refusals_by_age ON refusals (last_at);
CREATE INDEX refusals_by_workspace ON refusals (workspace, id);
CREATE TABLE checkpoints (
  key BLOB PRIMARY KEY, position TEXT NOT NULL, totals TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
    """
CREATE TABLE refusal_bytes (source TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO refusal_bytes SELECT source, sum(length(raw)) FROM refusals GROUP BY source;
CREATE TRIGGER refusal_came AFTER INSERT ON refusals BEGIN
  INSERT INTO refusal_bytes VALUES (new.source, length(new.raw))
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER refusal_went AFTER DELETE ON refusals BEGIN
  UPDATE refusal_bytes SET bytes = bytes - length(old.raw) WHERE source = old.source;
END;
CREATE INDEX refusals_by_source ON refusals (source, id);
""",
    f"""
DROP TRIGGER refusal_came;
DROP TRIGGER refusal_went;
DELETE FROM refusal_bytes;
INSERT INTO refusal_bytes SELECT source, sum({REFUSAL_SIZE.format(row="refusals")}) FROM refusals GROUP BY source;
CREATE TRIGGER refusal_came AFTER INSERT ON refusals BEGIN
  INSERT INTO refusal_bytes VALUES (new.source, {REFUSAL_SIZE.format(row="new")})
    ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER refusal_went AFTER DELETE ON refusals BEGIN
  UPDATE refusal_bytes SET bytes = bytes - {REFUSAL_SIZE.format(row="old")} WHERE source = old.source;
END;
""",
)


def open_file(directory: Path) -> sqlite3.Connection:
    """Open `collector.db` in a directory, making both if need be; use it from one thread at a time.

    Raises:
        FixConfigurationError: The directory cannot be written, another process uses it, or a newer version made it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "collector.db"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            _prepare(db)
        except BaseException:
            db.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise FixConfigurationError(
            f"data_dir {directory}: cannot be opened for this process alone ({type(error).__name__}: {error})"
        ) from error
    return db


def _prepare(db: sqlite3.Connection) -> None:
    # An exclusive lock keeps a second collector out of the same directory.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(_VERSIONS):
        raise FixConfigurationError(f"data_dir was written by a newer version: expected {len(_VERSIONS)} or less")
    if version == 0:
        db.execute("PRAGMA auto_vacuum = FULL")  # has an effect only before the first table
    if version < len(_VERSIONS):
        # In one transaction: a process that ends in the middle must leave a file that the next one can open.
        changes = " ".join(_VERSIONS[version:])
        db.executescript(f"BEGIN; {changes} PRAGMA user_version = {len(_VERSIONS)}; COMMIT")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 67108864")
