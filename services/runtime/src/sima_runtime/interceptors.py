"""What surrounds every call of a server: context, errors, authentication, in this order from the outside.

Each wraps the handler of a method once; then a call costs a few microseconds more. Health and reflection are exempt.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from sima_runtime.auth import DEFAULT_WORKSPACE, Tokens
from sima_runtime.context import CallContext, current, enter, is_workspace_name, new_request_id
from sima_runtime.errors import MethodNotAllowedError, SimaError, UnauthenticatedError, WorkspaceNotAllowedError
from sima_runtime.statuses import error_status, surprise_status
from sima_runtime.telemetry import call_seconds
from sima_runtime.transport import AUTHORIZATION, REQUEST_ID, WORKSPACE

ServicerContext = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler, whose stub describes synchronous servers only
CallDetails = grpc.HandlerCallDetails
Unary = Callable[[Any, ServicerContext], Awaitable[Any]]
Stream = Callable[[Any, ServicerContext], AsyncIterator[Any]]
#: Surrounds a call; what it gives, if anything, is called before each answer of a stream, which may go on for days.
Guard = AbstractAsyncContextManager[Callable[[], None] | None]

_EXEMPT = ("/grpc.health.v1.Health/", "/grpc.reflection.")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

_log = structlog.get_logger()


class _Around(grpc.aio.ServerInterceptor, ABC):
    """Surrounds the handlers of all methods that are not exempt with a guard."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self, continuation: Callable[[CallDetails], Awaitable[Handler]], handler_call_details: CallDetails
    ) -> Handler:
        """Answer the wrapped handler of the method that is called."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or method.startswith(_EXEMPT):
            return handler
        inner, wrapped = self._wrapped.get(method, (None, None))
        if inner is not handler:
            wrapped = _wrap(handler, lambda context: self.guard(method, context))
            self._wrapped[method] = (handler, wrapped)
        return wrapped

    @abstractmethod
    def guard(self, method: str, context: ServicerContext) -> Guard:
        """Return what surrounds one call of a method."""


def _wrap(handler: Handler, guard: Callable[[ServicerContext], Guard]) -> Handler:
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    behaviours = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    behaviour = next(behaviour for behaviour in behaviours if behaviour is not None)
    surround = _surround_stream if handler.response_streaming else _surround_unary
    return make(surround(behaviour, guard), handler.request_deserializer, handler.response_serializer)


def _surround_unary(behaviour: Unary, guard: Callable[[ServicerContext], Guard]) -> Unary:
    async def call(request: object, context: ServicerContext) -> object:
        async with guard(context):
            return await behaviour(request, context)

    return call


def _surround_stream(behaviour: Stream, guard: Callable[[ServicerContext], Guard]) -> Stream:
    async def call(request: object, context: ServicerContext) -> AsyncIterator[object]:
        async with guard(context) as check:
            async for response in behaviour(request, context):
                if check is not None:
                    check()
                yield response

    return call


class ContextInterceptor(_Around):
    """Gives each call its context, logs it in one line and measures it."""

    def guard(self, method: str, context: ServicerContext) -> Guard:
        """Return what opens and logs one call."""
        return _Call(method, context)


class _Call:
    __slots__ = ("_context", "_method", "_started")

    def __init__(self, method: str, context: ServicerContext) -> None:
        self._method = method
        self._context = context

    async def __aenter__(self) -> None:
        self._started = time.monotonic()
        left = self._context.time_remaining()
        enter(
            CallContext(
                workspace="",
                request_id=_request_id(self._context),
                method=self._method,
                deadline=None if left is None else self._started + left,
            )
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._started
        code = _code(self._context, error)
        call = current()
        call_seconds.record(seconds, {"method": self._method, "code": code})
        _log.info(
            "call",
            method=self._method,
            workspace=call.workspace,
            request_id=call.request_id,
            code=code,
            ms=round(seconds * 1000, 3),
        )


class ErrorInterceptor(_Around):
    """Translates exceptions of calls and streams into statuses; a surprise shows a request id and nothing else."""

    def guard(self, method: str, context: ServicerContext) -> Guard:
        """Return what translates the exceptions of one call."""
        return _Translated(context)


class _Translated:
    __slots__ = ("_context",)

    def __init__(self, context: ServicerContext) -> None:
        self._context = context

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, grpc.aio.AbortError):
            return  # nothing, cancelled, or told to the client already
        status = error_status(error) if isinstance(error, SimaError) else None
        if status is None:
            request_id = current().request_id
            _log.error("surprise", request_id=request_id, method=current().method, exc_info=error)
            status = surprise_status(request_id)
        await self._context.abort_with_status(rpc_status.to_status(status))


class AuthenticationInterceptor(_Around):
    """Checks the bearer token of each call and takes the workspace from it.

    Without tokens every caller may do everything, in the workspace that it names or in `main`: such a server is bound
    to loopback only.
    """

    def __init__(self, tokens: Tokens | None) -> None:
        super().__init__()
        self._tokens = tokens

    def guard(self, method: str, context: ServicerContext) -> Guard:
        """Return what checks one call."""
        return _Authenticated(self, method, context)

    def workspace(self, method: str, context: ServicerContext) -> str:
        """Return the workspace of a call.

        Raises:
            UnauthenticatedError: There is no token, or nobody has it.
            MethodNotAllowedError: The token is not for this RPC.
            WorkspaceNotAllowedError: The token is not for the workspace that the call names.
        """
        requested = _metadata(context, WORKSPACE)
        if self._tokens is None:
            return _open_workspace(requested)
        credential = self._tokens.credential(_bearer(context))
        if not credential.allows(method.removeprefix("/")):
            raise MethodNotAllowedError(method.removeprefix("/"))
        return credential.workspace_for(requested)


class _Authenticated:
    __slots__ = ("_context", "_interceptor", "_method")

    def __init__(self, interceptor: AuthenticationInterceptor, method: str, context: ServicerContext) -> None:
        self._interceptor = interceptor
        self._method = method
        self._context = context

    async def __aenter__(self) -> Callable[[], None]:
        workspace = self._interceptor.workspace(self._method, self._context)
        call = current()
        enter(CallContext(workspace, call.request_id, call.method, call.deadline))
        return self._check

    def _check(self) -> None:
        """Complain if the caller may not do any more what it does."""
        if self._interceptor.workspace(self._method, self._context) != current().workspace:
            raise UnauthenticatedError

    async def __aexit__(self, *_: object) -> None:
        return None


def _open_workspace(requested: str | None) -> str:
    if requested is None:
        return DEFAULT_WORKSPACE
    if not is_workspace_name(requested):
        raise WorkspaceNotAllowedError("")
    return requested


def _bearer(context: ServicerContext) -> str:
    scheme, _, token = (_metadata(context, AUTHORIZATION) or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise UnauthenticatedError
    return token


def _metadata(context: ServicerContext, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return cast(str, value)
    return None


def _request_id(context: ServicerContext) -> str:
    """Return the caller's request id if it is fit for a log, else a new one."""
    given = _metadata(context, REQUEST_ID) or ""
    return given if _REQUEST_ID.fullmatch(given) else new_request_id()


def _code(context: ServicerContext, error: BaseException | None) -> str:
    if error is None:
        return "OK"
    if isinstance(error, grpc.aio.AbortError):
        return context.code().name
    return "CANCELLED" if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else "UNKNOWN"
