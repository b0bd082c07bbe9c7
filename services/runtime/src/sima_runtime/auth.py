"""Bearer tokens: who calls, for which workspace, and which RPCs the caller may use.

The token file holds hashes only, and is read again when it changes::

    [{"name": "shop-backend", "sha256": "<hex>", "workspace": "acme", "rpcs": ["sima.profile.v1.ProfileService/*"]}]

The workspace `*` stands for Sima's own services: they name the workspace in each call.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sima_runtime.context import is_workspace_name
from sima_runtime.errors import FixConfigurationError, UnauthenticatedError, WorkspaceNotAllowedError

ANY_WORKSPACE = "*"
DEFAULT_WORKSPACE = "main"
_CHECK_SECONDS = 1.0

_log = structlog.get_logger()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    workspace: str = Field(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,62})$")
    rpcs: tuple[str, ...]


_Entries = TypeAdapter(list[_Entry])


@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller may do."""

    name: str
    workspace: str
    rpcs: tuple[str, ...]
    _allowed: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def allows(self, method: str) -> bool:
        """Whether the caller may use an RPC, named like `sima.profile.v1.ProfileService/Ingest`."""
        allowed = self._allowed.get(method)
        if allowed is None:
            allowed = any(fnmatchcase(method, pattern) for pattern in self.rpcs)
            self._allowed[method] = allowed
        return allowed

    def workspace_for(self, requested: str | None) -> str:
        """Return the workspace of a call that names `requested`.

        Raises:
            WorkspaceNotAllowedError: The caller has another one, or must name one and did not.
        """
        if self.workspace == ANY_WORKSPACE:
            if requested is None or not is_workspace_name(requested):
                raise WorkspaceNotAllowedError("")
            return requested
        if requested is not None and requested != self.workspace:
            raise WorkspaceNotAllowedError(requested if is_workspace_name(requested) else "")
        return self.workspace


class Tokens:
    """The credentials of a token file."""

    def __init__(self, path: Path, check_seconds: float = _CHECK_SECONDS) -> None:
        """Read the file.

        Args:
            path: The file.
            check_seconds: How often at most to look whether it changed.

        Raises:
            FixConfigurationError: It cannot be read or is malformed.
        """
        self._path = path
        self._check_seconds = check_seconds
        self._version = _version(path)
        self._credentials = _read(path)
        self._checked = time.monotonic()

    def credential(self, token: str) -> Credential:
        """Return the credential of a token.

        Raises:
            UnauthenticatedError: Nobody has this token.
        """
        self._reload_if_changed()
        credential = self._credentials.get(hashlib.sha256(token.encode()).hexdigest())
        if credential is None:
            raise UnauthenticatedError
        return credential

    def _reload_if_changed(self) -> None:
        now = time.monotonic()
        if now - self._checked < self._check_seconds:
            return
        self._checked = now
        try:
            version = _version(self._path)
            if version != self._version:
                self._credentials, self._version = _read(self._path), version
                _log.info("tokens_reloaded", credentials=len(self._credentials))
        except FixConfigurationError:  # better the tokens of a moment ago than nobody served
            _log.exception("tokens_not_reloaded")


def _version(path: Path) -> tuple[int, int, int]:
    try:
        stat = os.stat(path)
    except OSError as error:
        raise FixConfigurationError("token_file must be a readable file") from error
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _read(path: Path) -> Mapping[str, Credential]:
    try:
        entries = _Entries.validate_json(path.read_bytes())
    except OSError as error:
        raise FixConfigurationError("token_file must be a readable file") from error
    except ValidationError as error:
        problems = [(detail["loc"], detail["msg"]) for detail in error.errors(include_input=False)]
        raise FixConfigurationError(f"token_file is malformed: {problems}") from None
    return {entry.sha256: Credential(entry.name, entry.workspace, entry.rpcs) for entry in entries}
