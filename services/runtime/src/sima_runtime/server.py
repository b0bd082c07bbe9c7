"""Starts and stops a gRPC server: interceptors, health, reflection, TLS, and draining after SIGTERM.

A service's `__main__.py` describes itself and hands over::

    async def main(settings: IdentitySettings) -> None:
        await serve(settings, [Servicer(SERVICE_NAME, add_IdentityServiceServicer_to_server, servicer)],
                    background=[wakeups.run], on_stop=[wakeups.close])
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sima_runtime.addresses import is_loopback, is_taken
from sima_runtime.auth import Tokens
from sima_runtime.errors import FixConfigurationError
from sima_runtime.garbage import relieve_collector
from sima_runtime.interceptors import AuthenticationInterceptor, ContextInterceptor, ErrorInterceptor
from sima_runtime.settings import RunSettings
from sima_runtime.supervision import Background, supervise
from sima_runtime.tls import server_credentials
from sima_runtime.transport import LARGEST_MESSAGE

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Servicer:
    """A service to be served: its full name (`DESCRIPTOR.full_name`), the generated adder and the object."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: object


class Server:
    """A started server. Tests use it directly; services use `serve`."""

    def __init__(
        self,
        server: grpc.aio.Server,
        address: str,
        health_servicer: health.aio.HealthServicer,
        probed: grpc.aio.Server | None,
    ) -> None:
        self.address = address
        self._server = server
        self._health = health_servicer
        self._probed = probed

    async def announce_stop(self, seconds: float) -> None:
        """Say NOT_SERVING, and go on for a while until those who ask have heard it."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(seconds)

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and let running ones end; those that take longer are cancelled."""
        await self._server.stop(seconds)
        if self._probed is not None:
            await self._probed.stop(None)


async def start_server(settings: RunSettings, servicers: Sequence[Servicer]) -> Server:
    """Bind and start; `Server.address` tells the port.

    Raises:
        FixConfigurationError: The address cannot be bound, files are missing, or the address is not loopback though
            authentication is not configured.
    """
    server = grpc.aio.server(
        interceptors=_interceptors(settings),
        options=_options(),
        maximum_concurrent_rpcs=settings.max_calls,
    )
    health_servicer = _add_servicers(server, servicers, with_reflection=settings.reflection)
    address = _bind_services(server, settings)
    await server.start()
    for name in ["", *(servicer.name for servicer in servicers)]:
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    return Server(server, address, health_servicer, await _answer_probes(settings.health_address, health_servicer))


async def serve(
    settings: RunSettings,
    servicers: Sequence[Servicer],
    *,
    background: Sequence[Background] = (),
    on_stop: Sequence[Callable[[], None]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Arguments as for `served`."""
    stopping = _stop_signal()
    async with served(settings, servicers, background=background, on_stop=on_stop) as address:
        _log.info("serving", address=address, services=[servicer.name for servicer in servicers])
        _write_address(settings.address_file, address)
        relieve_collector()
        await stopping.wait()
        _log.info("draining", seconds=settings.drain_seconds)
    _log.info("stopped")


@asynccontextmanager
async def served(
    settings: RunSettings,
    servicers: Sequence[Servicer],
    *,
    background: Sequence[Background] = (),
    on_stop: Sequence[Callable[[], None]] = (),
) -> AsyncIterator[str]:
    """Serve while the block runs and drain at its end; gives the bound address.

    Args:
        settings: Where and how.
        servicers: What.
        background: Work to be done beside; supervised, and cancelled after the last call has ended.
        on_stop: Called before running calls are waited for; ends streams that would never end.
    """
    async with running(background):
        server = await start_server(settings, servicers)
        try:
            yield server.address
        finally:
            await server.announce_stop(settings.not_serving_seconds)
            for call in on_stop:
                call()
            await server.drain(settings.drain_seconds)


@asynccontextmanager
async def running(background: Sequence[Background]) -> AsyncIterator[None]:
    """Run background work, supervised, while the block runs."""
    tasks = [asyncio.create_task(supervise(work)) for work in background]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _interceptors(settings: RunSettings) -> list[grpc.aio.ServerInterceptor]:
    tokens = Tokens(settings.token_file) if settings.token_file is not None else None
    return [ContextInterceptor(), ErrorInterceptor(), AuthenticationInterceptor(tokens)]


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _add_servicers(
    server: grpc.aio.Server, servicers: Sequence[Servicer], *, with_reflection: bool
) -> health.aio.HealthServicer:
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for servicer in servicers:
        servicer.add(servicer.servicer, server)
    if with_reflection:
        names = [servicer.name for servicer in servicers]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return health_servicer


async def _answer_probes(address: str | None, health_servicer: health.aio.HealthServicer) -> grpc.aio.Server | None:
    """Serve health alone, without TLS and credentials, for probes that know neither."""
    if address is None:
        return None
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    _bind(server, "health_address", address, None)
    await server.start()
    return server


def _bind_services(server: grpc.aio.Server, settings: RunSettings) -> str:
    host = settings.listen_address.rpartition(":")[0]
    if settings.token_file is None and not (is_loopback(host) or settings.listen_address.startswith("unix:")):
        raise FixConfigurationError("listen_address must be loopback unless token_file is set")
    port = _bind(server, "listen_address", settings.listen_address, server_credentials(settings))
    return f"{host}:{port}"


def _bind(server: grpc.aio.Server, setting: str, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Bind the address of a setting, at which nobody may listen; returns the port."""
    free = f"{setting} must be a free address such as 127.0.0.1:7001"
    if is_taken(address):
        raise FixConfigurationError(free)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise FixConfigurationError(free) from error


def _write_address(path: Path | None, address: str) -> None:
    """Write the address so that who waits for the file never reads half of it."""
    if path is not None:
        part = path.with_suffix(".part")
        part.write_text(address)
        part.replace(path)
