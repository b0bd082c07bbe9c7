"""Limits in bytes: what takes room counts it here first."""

import shutil
import threading
from pathlib import Path

from sima_runtime.errors import OverloadedError

from sima_collector.facts import MOST_BYTES


class Room:
    """Counts the bytes of one kind of content against a limit; used from the store's thread and from the event loop.

    It is `full` once something did not fit, until room is given back: a limit is hardly ever met exactly.
    """

    def __init__(self, name: str, limit: int, used: int) -> None:
        self.name, self.limit, self.used = name, limit, used
        self.full = False
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Take `size` bytes.

        Raises:
            OverloadedError: That many are not left.
        """
        with self._lock:
            if self.used + size > self.limit:
                self.full = self.used > 0  # else nothing will ever be given back
                raise OverloadedError(self.name)
            self.used += size

    def give_back(self, size: int) -> None:
        """Give back `size` bytes."""
        with self._lock:
            self.used -= size
            self.full = self.full and not size


class Disk:
    """Keeps a part of a disk free, for to remove facts that were sent on takes room as well, until it is done."""

    #: Bytes that stay free: to remove what one call carries, as much of the file is moved, and both are logged.
    RESERVE = 4 * MOST_BYTES

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._coming = 0

    def begin(self) -> None:
        """Begin a transaction."""
        self._coming = 0

    def require(self, size: int) -> None:
        """Make sure that there is room for so many bytes more in the transaction, in the log and then in the tables.

        Raises:
            OverloadedError: It would take of what must stay free.
        """
        coming = self._coming + size
        if shutil.disk_usage(self._directory).free < self.RESERVE + 2 * coming:
            raise OverloadedError("disk")
        self._coming = coming


class Claim:
    """What one piece of work took of a room, so that it can be given back if the work is undone."""

    def __init__(self, room: Room) -> None:
        self._room, self._taken = room, 0

    def take(self, size: int) -> None:
        """Take `size` bytes more.

        Raises:
            OverloadedError: That many are not left.
        """
        self._room.take(size)
        self._taken += size

    def undo(self) -> None:
        """Give everything back."""
        self._room.give_back(self._taken)
        self._taken = 0
