"""The collector as a process: how it starts, how it bears bad clients, and how it ends."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from sima_collector.settings import CollectorSettings
from sima_runtime.settings import TlsSettings

from tests.collector.conftest import CollectorProcess, MemoryProfile, ProfileSwitch, dozes, eventually, status

Spawn = Callable[..., Awaitable[CollectorProcess]]


async def post(collector: CollectorProcess, body: str, source: str = "web") -> httpx.Response:
    """Post a payload to a source."""
    async with httpx.AsyncClient(base_url=f"http://{collector.address}", timeout=60) as client:
        return await client.post(f"/in/{source}", content=body)


async def talk(collector: CollectorProcess, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Write bytes on a connection and return what comes back until it is closed."""
    host, _, port = collector.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def listens(collector: CollectorProcess) -> bool:
    """Whether the address takes connections."""
    host, port = collector.address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_sigterm_ends_what_is_under_way_and_nothing_else(spawn: Spawn, profile: MemoryProfile) -> None:
    """Requests that were accepted are answered, their facts are stored, and no process is left behind."""
    collector = await spawn()
    workers = collector.workers()
    assert len(workers) == 2
    profile.hold.clear()
    sending = [asyncio.create_task(post(collector, f"doze\n{n}")) for n in range(3)]
    await eventually(lambda: profile.waiting > 0)
    ending = asyncio.create_task(collector.end(signal.SIGTERM))
    await eventually(lambda: not listens(collector))
    profile.hold.set()
    assert [(await task).status_code for task in sending] == [200, 200, 200]
    assert await ending == 0
    assert sorted(profile.ids()) == ["m0", "m1", "m2"]
    assert [pid for pid in workers if status(pid)] == []


async def test_sigterm_first_says_that_it_is_unready(spawn: Spawn) -> None:
    """Whoever spreads requests has time to look elsewhere, and until then they are still taken."""
    collector = await spawn(not_serving_seconds=10.0)
    ending = asyncio.create_task(collector.end(signal.SIGTERM))
    async with httpx.AsyncClient(base_url=f"http://{collector.address}", timeout=60) as client, asyncio.timeout(60):
        while (answer := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["missing"]) == (503, ["time"])
    assert (await post(collector, "1")).status_code == 200
    assert await ending == 0


async def test_sigterm_during_an_outage_leaves_facts_for_the_next_process(
    spawn: Spawn, profile: MemoryProfile, switch: ProfileSwitch
) -> None:
    """It does not wait for ever, and what it leaves is sent on later."""
    collector = await spawn()
    await switch.unplug()
    assert (await post(collector, "1\n2")).headers["sima-buffered"] == "2"
    assert await collector.end(signal.SIGTERM) == 0
    await switch.plug_in()
    await collector.start()
    await eventually(lambda: profile.ids() == ["m1", "m2"])


async def test_stopping_takes_no_longer_than_allowed(spawn: Spawn, profile: MemoryProfile) -> None:
    """Requests and buffer share one deadline: who stops a process kills it when its patience ends."""
    collector = await spawn(drain_seconds=8.0)
    profile.hold.clear()
    sending = asyncio.create_task(post(collector, "1"))
    await eventually(lambda: profile.waiting > 0)
    async with asyncio.timeout(15):  # two deadlines would be sixteen
        assert await collector.end(signal.SIGTERM) == 0
    profile.hold.set()
    await asyncio.gather(sending, return_exceptions=True)


async def test_a_terminal_that_interrupts_the_whole_group_loses_nothing(
    spawn: Spawn, profile: MemoryProfile, installed: Path
) -> None:
    """Ctrl+C reaches every process of the terminal, and the workers finish what they have."""
    collector = await spawn()
    assert collector.process is not None
    workers = collector.workers()
    sending = asyncio.create_task(post(collector, "doze\n1"))
    await eventually(lambda: any(dozes(installed, pid) for pid in workers))
    os.killpg(collector.process.pid, signal.SIGINT)
    assert (await sending).status_code == 200
    assert await asyncio.to_thread(collector.process.wait, 30) == 0
    assert profile.ids() == ["m1"]


async def test_workers_do_not_outlive_a_killed_collector(spawn: Spawn) -> None:
    """Also one that hangs in a payload ends, shortly after the limit at which it would have been killed."""
    collector = await spawn(payload_seconds=3.0)
    workers = collector.workers()
    sending = asyncio.create_task(post(collector, "loop\n1"))
    await asyncio.sleep(0.5)
    await collector.end(signal.SIGKILL)
    with pytest.raises(httpx.HTTPError):
        await sending
    await eventually(lambda: not any(status(pid) for pid in workers))


async def test_a_body_that_dawdles_is_408(spawn: Spawn) -> None:
    """A slow client holds neither a worker nor memory for longer than allowed."""
    collector = await spawn(body_seconds=0.5)
    answer = await talk(collector, b"POST /in/web HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n", b"1")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body must arrive within 0.5 s" in answer


async def test_headers_that_dawdle_end_the_connection(spawn: Spawn) -> None:
    """Neither silence nor half a request keeps a connection open, while others are served."""
    collector = await spawn(header_seconds=3.0)
    silent = asyncio.create_task(talk(collector))
    half = asyncio.create_task(talk(collector, b"POST /in/web HTTP/1.1\r\n", b"host: x\r\n", b"a: b\r\n", pause=0.1))
    assert (await post(collector, "1")).status_code == 200
    assert (await silent, await half) == (b"", b"")


@pytest.mark.parametrize(
    "behind", [b"", b"1", b"\r\n", b"POST /in/web HTTP/1.1\r\n"], ids=["nothing", "body", "blank", "half"]
)
async def test_no_connection_stays_open_behind_an_answer(spawn: Spawn, behind: bytes) -> None:
    """Not even if the client sends the rest of an unread body, blank lines, or half of the next request."""
    collector = await spawn(header_seconds=3.0)
    request = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
    answer = await talk(collector, request, b"1", behind, pause=0.2)
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_connection_serves_on_behind_a_body_that_nobody_read(spawn: Spawn) -> None:
    """The next request on it finds its answer."""
    collector = await spawn()
    unread = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
    read = b"POST /in/web HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nconnection: close\r\n\r\n1"
    answer = await talk(collector, unread, b"12", read, pause=0.2)
    assert (answer.count(b"HTTP/1.1 404 "), answer.count(b"HTTP/1.1 200 ")) == (1, 1)


@pytest.mark.parametrize("start", [b"GET /in/web?", b"GET /in/web HTTP/1.1\r\nx-long: "], ids=["address", "header"])
async def test_headers_that_are_too_long_are_431(spawn: Spawn, start: bytes) -> None:
    """What has no end is not held in memory until its time is over."""
    collector = await spawn()
    answer = await talk(collector, start, *[b"x" * 30_000] * 3, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_trailers_that_are_too_long_end_the_connection(spawn: Spawn) -> None:
    """Whatever follows a body is nobody's headers either."""
    collector = await spawn()
    head = b"POST /in/web HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n"
    assert await talk(collector, head, b"x-long: ", *[b"x" * 30_000] * 3, pause=0.1) == b""


async def is_served(collector: CollectorProcess) -> bool:
    """Whether there is room for one more connection."""
    with suppress(httpx.HTTPError):
        return (await post(collector, "1")).status_code == 200
    return False


async def test_more_connections_than_allowed_are_closed_at_once(spawn: Spawn) -> None:
    """Who is connected is served, and room comes back with each that goes."""
    collector = await spawn(connections=2)
    host, _, port = collector.address.rpartition(":")
    held = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(2)]
    with pytest.raises(httpx.HTTPError):
        await post(collector, "1")
    for writer in held:
        writer.close()
    async with asyncio.timeout(60):
        while not await is_served(collector):  # noqa: ASYNC110 - it notices a moment later
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_hears_413(spawn: Spawn, announced: bool) -> None:
    """The client gets the answer although it has not sent everything, and nobody reads the rest."""
    collector = await spawn(body_bytes=1_000)
    piece = b"x" * 100_000
    if announced:
        head = b"content-length: 100000000\r\n\r\n"
        pieces = [piece] * 3
    else:
        head = b"transfer-encoding: chunked\r\n\r\n"
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece)] * 3
    answer = await talk(collector, b"POST /in/web HTTP/1.1\r\nhost: x\r\n" + head, *pieces)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert (await post(collector, "1")).status_code == 200


async def test_https_is_spoken_with_a_certificate(spawn: Spawn, tmp_path: Path) -> None:
    """With a certificate configured the collector speaks TLS, and plain text is not understood."""
    context = certified(tmp_path)
    collector = await spawn(tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem")
    port = collector.address.rpartition(":")[2]
    async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=context) as client:
        assert (await client.post("/in/web", content="1")).status_code == 200
    with pytest.raises(httpx.HTTPError):
        await post(collector, "2")


async def test_a_renewed_certificate_is_taken_up_without_a_restart(spawn: Spawn, tmp_path: Path) -> None:
    """New connections see the new one; a broken one, or one without its key, changes nothing."""
    first = certified(tmp_path)
    collector = await spawn(tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem")
    assert shows_trusted(collector, first)
    (tmp_path / "cert.pem").write_text("nonsense")
    await eventually(lambda: "file_not_read_again" in collector.errors.read_text())
    assert shows_trusted(collector, first)
    (tmp_path / "new").mkdir()
    second = certified(tmp_path / "new")
    (tmp_path / "new" / "cert.pem").replace(tmp_path / "cert.pem")
    await asyncio.sleep(1.5)
    assert shows_trusted(collector, first)
    (tmp_path / "new" / "key.pem").replace(tmp_path / "key.pem")
    await eventually(lambda: shows_trusted(collector, second))
    assert not shows_trusted(collector, first)


async def test_a_renewed_key_with_a_password_asks_nobody_for_it(spawn: Spawn, tmp_path: Path) -> None:
    """Whoever asked at the terminal would answer no request meanwhile; the old one serves on."""
    context = certified(tmp_path)
    collector = await spawn(tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem")
    encrypt(tmp_path / "key.pem")
    (tmp_path / "cert.pem").touch()
    await eventually(lambda: "file_not_read_again" in collector.errors.read_text())
    assert "pass phrase" not in collector.errors.read_text()
    assert shows_trusted(collector, context)


def shows_trusted(collector: CollectorProcess, context: ssl.SSLContext) -> bool:
    """Whether the collector's certificate is the one that a context trusts."""
    address = ("localhost", int(collector.address.rpartition(":")[2]))
    with socket.create_connection(address, timeout=5) as plain:
        try:
            context.wrap_socket(plain, server_hostname="localhost").close()
        except ssl.SSLCertVerificationError:
            return False
    return True


def certified(folder: Path) -> ssl.SSLContext:
    """Write a certificate for localhost, and return what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ssl.create_default_context(cafile=folder / "cert.pem")


def encrypt(key: Path) -> None:
    """Put a password on a key."""
    protection = BestAvailableEncryption(b"password")
    plain = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))


async def test_nonsense_instead_of_http_is_400(spawn: Spawn) -> None:
    """And the collector goes on."""
    collector = await spawn()
    assert (await talk(collector, b"\x16\x03\x01 nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert (await post(collector, "1")).status_code == 200


REQUESTS = (
    b"POST /in/web HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\n1\n2",
    b"GET /in/web/hello?name=%D8%B3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    b"POST /in/web HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\n7\r\n0\r\n\r\n",
    b"GET /refusals?page_size=2&page_token=W10= HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
)


def mutated(chance: random.Random) -> bytes:
    """One of the requests with some bytes replaced, removed, doubled or put in."""
    data = bytearray(chance.choice(REQUESTS))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        piece = bytes(chance.choice(b"\x00\r\n %\xff/?:;&=A9{\x80") for _ in range(chance.randint(0, 2)))
        data[at : at + chance.randint(0, 3)] = piece
    return bytes(data)


async def test_mutated_requests_never_get_a_5xx(spawn: Spawn) -> None:
    """Whatever bytes arrive, they are answered as the client's mistake, or not at all, and good ones as ever."""
    collector = await spawn(header_seconds=1.0, body_seconds=1.0)
    chance = random.Random(20260101)
    for _ in range(5):
        answers = await asyncio.gather(*(talk(collector, mutated(chance)) for _ in range(150)), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, bytes):
                assert answer[:10] in (b"", b"HTTP/1.1 2", b"HTTP/1.1 4"), answer
            else:
                assert isinstance(answer, OSError), answer
    assert (await post(collector, "1")).status_code == 200


async def test_the_log_repeats_no_address_and_no_payload(spawn: Spawn) -> None:
    """Whatever a client writes may be personal data; of an address only the configured source is told."""
    collector = await spawn()
    async with httpx.AsyncClient(base_url=f"http://{collector.address}", timeout=60) as client:
        await client.post("/in/hypatia@example.com?email=hypatia@example.com", content="hypatia@example.com")
        await client.post("/in/web?email=hypatia@example.com", content="hypatia@example.com")
        await client.post("/in/web", content="fail\nhypatia@example.com")
    await collector.end()
    log = collector.errors.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["source"], line["status"]) for line in lines if line["event"] == "request"] == [
        ("", 404),
        ("web", 400),
        ("web", 422),
    ]
    assert "cannot read %s" in [line["event"] for line in lines]
    assert "hypatia" not in log
    assert "secret-value" not in log


@pytest.mark.parametrize(
    ("sources", "complaint"),
    [
        ("sources: [{name: a, workspace: main, connector: nothing}]", "no plugin brings the connector nothing"),
        ("sources: [{name: a, workspace: main, connector: lines, options: {size: '1'}}]", "knows no option but colour"),
        (
            "sources: [{name: a, workspace: main, connector: contacts, options: {trait.city: City, delimeter: tab}}]",
            "source a, option delimeter: expected id, merged_ids, company_id, deleted, time, identifier.*, trait.*, ",
        ),
        (
            "sources: [{name: a, workspace: main, connector: contacts, options: {identifier.emial: Mail}}]",
            "source a, option identifier.emial: expected a kind of identifier: account_id, anonymous_id, device_id, ",
        ),
        ("sources: [{name: a, workspace: main, connector: meta, options: {x: y}}]", "option x: expected no option"),
        (
            "sources: [{name: a, workspace: main, connector: lines, options: {colour: unreadable}}]",
            "source a: the check of its connector failed with FileNotFoundError",
        ),
        ("sources: [{name: a}]", "sources[0].workspace"),
    ],
)
def test_a_configuration_that_cannot_work_stops_the_start(
    settings: Callable[..., CollectorSettings], tmp_path: Path, sources: str, complaint: str
) -> None:
    """The exit code is 2, and the log names what to mend."""
    given = settings()
    given.sources_file.write_text(sources)
    assert complaint in refused(given)


def refused(settings: CollectorSettings) -> str:
    """What a collector says whose settings keep it from starting."""
    names = ("sources_file", "workspace_key_file", "data_dir", "profile_address")
    given = {name: getattr(settings, name) for name in (*names, *TlsSettings.model_fields)}
    ended = subprocess.run(
        [sys.executable, "-m", "sima_collector"],
        env={**os.environ, **{f"SIMA_COLLECTOR_{name.upper()}": str(value) for name, value in given.items() if value}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,  # without a terminal
    )
    assert ended.returncode == 2
    return ended.stderr


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (("cert", "encrypted"), "tls_cert_file and tls_key_file must hold a certificate and its key, in PEM without a"),
        (("cert", "nothing"), "tls_cert_file and tls_key_file must hold"),
        (("cert", "key", "nothing"), "tls_client_ca_file must hold certificates in PEM"),
        ((None, "key"), "tls_key_file and tls_client_ca_file need tls_cert_file"),
        ((None, None, "cert"), "tls_key_file and tls_client_ca_file need tls_cert_file"),
    ],
)
def test_files_of_tls_that_cannot_work_stop_the_start(
    settings: Callable[..., CollectorSettings], tmp_path: Path, files: tuple[str | None, ...], complaint: str
) -> None:
    """The settings are named, nobody is asked for a password, and it never falls back to plain text."""
    certified(tmp_path)
    shutil.copy(tmp_path / "key.pem", tmp_path / "encrypted.pem")
    encrypt(tmp_path / "encrypted.pem")
    given = zip(("tls_cert_file", "tls_key_file", "tls_client_ca_file"), files, strict=False)
    said = refused(settings(**{name: tmp_path / f"{file}.pem" for name, file in given if file}))
    assert complaint in said
    assert "pass phrase" not in said
