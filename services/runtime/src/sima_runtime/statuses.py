"""How exceptions look on the wire, both ways: `google.rpc.Status` with an ErrorInfo, and BadRequest for bad fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from sima.error.v1 import error_reason_pb2 as reasons

from sima_runtime.errors import (
    UNLISTED,
    AlreadyExistsError,
    ContradictionError,
    CursorExpiredError,
    DeadlineExceededError,
    DependencyUnavailableError,
    InUseError,
    InvalidFieldsError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    PageTokenError,
    RemoteError,
    SimaError,
    StaleVersionError,
    UnauthenticatedError,
    Violation,
    WorkspaceNotAllowedError,
)

DOMAIN = "sima"

# Of all that is sent at the end of a call, clients take 8 KiB. The message stands in it twice, once with up to three
# bytes for one, and the details may travel in base64. All in bytes.
_MOST_TEXT = 500
_MOST_OF_VIOLATION = 1_000  # each of its two texts
_MOST_OF_VIOLATIONS = 3_000
_AROUND_VIOLATION = 10


@dataclass(frozen=True, slots=True)
class _Form:
    """Code and reason of an exception; `metadata` names its attributes, which are its arguments too."""

    code: int
    reason: "reasons.ErrorReason.ValueType"
    metadata: tuple[str, ...] = ()


_FORMS: Mapping[type[SimaError], _Form] = {
    InvalidFieldsError: _Form(code_pb2.INVALID_ARGUMENT, reasons.ERROR_REASON_INVALID_FIELDS),
    UnauthenticatedError: _Form(code_pb2.UNAUTHENTICATED, reasons.ERROR_REASON_UNAUTHENTICATED),
    MethodNotAllowedError: _Form(code_pb2.PERMISSION_DENIED, reasons.ERROR_REASON_METHOD_NOT_ALLOWED, ("method",)),
    WorkspaceNotAllowedError: _Form(
        code_pb2.PERMISSION_DENIED, reasons.ERROR_REASON_WORKSPACE_NOT_ALLOWED, ("workspace",)
    ),
    NotFoundError: _Form(code_pb2.NOT_FOUND, reasons.ERROR_REASON_NOT_FOUND, ("resource", "name")),
    AlreadyExistsError: _Form(code_pb2.ALREADY_EXISTS, reasons.ERROR_REASON_ALREADY_EXISTS, ("resource", "name")),
    InUseError: _Form(code_pb2.FAILED_PRECONDITION, reasons.ERROR_REASON_IN_USE, ("resource", "name", "used_by")),
    ContradictionError: _Form(code_pb2.FAILED_PRECONDITION, reasons.ERROR_REASON_CONTRADICTION, ("decision_id",)),
    StaleVersionError: _Form(code_pb2.ABORTED, reasons.ERROR_REASON_STALE_VERSION, ("resource", "version")),
    CursorExpiredError: _Form(code_pb2.OUT_OF_RANGE, reasons.ERROR_REASON_CURSOR_EXPIRED, ("feed",)),
    PageTokenError: _Form(code_pb2.INVALID_ARGUMENT, reasons.ERROR_REASON_PAGE_TOKEN_INVALID),
    DependencyUnavailableError: _Form(code_pb2.UNAVAILABLE, reasons.ERROR_REASON_DEPENDENCY_UNAVAILABLE, ("service",)),
    OverloadedError: _Form(code_pb2.RESOURCE_EXHAUSTED, reasons.ERROR_REASON_OVERLOADED, ("resource",)),
    DeadlineExceededError: _Form(code_pb2.DEADLINE_EXCEEDED, reasons.ERROR_REASON_DEADLINE_EXCEEDED),
}


def reason_name(reason: "reasons.ErrorReason.ValueType") -> str:
    """Return a reason as it travels: without the prefix."""
    return reasons.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


_TYPES = {reason_name(form.reason): kind for kind, form in _FORMS.items()}
# A dependency that refuses our credential is our own misconfiguration, never the fault of who called us.
_OUR_FAULT = (UnauthenticatedError, MethodNotAllowedError, WorkspaceNotAllowedError)


def error_status(error: SimaError) -> status_pb2.Status | None:
    """Return the status that tells a client of an exception; None if it is not meant for clients."""
    form = next((_FORMS[kind] for kind in type(error).__mro__ if kind in _FORMS), None)
    if form is None:
        return None
    status = _status(form.code, form.reason, str(error), {name: getattr(error, name) for name in form.metadata})
    if isinstance(error, InvalidFieldsError):
        _add_detail(status, _bad_request(error))
    return status


def surprise_status(request_id: str) -> status_pb2.Status:
    """Return the status of an unexpected exception: an id under which the log has the details, and no text."""
    return _status(code_pb2.INTERNAL, reasons.ERROR_REASON_INTERNAL, "internal error", {"request_id": request_id})


def status_error(error: grpc.RpcError, service: str) -> SimaError:
    """Return the exception that a failed call to `service` stands for.

    The exception to raise `from None`: what the other service said is in it already.
    """
    status = rpc_status.from_call(cast(grpc.Call, error))
    info = _error_info(status)
    kind = _TYPES.get(info.reason) if info is not None else None
    if status is None or info is None or kind is None or kind in _OUR_FAULT:
        return _plain_error(cast(grpc.Call, error).code(), info, service)
    if kind is InvalidFieldsError:
        return InvalidFieldsError(_violations(status))
    arguments = {name: info.metadata.get(name, "") for name in _FORMS[kind].metadata}
    return kind(**arguments)


def _plain_error(code: grpc.StatusCode, info: error_details_pb2.ErrorInfo | None, service: str) -> SimaError:
    # A server in which a thousand calls wait to begin, or that stops, cancels calls without a word.
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return DependencyUnavailableError(service)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceededError()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(service)
    return RemoteError(service, code.name, info.metadata.get("request_id", "") if info is not None else "")


def _status(
    code: int, reason: "reasons.ErrorReason.ValueType", message: str, metadata: Mapping[str, str]
) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_clipped(message, _MOST_TEXT))
    info = {name: _clipped(text, _MOST_TEXT) for name, text in metadata.items()}
    _add_detail(status, error_details_pb2.ErrorInfo(reason=reason_name(reason), domain=DOMAIN, metadata=info))
    return status


def _add_detail(status: status_pb2.Status, detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _bad_request(error: InvalidFieldsError) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_clipped(violation.field, _MOST_OF_VIOLATION),
                description=_clipped(violation.description, _MOST_OF_VIOLATION),
            )
            for violation in _fitting(error.violations)
        ]
    )


def _fitting(violations: Sequence[Violation]) -> list[Violation]:
    """Return as many violations as there is room for; if not all, a last one says how many more there are."""
    sizes = accumulate(map(_size, violations))
    count = sum(1 for _ in takewhile(lambda size: size <= _MOST_OF_VIOLATIONS, sizes))
    left = len(violations) - count
    return [*violations[:count], *([Violation(UNLISTED, f"{left} more that are not listed")] if left else [])]


def _size(violation: Violation) -> int:
    if violation.field == UNLISTED:  # there is always room for it: what another service left out stays left out
        return 0
    texts = (violation.field, violation.description)
    return _AROUND_VIOLATION + sum(min(len(text.encode()), _MOST_OF_VIOLATION) for text in texts)


def _clipped(text: str, most: int) -> str:
    data = text.encode()
    return text if len(data) <= most else f"{data[: most - 3].decode(errors='ignore')}..."


def _error_info(status: status_pb2.Status | None) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _violations(status: status_pb2.Status) -> list[Violation]:
    request = error_details_pb2.BadRequest()
    found = [detail for detail in status.details if detail.Unpack(request)]
    return [Violation(item.field, item.description) for item in request.field_violations] if found else []
