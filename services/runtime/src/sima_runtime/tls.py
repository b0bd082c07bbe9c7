"""TLS of servers and clients, from PEM files. A server takes up a renewed certificate with the next connection."""

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
        FixConfigurationError: Files are missing, or a certificate stands without key or the other way round.
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
        FixConfigurationError: Files are missing, or a certificate stands without key or the other way round.
    """
    if (settings.client_cert_file is None) != (settings.client_key_file is None):
        raise FixConfigurationError("client_cert_file and client_key_file must be set together")
    if settings.client_ca_file is None:
        if settings.client_cert_file is not None:
            raise FixConfigurationError("client_cert_file needs client_ca_file")
        return None
    key, chain = _read(settings.client_key_file), _read(settings.client_cert_file)
    return grpc.ssl_channel_credentials(_read(settings.client_ca_file), key, chain)


def _certificates(settings: TlsSettings) -> grpc.ServerCertificateConfiguration:
    pair = (_read(settings.tls_key_file) or b"", _read(settings.tls_cert_file) or b"")
    return grpc.ssl_server_certificate_configuration([pair], _read(settings.tls_client_ca_file))


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


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise FixConfigurationError(f"{path} must be a readable PEM file") from error
