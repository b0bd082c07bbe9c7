"""Every exception of the services, grouped by what the caller should do. Their look on the wire: statuses.py."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sima_sdk.errors import FixConfigurationError, InvalidIdentifierError, RefuseRequestError, SimaError

__all__ = [
    "AlreadyExistsError",
    "CursorExpiredError",
    "DeadlineExceededError",
    "DependencyUnavailableError",
    "FixConfigurationError",
    "InUseError",
    "InvalidFieldsError",
    "InvalidIdentifierError",
    "MethodNotAllowedError",
    "NotFoundError",
    "OverloadedError",
    "PageTokenError",
    "RefuseRequestError",
    "RemoteError",
    "RetryLaterError",
    "SimaError",
    "StaleVersionError",
    "UnauthenticatedError",
    "Violation",
    "Violations",
    "WorkspaceNotAllowedError",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: its path from the request on, and what was expected (never the value)."""

    field: str
    description: str


#: The field of a last violation that says how many more there are than could be sent.
UNLISTED = "..."


class InvalidFieldsError(RefuseRequestError):
    """The request has bad fields; `violations` lists all of them, or of another service's as many as it could send."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in self.violations))

    @property
    def lists_all(self) -> bool:
        """Whether no bad field is left out of `violations`."""
        return all(violation.field != UNLISTED for violation in self.violations)


class Violations:
    """Collects what is wrong with a request, so that the caller hears everything at once.

    Add as you validate, below the path of the part at hand, and call `check` at the end.
    """

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[Violation]:
        return iter(self._found)

    def add(self, field: str, description: str) -> None:
        """Note that `field` (a path such as `facts[3].source`) is not what `description` expects."""
        self._found.append(Violation(field, description))

    def require(self, condition: bool, field: str, description: str) -> bool:
        """Note a violation unless `condition` holds, and return `condition`."""
        if not condition:
            self.add(field, description)
        return condition

    def check(self) -> None:
        """Raise InvalidFieldsError with everything that was noted; do nothing if nothing was."""
        if self._found:
            raise InvalidFieldsError(self._found)


class NotFoundError(RefuseRequestError):
    """The thing named does not exist. `name` must be no personal data: for people pass the kind of the key."""

    def __init__(self, resource: str, name: str) -> None:
        self.resource, self.name = resource, name
        super().__init__(f"no such {resource}")


class AlreadyExistsError(RefuseRequestError):
    """The thing named exists already with other content."""

    def __init__(self, resource: str, name: str) -> None:
        self.resource, self.name = resource, name
        super().__init__(f"the {resource} exists already with other content")


class InUseError(RefuseRequestError):
    """The thing is still used by another, and cannot be removed or changed so."""

    def __init__(self, resource: str, name: str, used_by: str) -> None:
        self.resource, self.name, self.used_by = resource, name, used_by
        super().__init__(f"the {resource} is still used")


class ContradictionError(RefuseRequestError):
    """A decision that holds says the contrary."""

    def __init__(self, decision_id: str) -> None:
        self.decision_id = decision_id
        super().__init__("a decision that holds says the contrary; withdraw it first")


class StaleVersionError(RefuseRequestError):
    """What was to be replaced is not what is there now."""

    def __init__(self, resource: str, version: str) -> None:
        self.resource, self.version = resource, version
        super().__init__(f"another version of the {resource} is in force; read it again")


class CursorExpiredError(RefuseRequestError):
    """The cursor is of an earlier epoch of the feed; the reader must begin again from the start."""

    def __init__(self, feed: str) -> None:
        self.feed = feed
        super().__init__("the cursor is of an earlier epoch of the feed; read again from the start")


class PageTokenError(RefuseRequestError):
    """The page token was not given by this server for this request."""

    def __init__(self) -> None:
        super().__init__("the page token was not given for this request")


class UnauthenticatedError(RefuseRequestError):
    """The credential is missing, unknown or malformed."""

    def __init__(self) -> None:
        super().__init__("a valid bearer token is required")


class MethodNotAllowedError(RefuseRequestError):
    """The credential does not allow this call."""

    def __init__(self, method: str) -> None:
        self.method = method
        super().__init__("the credential does not allow this call")


class WorkspaceNotAllowedError(RefuseRequestError):
    """The credential does not allow this workspace."""

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        super().__init__("the credential does not allow this workspace")


class RetryLaterError(SimaError):
    """Nothing is wrong with the request, and the same may succeed later. Unless a deadline passed, nothing was done."""


class DependencyUnavailableError(RetryLaterError):
    """A service that this call needs does not answer; nothing was accepted."""

    def __init__(self, service: str) -> None:
        self.service = service
        super().__init__(f"{service} does not answer")


class OverloadedError(RetryLaterError):
    """`resource` is busy, full or away at the moment."""

    def __init__(self, resource: str) -> None:
        self.resource = resource
        super().__init__(f"{resource} cannot take on more at the moment")


class TooSlowError(OverloadedError):
    """The database did not do in time what this call asks of it; others may well be served."""

    def __init__(self) -> None:
        super().__init__("the database")


class DeadlineExceededError(RetryLaterError):
    """The caller's deadline passed before the answer was ready; what was asked for may be done all the same."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the answer was ready")


class RemoteError(SimaError):
    """Another service failed in a way that its caller can do nothing about; its log has the details.

    Attributes:
        service: Which service.
        code: Name of the status code.
        request_id: Under which id that service logged it; empty if it did not say.
    """

    def __init__(self, service: str, code: str, request_id: str = "") -> None:
        self.service, self.code, self.request_id = service, code, request_id
        super().__init__(f"{service} failed with {code}")
