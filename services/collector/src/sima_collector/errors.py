"""Exceptions of the collector itself, grouped like those of the runtime."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from sima_runtime.errors import FixConfigurationError, RefuseRequestError


class Verdict(StrEnum):
    """Why a whole payload was refused."""

    DENIED = "denied"  # it does not prove where it comes from
    MALFORMED = "malformed"  # it is not what the channel sends
    FAILED = "failed"  # the connector could not get through with it


class FixSourcesError(FixConfigurationError):
    """The file of sources has mistakes; `problems` names all of them, each with its place in the file."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  ".join((f"sources file {path}:", *self.problems)))


class TooLargeError(RefuseRequestError):
    """A body is larger than allowed."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"the body must have at most {most_bytes} bytes")


class EncodedError(RefuseRequestError):
    """A body is compressed: whoever signed it signed that, and how large it becomes is not known before."""

    def __init__(self) -> None:
        super().__init__("expected the body as it is, without a Content-Encoding")


class BodyTooSlowError(RefuseRequestError):
    """A client took too long to send its body."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body must arrive within {seconds:g} s")


class RouteMissingError(RefuseRequestError):
    """No connector answers this address."""


class MethodMissingError(RefuseRequestError):
    """The connector answers this address, but not this method; `allowed` names those it does."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = tuple(sorted(set(allowed)))
        super().__init__(f"expected the method {' or '.join(self.allowed)}")


class PayloadRejectedError(RefuseRequestError):
    """The connector refused the whole payload."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        self.verdict = verdict
        super().__init__(reason)
