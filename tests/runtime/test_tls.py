"""Encrypted connections, with certificates made here."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sima.identity.v1.identity_service_pb2 import ResolveRequest
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima_runtime.errors import DependencyUnavailableError, FixConfigurationError
from sima_runtime.settings import ClientSettings, ServiceSettings

from .conftest import SERVICE, LogLines, ServeTold, Told, eventually


@dataclass
class Authority:
    """A certificate authority that issues certificates into a folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._build(self.name, self.key, is_authority=True)
        self.file = self._write(f"{self.name}.ca.pem", self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of somebody at 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(name, key, is_authority=False)
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        return (
            self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", pem),
        )

    def _build(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that servers and clients trust."""
    return Authority(tmp_path, "ours")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path, "stranger")


def server_settings(authority: Authority, clients: Authority | None = None) -> ServiceSettings:
    """A server with a certificate, which asks clients for theirs if their authority is given."""
    certificate, key = authority.issue("server")
    ca = clients.file if clients is not None else None
    return ServiceSettings(tls_cert_file=certificate, tls_key_file=key, tls_client_ca_file=ca, drain_seconds=0.1)


async def test_tls(serve_told: ServeTold, authority: Authority) -> None:
    """A client that trusts the server's authority gets through."""
    server = await serve_told(Told(), server_settings(authority), ClientSettings(client_ca_file=authority.file))
    await server.client.call(server.stub.Resolve, ResolveRequest())
    assert server.told.workspaces == ["main"]


async def test_client_refuses_a_foreign_server(
    serve_told: ServeTold, authority: Authority, stranger: Authority
) -> None:
    """A server with a certificate of somebody else gets no request."""
    server = await serve_told(Told(), server_settings(stranger), ClientSettings(client_ca_file=authority.file))
    with pytest.raises(DependencyUnavailableError):
        await server.client.call(server.stub.Resolve, ResolveRequest(), deadline=60)
    assert server.told.workspaces == []


async def test_tls_server_refuses_plain_text(serve_told: ServeTold, authority: Authority) -> None:
    """Nobody talks in plain text with a server that has a certificate."""
    server = await serve_told(Told(), server_settings(authority), ClientSettings())
    with pytest.raises(DependencyUnavailableError):
        await server.client.call(server.stub.Resolve, ResolveRequest(), deadline=60)
    assert server.told.workspaces == []


async def test_mutual_tls(serve_told: ServeTold, authority: Authority) -> None:
    """A client with a certificate of the right authority gets through."""
    certificate, key = authority.issue("client")
    client = ClientSettings(client_ca_file=authority.file, client_cert_file=certificate, client_key_file=key)
    server = await serve_told(Told(), server_settings(authority, authority), client)
    await server.client.call(server.stub.Resolve, ResolveRequest())
    assert server.told.workspaces == ["main"]


@pytest.mark.parametrize("with_certificate", [False, True])
async def test_mutual_tls_refuses_strangers(
    serve_told: ServeTold, authority: Authority, stranger: Authority, with_certificate: bool
) -> None:
    """A client without a certificate, or with one of another authority, gets no answer."""
    certificate, key = stranger.issue("client") if with_certificate else (None, None)
    client = ClientSettings(client_ca_file=authority.file, client_cert_file=certificate, client_key_file=key)
    server = await serve_told(Told(), server_settings(authority, authority), client)
    with pytest.raises(DependencyUnavailableError):
        await server.client.call(server.stub.Resolve, ResolveRequest(), deadline=60)
    assert server.told.workspaces == []


async def test_renewed_certificate_is_taken_up(
    serve_told: ServeTold, authority: Authority, stranger: Authority
) -> None:
    """A certificate that is replaced while the server runs serves the next connection."""
    server = await serve_told(Told(), server_settings(authority), ClientSettings(client_ca_file=authority.file))
    await server.client.call(server.stub.Resolve, ResolveRequest())
    stranger.issue("server")  # writes over the files
    trust = grpc.ssl_channel_credentials(stranger.file.read_bytes())

    async def has_new_certificate() -> bool:
        async with grpc.aio.secure_channel(server.address, trust) as channel:
            call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            return bool(await call.code() is grpc.StatusCode.OK)

    await eventually(has_new_certificate)


@pytest.mark.parametrize("half_done", ["broken", "of another key"])
async def test_a_renewal_that_is_half_done_is_passed_over(
    serve_told: ServeTold, authority: Authority, log_lines: LogLines, half_done: str
) -> None:
    """Half a certificate, or one whose key is not there yet: the old one serves on, and the log says so."""
    settings = server_settings(authority)
    server = await serve_told(Told(), settings, ClientSettings(client_ca_file=authority.file))
    assert settings.tls_cert_file is not None
    other = authority.issue("other")[0].read_text()
    settings.tls_cert_file.write_text(other if half_done == "of another key" else other[: len(other) // 2])
    trust = grpc.ssl_channel_credentials(authority.file.read_bytes())
    async with grpc.aio.secure_channel(server.address, trust) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    told = [line["event"] for line in log_lines()]
    assert "certificate_not_renewed" in told
    assert "certificate_renewed" not in told


async def test_probes_without_tls_have_an_address_of_their_own(
    serve_told: ServeTold, authority: Authority, tmp_path: Path
) -> None:
    """Kubernetes' probes, which speak plain text only, get health there, and nothing else."""
    address = f"unix:{tmp_path}/health"
    settings = ServiceSettings(**server_settings(authority).model_dump() | {"health_address": address})
    await serve_told(Told(), settings)
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        call = IdentityServiceStub(channel).Resolve(ResolveRequest())
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "missing", [{"tls_key_file": None}, {"tls_cert_file": None}, {"tls_cert_file": "none", "tls_key_file": "none"}]
)
async def test_incomplete_server_files_stop_the_start(
    serve_told: ServeTold, authority: Authority, missing: dict[str, Path | None]
) -> None:
    """A certificate without its key, or files that are not there, never lead to a plain-text server."""
    settings = server_settings(authority, authority).model_copy(update=missing)
    with pytest.raises(FixConfigurationError):
        await serve_told(Told(), ServiceSettings(**settings.model_dump()))


@pytest.mark.parametrize(
    "given",
    [
        {"client_cert_file": "a", "client_key_file": None},
        {"client_cert_file": None, "client_key_file": "a", "client_ca_file": "a"},
        {"client_cert_file": "a", "client_key_file": "a"},
        {"client_ca_file": "none"},
    ],
)
async def test_incomplete_client_files_stop_the_start(serve_told: ServeTold, given: dict[str, str]) -> None:
    """A client told to encrypt never falls back to plain text."""
    with pytest.raises(FixConfigurationError):
        await serve_told(Told(), None, ClientSettings(**given))  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", ["client_ca_file", "client_cert_file", "client_key_file"])
async def test_client_files_that_are_no_pem_are_named(
    serve_told: ServeTold, authority: Authority, tmp_path: Path, broken: str
) -> None:
    """Who mixes up files learns it at the start, rather than that nobody answers."""
    certificate, key = authority.issue("client")
    files = {"client_ca_file": authority.file, "client_cert_file": certificate, "client_key_file": key}
    files[broken] = tmp_path / "broken"
    files[broken].write_text("no certificate")
    with pytest.raises(FixConfigurationError, match=f"{broken}.* must hold"):
        await serve_told(Told(), None, ClientSettings(**files))  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
async def test_server_files_that_are_no_pem_stop_the_start(
    serve_told: ServeTold, authority: Authority, stranger: Authority, broken: str
) -> None:
    """A key that is not the certificate's, too: such a server would answer nobody."""
    settings = server_settings(authority, authority)
    other = {"tls_cert_file": authority.file, "tls_key_file": stranger.issue("other")[1]}
    update = {broken: other.get(broken, settings.tls_key_file)}
    with pytest.raises(FixConfigurationError, match=broken):
        await serve_told(Told(), settings.model_copy(update=update))
