"""Bearer tokens: who calls, for which workspace, and which RPCs the caller may use.

The token file holds hashes only, and is read again when it changes::

    [{"name": "shop-backend", "sha256": "<hex>", "workspace": "acme", "rpcs": ["sima.profile.v1.ProfileService/*"]}]

The workspace `*` stands for Sima's own services: they name the workspace in each call.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sima_runtime.context import is_workspace_name
from sima_runtime.errors import FixConfigurationError, UnauthenticatedError, WorkspaceNotAllowedError
from sima_runtime.mistakes import mistakes
from sima_runtime.watched import CHECK_SECONDS, WatchedFile

ANY_WORKSPACE = "*"
DEFAULT_WORKSPACE = "main"


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

    def __init__(self, path: Path, check_seconds: float = CHECK_SECONDS) -> None:
        """Read the file; `check_seconds` says how often at most to look whether it changed.

        Raises:
            FixConfigurationError: It cannot be read or is malformed.
        """
        self._file = WatchedFile("token_file", path, _parse, check_seconds)

    def credential(self, token: str) -> Credential:
        """Return the credential of a token.

        Raises:
            UnauthenticatedError: Nobody has this token.
        """
        credential = self._file.current().get(hashlib.sha256(token.encode()).hexdigest())
        if credential is None:
            raise UnauthenticatedError
        return credential


def _parse(content: bytes) -> Mapping[str, Credential]:
    try:
        entries = _Entries.validate_json(content)
    except ValidationError as error:
        problems = "; ".join(mistakes(error, "expected a JSON list of entries with name, sha256, workspace and rpcs"))
        raise FixConfigurationError(f"token_file is malformed: {problems}") from None
    _refuse_repeated([entry.sha256 for entry in entries])
    return {entry.sha256: Credential(entry.name, entry.workspace, entry.rpcs) for entry in entries}


def _refuse_repeated(hashes: Sequence[str]) -> None:
    """Raise FixConfigurationError if two entries are of one token: nobody could tell which of them holds."""
    first: dict[str, int] = {}
    for place, digest in enumerate(hashes):
        if (other := first.setdefault(digest, place)) != place:
            raise FixConfigurationError(
                f"token_file is malformed: entries [{other}] and [{place}] have the same sha256"
            )
