"""TLS of servers and clients, from PEM files. A server takes up a renewed certificate with the next connection."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import structlog

from sima_runtime.errors import FixConfigurationError
from sima_runtime.settings import ClientSettings, TlsSettings

_log = structlog.get_logger()


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials | None:
    """Return the credentials of a server; None if it speaks plain text.

    Raises:
        FixConfigurationError: Files are missing or no such PEM, or a certificate stands without key, or the reverse.
    """
    files = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    if files == (None, None, None):
        return None
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        raise FixConfigurationError("tls_cert_file and tls_key_file must be set together")
    return grpc.dynamic_ssl_server_credentials(
        _certificates(settings),
        cast(Any, _renewed(settings, files)),  # None is allowed, though the stub says otherwise
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


def channel_credentials(settings: ClientSettings) -> grpc.ChannelCredentials | None:
    """Return the credentials of a client; None if it speaks plain text.

    Raises:
        FixConfigurationError: Files are missing or no such PEM, or a certificate stands without key, or the reverse.
    """
    if (settings.client_cert_file is None) != (settings.client_key_file is None):
        raise FixConfigurationError("client_cert_file and client_key_file must be set together")
    if settings.client_ca_file is None:
        if settings.client_cert_file is not None:
            raise FixConfigurationError("client_cert_file needs client_ca_file")
        return None
    authorities = _authorities(settings.client_ca_file, "client_ca_file")
    key, chain = _pair(settings.client_key_file, settings.client_cert_file, "client")
    return grpc.ssl_channel_credentials(authorities, key, chain)


def _certificates(settings: TlsSettings) -> grpc.ServerCertificateConfiguration:
    key, chain = _pair(settings.tls_key_file, settings.tls_cert_file, "tls")
    authorities = _authorities(settings.tls_client_ca_file, "tls_client_ca_file")
    return grpc.ssl_server_certificate_configuration([(key or b"", chain or b"")], authorities)


def _renewed(
    settings: TlsSettings, files: tuple[Path | None, ...]
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """Return what gRPC asks before each handshake: the certificates if a file changed since, else None."""
    seen = _versions(files)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            now = _versions(files)
            if now == seen:
                return None
            certificates = _certificates(settings)
        except (OSError, FixConfigurationError):  # the old ones serve until the new ones are there
            _log.exception("certificate_not_renewed")
            return None
        seen = now
        _log.info("certificate_renewed")
        return certificates

    return renewed


def _versions(files: tuple[Path | None, ...]) -> list[tuple[int, int]]:
    stats = [path.stat() for path in files if path is not None]
    return [(stat.st_mtime_ns, stat.st_ino) for stat in stats]


# gRPC takes any bytes, and then fails each connection as if nobody were there. So OpenSSL is asked first.


def _authorities(path: Path | None, setting: str) -> bytes | None:
    if path is None:
        return None
    found = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise FixConfigurationError(f"{setting} must hold certificates in PEM") from None
    return found


def _pair(key: Path | None, chain: Path | None, prefix: str) -> tuple[bytes | None, bytes | None]:
    if key is None or chain is None:
        return None, None
    found = _read(key), _read(chain)
    try:
        # The password keeps OpenSSL from asking for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(chain, key, password="")
    except ssl.SSLError:
        raise FixConfigurationError(
            f"{prefix}_cert_file and {prefix}_key_file must hold a certificate and its key, in PEM without a password"
        ) from None
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FixConfigurationError(f"{path} must be a readable PEM file") from error
