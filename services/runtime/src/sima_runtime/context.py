"""The call being served: its workspace, request id and method, readable anywhere below the servicer."""

import hashlib
import itertools
import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass

WORKSPACE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_PROCESS = secrets.token_hex(8)  # request ids: random once a process, then counted
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class CallContext:
    """What is known about a call.

    Attributes:
        workspace: Whose data the call may touch; empty until the credential was checked, and in exempt calls.
        request_id: Names the call in logs of all services that it passes.
        method: Full name of the RPC, for example `/sima.profile.v1.ProfileService/Ingest`.
        deadline: Instant of `time.monotonic()` at which the caller stops waiting; None if it waits for ever.
    """

    workspace: str
    request_id: str
    method: str = ""
    deadline: float | None = None

    def seconds_left(self) -> float | None:
        """Seconds until the caller stops waiting, at least 0; None if it waits for ever."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_current: ContextVar[CallContext] = ContextVar("sima_call")


def current() -> CallContext:
    """Return the call being served.

    Raises:
        LookupError: No call is being served here, as in background work.
    """
    return _current.get()


def current_or_none() -> CallContext | None:
    """Return the call being served, or None outside of calls."""
    return _current.get(None)


def enter(context: CallContext) -> None:
    """Make `context` the call being served, for the rest of the current task."""
    _current.set(context)


def new_request_id() -> str:
    """Return a fresh request id."""
    return f"{_PROCESS}-{next(_numbers):x}"


def is_workspace_name(name: str) -> bool:
    """Whether `name` can be a workspace: small letters, digits, `_` and `-`, at most 63, no sign first."""
    return WORKSPACE_NAME.fullmatch(name) is not None


def workspace_secret(master: bytes, workspace: str) -> bytes:
    """Derive a workspace's own secret (32 bytes) from the master key (at most 64 bytes)."""
    return hashlib.blake2b(workspace.encode(), key=master, digest_size=32).digest()
