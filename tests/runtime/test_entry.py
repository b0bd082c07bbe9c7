"""A service as an operator meets it: a process with variables, an address file, metrics and signals."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from sima.identity.v1.identity_service_pb2 import ResolveRequest, WatchProfileChangesRequest
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima_runtime.epochs import FEED_TABLES

from tests.ports import free_port

from .conftest import LONG

MAIN = """
from sima.identity.v1.identity_service_pb2 import ResolveResponse, WatchProfileChangesResponse
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceServicer, add_IdentityServiceServicer_to_server
from sima_runtime.context import current
from sima_runtime.database import Database
from sima_runtime.entry import run
from sima_runtime.feeds import Feed, Rows
from sima_runtime.server import Servicer, serve
from sima_runtime.settings import ServiceSettings, service_config
from sima_runtime.wakeups import Wakeups


class Settings(ServiceSettings):
    model_config = service_config("NAME")
    colours: tuple[str, ...] = ()


class Example(IdentityServiceServicer):
    def __init__(self, feed):
        self.feed = feed

    async def Resolve(self, request, context):
        return ResolveResponse()

    async def WatchProfileChanges(self, request, context):
        async def nothing(after, horizon):
            return Rows([], None, full=False)

        async for page in self.feed.pages(request.cursor, nothing, workspace=current().workspace):
            yield WatchProfileChangesResponse(cursor=page.cursor)


async def main(settings):
    database = Database(settings, "NAME")
    wakeups = Wakeups(database, ["example"])
    feed = Feed("example", database, wakeups, settings)
    servicer = Servicer("sima.identity.v1.IdentityService", add_IdentityServiceServicer_to_server, Example(feed))
    await serve(settings, [servicer], background=[wakeups.run], on_stop=[wakeups.close])
    await database.close()


run("NAME", Settings, main)
"""

MIGRATION = f"""
from alembic import op

revision, down_revision = "0001", None

def upgrade():
    for statement in {FEED_TABLES!r}:
        op.execute(statement)
"""


class Service:
    """A service of this test alone, as a package that can be started."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.name = f"s{uuid.uuid4().hex[:12]}"
        self.address_file = folder / "address"
        package = folder / f"sima_{self.name}"
        (package / "migrations" / "versions").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(MAIN.replace("NAME", self.name))
        (package / "migrations" / "versions" / "0001.py").write_text(MIGRATION)
        self.command = [sys.executable, "-m", package.name]
        self.environment = os.environ | {"PYTHONPATH": str(folder)}
        self.set(DATABASE_URL=database_url, ADDRESS_FILE=str(self.address_file), DRAIN_SECONDS="5")

    def set(self, **settings: str) -> None:
        """Set variables of the service."""
        self.environment |= {f"SIMA_{self.name.upper()}_{name}": value for name, value in settings.items()}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        command = [*self.command, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    @contextmanager
    def serving(self) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """Start, and give the process and its address once it answers."""
        with subprocess.Popen(self.command, env=self.environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                deadline = time.monotonic() + LONG
                while not self.address_file.exists():
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                yield process, self.address_file.read_text()
            finally:
                process.kill()


@pytest.fixture
def service(tmp_path: Path, postgres_url: str) -> Service:
    """A service that can be started."""
    return Service(tmp_path, postgres_url)


def metrics(address: str) -> dict[str, float]:
    """All series that Prometheus would see."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_service_lives_and_stops(service: Service) -> None:
    """It migrates, serves, shows its metrics, ends its streams at SIGTERM, and exits with 0, all told in JSON."""
    metrics_address = f"127.0.0.1:{free_port()}"
    service.set(METRICS_ADDRESS=metrics_address)
    assert service.run("migrate").returncode == 0
    with service.serving() as (process, address), grpc.insecure_channel(address) as channel:
        stub = IdentityServiceStub(channel)
        stub.Resolve(ResolveRequest())
        stream = stub.WatchProfileChanges(WatchProfileChangesRequest())
        assert next(stream).cursor
        shown = metrics(metrics_address)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as ended:  # behind another empty page, if something held the first one back
            list(stream)
        assert process.wait(LONG) == 0
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert [line["event"] for line in lines] == ["serving", "call", "draining", "call", "stopped"]
    assert {line["service"] for line in lines} == {service.name}
    assert_metrics(shown)


def assert_metrics(shown: dict[str, float]) -> None:
    """The duration of the call and the lag of the feed are there, and no workspace or id is a label."""
    calls = [name for name in shown if name.startswith("sima_call_duration_seconds_count")]
    assert len(calls) == 1
    assert 'method="/sima.identity.v1.IdentityService/Resolve"' in calls[0]
    assert 'code="OK"' in calls[0]
    assert any(name.startswith("sima_feed_lag_seconds") and 'feed="example"' in name for name in shown)
    assert not any("main" in name or "request" in name for name in shown if name.startswith("sima_"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"LOG_LEVEL": "secret-value"}, "log_level"),
        ({"METRICS_ADDRESS": "secret-value"}, "metrics_address"),
        (
            {"COLOURS": "secret-value"},
            'field "colours" from source "EnvSettingsSource": expected JSON, a list such as ["one',
        ),
        ({"LISTEN_ADDRESS": "secret-value"}, "listen_address: expected host:port"),
        ({"DATABASE_URL": "host=localhost password=secret-value"}, "database_url: expected an address such as"),
        ({"DATABASE_URL": "postgresql://sima:secret-value@a:1,b:2/sima"}, "database_url"),
        ({"LISTEN_ADDRESS": "0.0.0.0:0"}, "listen_address"),
        ({"TOKEN_FILE": "/nowhere/secret-value"}, "token_file"),
    ],
)
def test_wrong_setting_ends_the_start_with_its_name(service: Service, settings: dict[str, str], named: str) -> None:
    """A setting that cannot be used is named, without its value, and the process ends with 2."""
    service.set(**settings)
    ended = service.run()
    assert ended.returncode == 2
    [line] = [json.loads(line) for line in ended.stderr.splitlines()]
    assert line["event"] == "misconfigured"
    assert named in line["problem"]
    assert "secret-value" not in ended.stderr


def test_crash_is_a_line_of_the_log(service: Service) -> None:
    """Without its database a service cannot migrate; it says so in one line without the address, and ends with 1."""
    service.set(DATABASE_URL="postgresql://ada:secret-value@127.0.0.1:1/none")
    ended = service.run("migrate")
    assert ended.returncode == 1
    [line] = [json.loads(line) for line in ended.stderr.splitlines()]
    assert line["event"] == "crashed"
    assert line["exception"][0]["type"] == "OperationalError"
    assert "secret-value" not in ended.stderr


def test_unknown_command_is_refused(service: Service) -> None:
    """A misspelt command changes nothing and shows the right ones."""
    ended = service.run("migrat")
    assert ended.returncode == 2
    assert "migrate" in ended.stderr
