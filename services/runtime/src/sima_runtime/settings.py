"""Settings of every service, one small class per concern; read once at start and handed on.

Each service inherits the concerns it has and adds its own, with an environment prefix of its own::

    class IdentitySettings(ServiceSettings):
        model_config = service_config("identity")     # SIMA_IDENTITY_DATABASE_URL, SIMA_IDENTITY_LISTEN_ADDRESS, ...
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sima_runtime.addresses import is_well_formed
from sima_runtime.errors import FixConfigurationError

MASTER_KEY_BYTES = 32


def service_config(service: str) -> SettingsConfigDict:
    """Return the settings configuration of a service: environment variables `SIMA_<SERVICE>_<SETTING>`."""
    return SettingsConfigDict(env_prefix=f"SIMA_{service.upper()}_", extra="ignore", frozen=True)


class ServerSettings(BaseSettings):
    """Where and how a gRPC server listens."""

    listen_address: str = Field(default="127.0.0.1:0", description="Address to bind; port 0 takes any free one.")
    address_file: Path | None = Field(
        default=None, description="The bound address is written here once the server answers."
    )
    health_address: str | None = Field(
        default=None,
        description="Answers health checks in plain text, for probes that speak no TLS. None: nothing does.",
    )
    drain_seconds: float = Field(default=25.0, gt=0, description="How long running calls may take after SIGTERM.")
    not_serving_seconds: float = Field(
        default=0.0, ge=0, description="How long to answer NOT_SERVING after SIGTERM before new calls are refused."
    )
    max_calls: int | None = Field(
        default=1_000,
        gt=0,
        description="Calls served at once, streams among them; more get RESOURCE_EXHAUSTED. None: no limit.",
    )
    reflection: bool = Field(default=True, description="Whether clients may ask which services there are.")

    @field_validator("listen_address", "health_address")
    @classmethod
    def _has_port(cls, address: str | None) -> str | None:
        if address is not None and not is_well_formed(address):
            raise ValueError("expected host:port such as 127.0.0.1:7001")
        return address


class TlsSettings(BaseSettings):
    """Certificates of a server. Without `tls_cert_file` it speaks plain text."""

    tls_cert_file: Path | None = Field(default=None, description="Certificate chain, PEM; read again when it changes.")
    tls_key_file: Path | None = Field(default=None, description="Private key, PEM.")
    tls_client_ca_file: Path | None = Field(
        default=None, description="Certificate authorities of clients, PEM; if set, a client must show a certificate."
    )


class AuthenticationSettings(BaseSettings):
    """Who may call, and the key of keys."""

    token_file: Path | None = Field(
        default=None,
        description="Hashed bearer tokens, JSON; read again when it changes. None: only loopback is bound.",
    )
    workspace_key_file: Path | None = Field(
        default=None, description="Master key of all workspaces, at least 32 bytes in hexadecimal."
    )

    def master_key(self) -> bytes:
        """Read the master key.

        Raises:
            FixConfigurationError: It is not set, cannot be read, or is too short.
        """
        if self.workspace_key_file is None:
            raise FixConfigurationError("workspace_key_file must name a file with the master key")
        return _read_key(self.workspace_key_file)


class DatabaseSettings(BaseSettings):
    """The PostgreSQL database of a service."""

    database_url: str = Field(
        default="postgresql://localhost/sima",
        description="Address, for example `postgresql://sima@db.example.com:5432/sima`.",
    )
    database_pool_size: int = Field(default=8, gt=0, description="Connections kept open.")
    database_pool_overflow: int = Field(
        default=8, ge=0, description="Connections opened beyond those when all are in use."
    )
    database_pool_wait_seconds: float = Field(
        default=5.0, gt=0, description="How long a call waits for a connection before it is answered OVERLOADED."
    )
    database_statement_seconds: float = Field(default=30.0, ge=0, description="Longest statement; 0: no limit.")
    database_idle_transaction_seconds: float = Field(
        default=15.0,
        ge=0,
        description="Longest pause within a transaction: an idle one holds every feed back. 0: no limit.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        """Both SQLAlchemy and psycopg read it. Their complaints are not repeated: they may hold a password."""
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - mere clients need not load it
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

        try:
            known = make_url(url).drivername in ("postgresql", "postgres")
        except (ArgumentError, ValueError):
            known = False
        if not known:
            raise ValueError("expected an address such as postgresql://sima@db.example.com:5432/sima, of one host")
        return url


class FeedSettings(BaseSettings):
    """How feeds are read."""

    feed_poll_seconds: float = Field(
        default=0.5, gt=0, description="A reader looks for rows at least this often, also when no wake-up reaches it."
    )
    feed_pause_seconds: float = Field(
        default=0.1,
        ge=0,
        description="While rows keep coming, a reader that has caught up gets a page of them this often at most.",
    )
    feed_heartbeat_seconds: float = Field(
        default=10.0, gt=0, description="An idle reader gets an empty page this often."
    )


class TelemetrySettings(BaseSettings):
    """Logs and metrics."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    metrics_address: str | None = Field(
        default=None, description="Address of the Prometheus endpoint, for example 0.0.0.0:9464. None: no endpoint."
    )


class ClientSettings(BaseSettings):
    """How a service calls the others."""

    client_token_file: Path | None = Field(
        default=None, description="Bearer token to present; read again when it changes. None: no token."
    )
    client_ca_file: Path | None = Field(
        default=None, description="Certificate authorities of the servers called, PEM. None: plain text."
    )
    client_cert_file: Path | None = Field(default=None, description="Own certificate for mutual TLS, PEM.")
    client_key_file: Path | None = Field(default=None, description="Own private key for mutual TLS, PEM.")
    client_timeout_seconds: float = Field(default=10.0, gt=0, description="Deadline of a call that states none.")


class RunSettings(ServerSettings, TlsSettings, AuthenticationSettings):
    """All that starting a gRPC server needs to know."""


class ServiceSettings(RunSettings, DatabaseSettings, FeedSettings, TelemetrySettings, ClientSettings):
    """All that a gRPC service with a database is told."""


def _read_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise FixConfigurationError("workspace_key_file must be a readable file of hexadecimal digits") from error
    if not MASTER_KEY_BYTES <= len(key) <= 2 * MASTER_KEY_BYTES:
        raise FixConfigurationError("workspace_key_file must hold 32 to 64 bytes in hexadecimal")
    return key
