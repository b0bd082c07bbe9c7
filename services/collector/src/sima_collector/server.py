"""The HTTP server: uvicorn, with bounds for connections, its own way to stop, and an address that others can find."""

import asyncio
import contextlib
import math
import signal
import socket
import ssl
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Generator
from pathlib import Path
from typing import ClassVar

import structlog
import uvicorn
from sima_runtime.errors import FixConfigurationError
from sima_runtime.server import running
from sima_runtime.supervision import Background
from sima_runtime.watched import CHECK_SECONDS, WatchedFile
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sima_collector.settings import CollectorSettings

_log = structlog.get_logger(__name__)

_HEADER_BYTES = 64 << 10
_HEADERS_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """Bounds what uvicorn leaves open: connections, the time and length of headers, and what follows an answer."""

    header_seconds: ClassVar[float]
    most_connections: ClassVar[int]
    _header_timer: TimerHandle | None = None
    _hoarded = 0  # bytes that came since the parser last handed something on

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.close()
        else:
            self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Take bytes in. Behind an answer uvicorn waits no longer once any have come, so they begin a new wait."""
        if self._header_timer is None and self._answered:
            self._wait_for_headers()
        self._hoarded += len(data)
        super().data_received(data)
        if self._hoarded > _HEADER_BYTES and not self.transport.is_closing():
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a request."""
        super().on_message_begin()
        self._wait_for_headers()

    def on_headers_complete(self) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._hoarded = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body in."""
        self._hoarded = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _refuse_headers(self) -> None:
        if self.cycle is None or self._answered:  # else they follow a body, and its answer is not to be mixed with this
            self.transport.write(_HEADERS_TOO_LONG)
        self.transport.close()

    def _wait_for_headers(self) -> None:
        self._stop_waiting()
        self._header_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class _Server(uvicorn.Server):
    """Leaves signals to `serve_http`: uvicorn would end the process by the signal before the buffer is empty."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture nothing."""
        yield


async def serve_http(app: ASGIApp, settings: CollectorSettings, on_stop: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end.

    Args:
        app: The application.
        settings: Where and how.
        on_stop: Called at the signal, before running requests are waited for.

    Raises:
        FixConfigurationError: The address cannot be bound, or a file of TLS cannot be read.
    """
    with _bound(settings.listen_address) as listener:
        server = _Server(_config(app, settings), lambda: _announce(settings, listener))

        loop = asyncio.get_running_loop()

        def stop() -> None:
            on_stop()
            loop.call_later(settings.not_serving_seconds, setattr, server, "should_exit", True)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        async with running(_watchers(server.config.ssl, settings)):
            await server.serve(sockets=[listener])


def _config(app: ASGIApp, settings: CollectorSettings) -> uvicorn.Config:
    class Protocol(PatientProtocol):
        header_seconds = settings.header_seconds
        most_connections = settings.connections

    if settings.tls_cert_file is not None:
        _load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings.tls_cert_file, settings.tls_key_file)
    elif settings.tls_key_file is not None or settings.tls_client_ca_file is not None:
        raise FixConfigurationError("tls_key_file and tls_client_ca_file need tls_cert_file")
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        ssl_ca_certs=settings.tls_client_ca_file,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca_file else ssl.CERT_NONE,
    )
    try:
        config.load()
    except OSError as error:
        raise FixConfigurationError("tls_client_ca_file must hold certificates in PEM") from error
    return config


def _watchers(context: ssl.SSLContext | None, settings: CollectorSettings) -> list[Background]:
    """The work that lets new connections see a renewed certificate; none without TLS."""
    if context is None or (chain := settings.tls_cert_file) is None:
        return []

    def load(_: bytes) -> None:
        # First aside: a chain that does not fit its key would spoil the context that serves.
        for one in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            _load_chain(one, chain, settings.tls_key_file)

    certificate = WatchedFile("tls_cert_file", chain, load)

    async def watch() -> None:
        while True:
            certificate.current()
            await asyncio.sleep(CHECK_SECONDS)

    return [watch]


def _load_chain(context: ssl.SSLContext, chain: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(chain, key, password="")  # which keeps OpenSSL from asking for one at the terminal
    except OSError as error:
        raise FixConfigurationError(
            "tls_cert_file and tls_key_file must hold a certificate and its key, in PEM without a password"
        ) from error


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=2_048)
    except (ValueError, OSError) as error:
        raise FixConfigurationError("listen_address must be a free address such as 127.0.0.1:8080") from error


def _announce(settings: CollectorSettings, listener: socket.socket) -> None:
    """Log the address, and write it so that who waits for the file never reads half of it."""
    address = f"{settings.listen_address.rpartition(':')[0]}:{listener.getsockname()[1]}"
    _log.info("serving", address=address)
    if settings.address_file is not None:
        part = settings.address_file.with_suffix(".part")
        part.write_text(address)
        part.replace(settings.address_file)
