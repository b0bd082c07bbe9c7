"""Every setting of the collector, read once at start from environment variables `SIMA_COLLECTOR_<SETTING>`."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings
from sima_runtime.addresses import is_loopback
from sima_runtime.errors import FixConfigurationError
from sima_runtime.settings import (
    AuthenticationSettings,
    ClientSettings,
    TelemetrySettings,
    TlsSettings,
    service_config,
)


class HttpSettings(BaseSettings):
    """Where the collector listens, and what it bears from a single client."""

    listen_address: str = Field(default="127.0.0.1:0", description="Address to bind; port 0 takes any free one.")
    address_file: Path | None = Field(
        default=None, description="The bound address is written here once the collector answers."
    )
    drain_seconds: float = Field(
        default=25.0, gt=0, description="How long running requests and the buffer together may take at the end."
    )
    not_serving_seconds: float = Field(
        default=0.0, ge=0, description="How long to be unready after SIGTERM before new requests are refused."
    )
    admin_token_file: Path | None = Field(
        default=None,
        description="Bearer token for the administrative addresses. None: they exist only if loopback is bound.",
    )
    body_bytes: int = Field(default=8 << 20, gt=0, description="Longest body of a request; longer ones get 413.")
    bodies_bytes: int = Field(
        default=256 << 20, gt=0, description="Most bytes of bodies that are held at once; more requests get 503."
    )
    header_seconds: float = Field(default=10.0, gt=0, description="How long a client may take to send its headers.")
    body_seconds: float = Field(default=20.0, gt=0, description="How long a client may take to send its body.")
    answer_seconds: float = Field(
        default=30.0, gt=0, description="How long a request may take after its body arrived; then it gets 503."
    )
    connections: int = Field(default=10_000, gt=0, description="Most connections at once; more are closed at once.")
    requests: int = Field(default=2_000, gt=0, description="Most requests at once; more get 503.")


class ParsingSettings(BaseSettings):
    """The worker processes in which connectors run."""

    sources_file: Path = Field(default=Path("sources.yaml"), description="The configured sources, YAML or JSON.")
    plugins: tuple[str, ...] | None = Field(
        default=None, description="Names of the plugins to load (JSON list). None: all that are installed."
    )
    workers: int = Field(
        default=min(max(2, os.cpu_count() or 1), 4), gt=0, description="Processes; one that hangs must leave others."
    )
    payload_seconds: float = Field(
        default=10.0, gt=0, description="Longest time for one payload; then its worker is killed and it is refused."
    )
    page_seconds: float = Field(default=60.0, gt=0, description="The same for one page of an import.")
    worker_memory_bytes: int = Field(
        default=512 << 20, ge=0, description="Most address space of a worker; 0: no limit. Not enforced by macOS."
    )
    waiting_payloads: int = Field(
        default=1_000, gt=0, description="Most payloads that wait for a worker; more requests get 503."
    )


class DeliverySettings(BaseSettings):
    """The way to the profile service, and the disk for when it cannot be reached."""

    profile_address: str = Field(default="127.0.0.1:7002", description="The profile service, as gRPC names targets.")
    ingest_seconds: float = Field(default=15.0, gt=0, description="Deadline of a call; then its facts are buffered.")
    ingest_calls: int = Field(default=4, gt=0, description="Most calls of one workspace under way at once.")
    ingest_linger_seconds: float = Field(
        default=0.005, ge=0, description="How long facts wait for company while a call is under way."
    )
    ingest_waiting_bytes: int = Field(
        default=64 << 20, gt=0, description="Most bytes of one workspace that wait for a call; more requests get 503."
    )
    data_dir: Path = Field(
        default=Path(".sima/collector"), description="Directory of the buffer; of this process alone."
    )
    buffer_bytes: int = Field(default=4 << 30, gt=0, description="Most bytes of buffered facts; then requests get 503.")
    refusal_bytes: int = Field(
        default=1 << 30,
        gt=0,
        description="Most bytes that refused payloads take on disk; then the source with most loses its oldest.",
    )
    refusal_days: float = Field(default=30.0, gt=0, description="How long refused payloads are kept.")
    import_bytes: int = Field(default=2 << 30, gt=0, description="Largest file that can be imported.")
    import_seconds: float = Field(default=3_600.0, gt=0, description="How long an upload may take.")
    imports: int = Field(default=2, gt=0, description="Most imports at once; more get 503.")


class CollectorSettings(
    HttpSettings,
    TlsSettings,
    ParsingSettings,
    DeliverySettings,
    AuthenticationSettings,
    TelemetrySettings,
    ClientSettings,
):
    """All that the collector is told."""

    model_config = service_config("collector")

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine can reach the collector."""
        return is_loopback(self.listen_address.rpartition(":")[0])

    def admin_token(self) -> str | None:
        """Read the token of the administrator; None if none is configured.

        Raises:
            FixConfigurationError: The file cannot be read or is empty.
        """
        if self.admin_token_file is None:
            return None
        try:
            token = self.admin_token_file.read_text().strip()
        except OSError as error:
            raise FixConfigurationError("admin_token_file must be a readable file") from error
        if not token:
            raise FixConfigurationError("admin_token_file must not be empty")
        return token
