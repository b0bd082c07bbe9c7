"""Files that may change while a service runs, as mounted secrets do."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from sima_runtime.errors import FixConfigurationError

T = TypeVar("T")

CHECK_SECONDS = 1.0

_log = structlog.get_logger()


class WatchedFile(Generic[T]):
    """What a file says, read again when it changes; if it is broken then, what it said before still holds."""

    def __init__(
        self, setting: str, path: Path, parse: Callable[[bytes], T], check_seconds: float = CHECK_SECONDS
    ) -> None:
        """Read the file.

        Args:
            setting: Name of the setting that names it, for errors.
            path: The file.
            parse: Makes what the file says of its content; raises FixConfigurationError.
            check_seconds: How often at most to look whether it changed.

        Raises:
            FixConfigurationError: It cannot be read or is malformed.
        """
        self._setting = setting
        self._path = path
        self._parse = parse
        self._check_seconds = check_seconds
        self._version = self._look()
        self._content = self._read()
        self._checked = time.monotonic()

    def current(self) -> T:
        """Return what the file says now."""
        now = time.monotonic()
        if now - self._checked >= self._check_seconds:
            self._checked = now
            self._read_if_changed()
        return self._content

    def _read_if_changed(self) -> None:
        try:
            version = self._look()
            if version != self._version:
                self._content, self._version = self._read(), version
                _log.info("file_read_again", setting=self._setting)
        except FixConfigurationError:
            _log.exception("file_not_read_again", setting=self._setting)

    def _look(self) -> tuple[int, int, int]:
        try:
            stat = os.stat(self._path)
        except OSError as error:
            raise FixConfigurationError(f"{self._setting} must be a readable file") from error
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    def _read(self) -> T:
        try:
            return self._parse(self._path.read_bytes())
        except OSError as error:
            raise FixConfigurationError(f"{self._setting} must be a readable file") from error
