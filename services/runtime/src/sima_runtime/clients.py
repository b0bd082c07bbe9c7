"""Calls other services: deadlines, retries, credentials, and their errors as exceptions.

Use::

    identity = ServiceClient("identity", "dns:///identity:7001", settings)
    stub = IdentityServiceStub(identity.channel)
    response = await identity.call(stub.Resolve, request)
"""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from sima_runtime.context import current_or_none
from sima_runtime.errors import DependencyUnavailableError, FixConfigurationError
from sima_runtime.settings import ClientSettings
from sima_runtime.statuses import status_error
from sima_runtime.tls import channel_credentials
from sima_runtime.transport import AUTHORIZATION, LARGEST_MESSAGE, REQUEST_ID, WORKSPACE
from sima_runtime.watched import WatchedFile

Request = TypeVar("Request")
Response = TypeVar("Response")
Metadata = tuple[tuple[str, str], ...]

#: Every write is idempotent, so what did not arrive may be sent again; anything else is the caller's to decide.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
}


class ServiceClient:
    """A connection to one service; made once, closed at the end."""

    def __init__(self, service: str, address: str, settings: ClientSettings) -> None:
        """Set up the connection; it is opened with the first call.

        Args:
            service: Name of the service in errors.
            address: Where it is, as gRPC names targets.
            settings: Credentials and the default deadline.

        Raises:
            FixConfigurationError: A configured file cannot be read.
        """
        self.service = service
        self.channel = open_channel(address, settings)
        self._timeout = settings.client_timeout_seconds
        self._token = _token(settings.client_token_file)

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        workspace: str | None = None,
        deadline: float | None = None,
    ) -> Response:
        """Call a method and return its answer.

        Args:
            method: Method of a stub over `channel`.
            request: The request.
            workspace: For which workspace; absent: the one of the call being served.
            deadline: Seconds; absent: the default. Never longer than who called us waits.

        Raises:
            SimaError: What the other service answered (see `statuses.status_error`).
        """
        try:
            return await method(request, timeout=self._seconds(deadline), metadata=self._metadata(workspace))
        except grpc.aio.AioRpcError as error:
            raise status_error(error, self.service) from None

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        workspace: str | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Call a method and yield its answers. Without `deadline` it may go on for ever.

        Raises as `call` does; a stream that ended because its credential was replaced may be opened again at once.
        """
        metadata = self._metadata(workspace)
        call = method(request, timeout=deadline, metadata=metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED and self._metadata(workspace) != metadata:
                raise DependencyUnavailableError(self.service) from None
            raise status_error(error, self.service) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the connection; calls still running are cancelled."""
        await self.channel.close()

    def _seconds(self, deadline: float | None) -> float:
        call = current_or_none()
        left = call.seconds_left() if call is not None else None
        seconds = self._timeout if deadline is None else deadline
        return seconds if left is None else min(seconds, left)

    def _metadata(self, workspace: str | None) -> Metadata:
        call = current_or_none()
        metadata = self._token.current() if self._token is not None else ()
        if call is not None:
            metadata = (*metadata, (REQUEST_ID, call.request_id))
            workspace = workspace or call.workspace
        return (*metadata, (WORKSPACE, workspace)) if workspace else metadata


def open_channel(address: str, settings: ClientSettings) -> grpc.aio.Channel:
    """Return a channel with Sima's retries and limits, over TLS if it is configured."""
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.initial_reconnect_backoff_ms", 100),  # a service that was restarted is soon found again
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    credentials = channel_credentials(settings)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    return grpc.aio.secure_channel(address, credentials, options)


def _token(path: Path | None) -> WatchedFile[Metadata] | None:
    return None if path is None else WatchedFile("client_token_file", path, _authorization)


def _authorization(content: bytes) -> Metadata:
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable():
        raise FixConfigurationError("client_token_file must hold one token")
    return ((AUTHORIZATION, f"Bearer {token}"),)
