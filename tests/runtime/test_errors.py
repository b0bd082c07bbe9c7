"""Exceptions of the domain arrive at the client as reasons, and a surprise as nothing but an id."""

from collections.abc import AsyncIterable, AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sima.error.v1.error_reason_pb2 import ErrorReason
from sima.identity.v1.identity_service_pb2 import ResolveRequest, WatchProfileChangesRequest
from sima_runtime.errors import (
    UNLISTED,
    AlreadyExistsError,
    ContradictionError,
    CursorExpiredError,
    DeadlineExceededError,
    DependencyUnavailableError,
    FixConfigurationError,
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
    Violations,
    WorkspaceNotAllowedError,
)
from sima_runtime.statuses import error_status, reason_name

from .conftest import LogLines, ServeTold, Told

SECRET = "ada@example.com"

# Each with the code that clients see and whether the other service's exception becomes ours.
FORMS = [
    (InvalidFieldsError([Violation("a", "must be b")]), grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError("segment", "vip"), grpc.StatusCode.NOT_FOUND),
    (AlreadyExistsError("segment", "vip"), grpc.StatusCode.ALREADY_EXISTS),
    (InUseError("segment", "vip", "loyal"), grpc.StatusCode.FAILED_PRECONDITION),
    (ContradictionError("00ff"), grpc.StatusCode.FAILED_PRECONDITION),
    (StaleVersionError("policy", "3"), grpc.StatusCode.ABORTED),
    (CursorExpiredError("facts"), grpc.StatusCode.OUT_OF_RANGE),
    (PageTokenError(), grpc.StatusCode.INVALID_ARGUMENT),
    (DependencyUnavailableError("database"), grpc.StatusCode.UNAVAILABLE),
    (OverloadedError("connections"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExceededError(), grpc.StatusCode.DEADLINE_EXCEEDED),
]
ACCESS = [UnauthenticatedError(), MethodNotAllowedError("a/b"), WorkspaceNotAllowedError("acme")]


def raising(error: Exception) -> Told:
    """A servicer whose Resolve fails, and whose stream fails after one page."""

    async def resolve() -> None:
        raise error

    async def watch() -> AsyncIterator[str]:
        yield "first"
        raise error

    return Told(resolve, watch)


@pytest.mark.parametrize(("error", "code"), FORMS, ids=lambda case: type(case).__name__)
async def test_calls_and_streams_translate(serve_told: ServeTold, error: SimaError, code: grpc.StatusCode) -> None:
    """A refusal has its code and reason, in calls and in streams, and is the same exception again at the client."""
    server = await serve_told(raising(error))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await read_all(server.stub.WatchProfileChanges(WatchProfileChangesRequest()))
    assert failed.value.code() is code
    with pytest.raises(type(error)) as called:
        await server.client.call(server.stub.Resolve, ResolveRequest(), deadline=60)
    assert vars(called.value) == vars(error)
    pages = server.client.stream(server.stub.WatchProfileChanges, WatchProfileChangesRequest())
    assert (await anext(pages)).cursor == "first"
    with pytest.raises(type(error)) as streamed:
        await anext(pages)
    assert vars(streamed.value) == vars(error)


@pytest.mark.parametrize("error", ACCESS, ids=lambda error: type(error).__name__)
async def test_refused_credential_is_not_the_callers_fault(serve_told: ServeTold, error: SimaError) -> None:
    """When another service refuses our own credential, our caller does not hear that theirs is bad."""
    server = await serve_told(raising(error))
    with pytest.raises(RemoteError) as caught:
        await server.client.call(server.stub.Resolve, ResolveRequest())
    assert caught.value.service == "identity"


def test_every_reason_of_the_contract_is_raised() -> None:
    """Each reason that clients may meet belongs to an exception."""
    sent = set()
    for error in [form for form, _ in FORMS] + ACCESS:
        status = error_status(error)
        assert status is not None
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        sent.add(info.reason)
    surprises = {"UNSPECIFIED", "INTERNAL"}
    assert sent | surprises == {reason_name(reason) for reason in ErrorReason.values()}


async def test_all_violations_at_once(serve_told: ServeTold) -> None:
    """A bad request hears of every bad field in one answer."""
    found = Violations()
    found.require(False, "sets[0].source", "must not be empty")
    found.require(True, "sets[1].source", "must not be empty")
    found.add("sets[2].observed_at", "must be set")
    server = await serve_told(raising(InvalidFieldsError(found)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.stub.Resolve(ResolveRequest())
    status = rpc_status.from_call(caught.value)
    assert status is not None
    request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(request) for detail in status.details)
    assert [(bad.field, bad.description) for bad in request.field_violations] == [
        ("sets[0].source", "must not be empty"),
        ("sets[2].observed_at", "must be set"),
    ]


MANY = [
    Violation(f"sets[{n}].identifiers[0].value", "expected an e-mail address, as ada@example.com")
    for n in range(10_000)
]
WIDE = [Violation(f"sets[{n}].source", "متجر" * 10_000) for n in range(60)]  # which HTTP/2 writes as %D9%85...


@pytest.mark.parametrize("found", [MANY, WIDE, MANY[:60]], ids=["many", "wide", "few too many"])
async def test_more_violations_than_fit_are_counted(serve_told: ServeTold, found: list[Violation]) -> None:
    """What a client takes at the end of a call is bounded; it hears of the first, and of how many it does not hear."""
    server = await serve_told(raising(InvalidFieldsError(found)))
    with pytest.raises(InvalidFieldsError) as caught:
        await server.client.call(server.stub.Resolve, ResolveRequest())
    *listed, last = caught.value.violations
    assert [violation.field for violation in listed] == [violation.field for violation in found[: len(listed)]]
    assert last == Violation(UNLISTED, f"{len(found) - len(listed)} more that are not listed")
    assert listed
    assert not caught.value.lists_all
    again = await serve_told(raising(caught.value))
    with pytest.raises(InvalidFieldsError) as relayed:
        await again.client.call(again.stub.Resolve, ResolveRequest())
    assert relayed.value.violations == caught.value.violations


async def test_a_long_name_in_an_error_is_cut(serve_told: ServeTold) -> None:
    """It reaches the client as the error that it is, however long the name that was asked for."""
    server = await serve_told(raising(InUseError("segment", "قطاع" * 10_000, "vip")))
    with pytest.raises(InUseError) as caught:
        await server.client.call(server.stub.Resolve, ResolveRequest())
    assert caught.value.name.startswith("قطاع")
    assert caught.value.used_by == "vip"


def test_violations_without_any_raise_nothing() -> None:
    """Checking a good request does nothing."""
    found = Violations()
    found.check()
    assert not found


@pytest.mark.parametrize(
    "surprise", [ValueError(SECRET), KeyError(SECRET), FixConfigurationError(SECRET), RemoteError("profile", SECRET)]
)
async def test_surprise_shows_an_id_and_no_text(
    serve_told: ServeTold, surprise: Exception, log_lines: LogLines
) -> None:
    """An unexpected exception is INTERNAL with the request id of the log, in calls and streams; its text is nowhere."""
    server = await serve_told(raising(surprise))
    calls = (server.stub.Resolve, lambda _: read_all(server.stub.WatchProfileChanges(WatchProfileChangesRequest())))
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(ResolveRequest())
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert SECRET not in repr(caught.value) + str(caught.value.trailing_metadata())
        info = error_info(caught.value)
        assert info.reason == "INTERNAL"
        [logged] = [line for line in log_lines() if line["event"] == "surprise"]
        assert logged["request_id"] == info.metadata["request_id"]
        assert logged["exception"][0]["type"] == type(surprise).__name__
        assert SECRET not in str(logged)


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The reason of a failed call and its metadata."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info


async def read_all(stream: AsyncIterable[object]) -> None:
    """Read a stream to its end."""
    async for _ in stream:
        pass


async def test_client_learns_the_request_id_of_a_surprise(serve_told: ServeTold) -> None:
    """The exception of a client names the id under which the other service logged."""
    server = await serve_told(raising(ValueError(SECRET)))
    with pytest.raises(RemoteError) as caught:
        await server.client.call(server.stub.Resolve, ResolveRequest())
    assert caught.value.request_id
    assert SECRET not in str(caught.value)
