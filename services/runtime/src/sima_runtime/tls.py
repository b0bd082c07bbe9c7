"""TLS of servers and clients, from PEM files. Servers read theirs again when a certificate was renewed."""

from pathlib import Path

import grpc

from sima_runtime.errors import FixConfigurationError
from sima_runtime.settings import ClientSettings, TlsSettings


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials | None:
    """Return the credentials of a server; None if it speaks plain text.

    Raises:
        FixConfigurationError: Files are missing, or a certificate stands without key or the other way round.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        if (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file) != (None, None, None):
            raise FixConfigurationError("tls_cert_file and tls_key_file must be set together")
        return None
    pair = (_read(settings.tls_key_file), _read(settings.tls_cert_file))
    if settings.tls_client_ca_file is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials([pair], _read(settings.tls_client_ca_file), require_client_auth=True)


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
    key, chain = _optional(settings.client_key_file), _optional(settings.client_cert_file)
    return grpc.ssl_channel_credentials(_read(settings.client_ca_file), key, chain)


def _optional(path: Path | None) -> bytes | None:
    return None if path is None else _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FixConfigurationError(f"{path} must be a readable PEM file") from error
