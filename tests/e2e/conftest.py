"""One running Sima for all end-to-end tests of a session; each test has sources, and a workspace, of its own."""

import asyncio
import base64
import hmac
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from sima_cli.connection import Connection
from sima_cli.folder import Folder, Running
from sima_cli.main import app
from sima_cli.report.feeds import Facts, read_facts
from sima_cli.sample import crm
from typer.testing import CliRunner, Result

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
TOKEN = "for-imports"
SHOPIFY_SECRET, META_SECRET = "shop-secret", "meta-secret"
CDNOW = {"customer": "master_customer_id", "date": "date", "date_format": "%Y%m%d", "amount": "amount_usd"}
#: Source (and workspace) to its connector, secrets and options.
SOURCES: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, str]]] = {
    "shopify": ("shopify", {"webhook": SHOPIFY_SECRET}, {}),
    "variants": ("shopify", {"webhook": SHOPIFY_SECRET}, {}),
    "cdnow": ("transactions", {"import_token": TOKEN}, CDNOW),
    "hubspot": ("contacts", {"import_token": TOKEN}, {}),
    "meta": ("meta", {"app_secret": META_SECRET, "verify_token": "v"}, {}),
    "cli": ("contacts", {"import_token": TOKEN}, {}),
    "till": ("transactions", {"import_token": TOKEN}, {"order": "receipt"}),
    "readme": ("contacts", {"import_token": TOKEN}, {}),
    "untold": ("contacts", {}, {}),
    "rules": ("contacts", {"import_token": TOKEN}, {}),
    "page": ("contacts", {"import_token": TOKEN}, crm.OPTIONS),
    "crm": ("contacts", {"import_token": TOKEN}, crm.OPTIONS),
    "narrow": ("contacts", {"import_token": TOKEN}, crm.OPTIONS),
    "companies": ("contacts", {"import_token": TOKEN}, crm.OPTIONS),
}

HERE = Path(__file__).parent


class Stack:
    """A running `sima up`, and the commands of `sima` against it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.running: Running | None = None
        self._runner = CliRunner()

    @property
    def collector(self) -> str:
        """Address of the collector."""
        assert self.running is not None
        return self.running.collector

    def sima(self, workspace: str, *arguments: str) -> Result:
        """Run a command in a workspace."""
        return self._runner.invoke(app, ["--data-dir", str(self.data_dir), "--workspace", workspace, *arguments])

    def json(self, workspace: str, *arguments: str) -> Any:
        """Run a command that must succeed, and return what it prints with `--json`."""
        result = self.sima(workspace, *arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def size(self, workspace: str, rule: str) -> int:
        """How many people a rule holds for."""
        preview = self.json(workspace, "segment", "preview", rule)
        assert preview["problems"] == []
        return int(preview["size"])

    def facts(self, workspace: str) -> Facts:
        """How many facts are stored, by source and relation."""
        return asyncio.run(read_facts(Connection(self.data_dir, workspace=workspace)))

    def post_all(self, source: str, requests: Sequence[tuple[bytes, Mapping[str, str]]]) -> Counter[str]:
        """Send requests to a source one after the other; returns what became of their facts."""
        counts: Counter[str] = Counter()
        with httpx.Client(base_url=self.collector, timeout=60) as client:
            for body, headers in requests:
                answer = client.post(f"/in/{source}", content=body, headers=dict(headers))
                assert answer.status_code == 200, answer.text
                counts.update({name: int(answer.headers.get(f"sima-{name}", 0)) for name in OUTCOMES})
        return counts


OUTCOMES = ("accepted", "duplicates", "conflicts", "refused")


@pytest.fixture(scope="session")
def own_folder() -> Iterator[Path]:
    """A folder outside pytest's own, of which other sessions remove the older ones while they may still be in use."""
    with tempfile.TemporaryDirectory(prefix="sima-e2e-") as folder:
        yield Path(folder)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests of the stack, so that there is one stack."""
    for item in items:
        if item.path.is_relative_to(HERE) and "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def stack(own_folder: Path) -> Iterator[Stack]:
    """Everything on this machine, ended by SIGTERM and without a process left behind."""
    sources = own_folder / "sources.yaml"
    sources.write_text(sources_yaml())
    started = Stack(own_folder / ".sima")
    with up(started.data_dir, sources) as started.running:
        yield started
    assert no_json(started.data_dir / "logs") == []


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that need it are skipped only where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data lies in {SHARED_DATA.name}, a folder beside the checkout, which is not there")
    return SHARED_DATA


def sources_yaml() -> str:
    """The sources file of the session."""
    listed = [
        {
            "name": name,
            "workspace": name,
            "connector": connector,
            "secrets": {purpose: {"value": secret} for purpose, secret in secrets.items()},
            "options": dict(options),
        }
        for name, (connector, secrets, options) in SOURCES.items()
    ]
    return yaml.safe_dump({"sources": listed})


@contextmanager
def up(data_dir: Path, sources: Path, *options: str) -> Iterator[Running]:
    """Run `sima up` until SIGTERM; it must end with success and leave no process behind."""
    command = [sys.executable, "-m", "sima_cli", "--data-dir", str(data_dir), "up", "--sources", str(sources), *options]
    output = data_dir.with_suffix(".out")
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment_for(data_dir))
    try:
        yield announced(data_dir, process, output)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0
    assert left_behind(data_dir) == []


def announced(data_dir: Path, process: "subprocess.Popen[bytes]", log: Path) -> Running:
    """Wait until a `sima up` says in its data directory that it runs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if running := Folder(data_dir).running():
            return running
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def environment_for(folder: Path) -> dict[str, str]:
    """An environment by which whatever is started for a folder is found, also what is told nothing else of it."""
    return {**os.environ, "STARTED_FOR": str(folder)}


def left_behind(folder: Path) -> list[str]:
    """Processes that were started for a folder: it stands in their command or in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in text for text in told):
            found.append(" ".join(process.cmdline()))
    return found


def no_json(logs: Path) -> list[str]:
    """Lines of the services' logs that are not one JSON object."""
    lines = [line for log in logs.glob("*.log") for line in log.read_text().splitlines()]
    assert lines
    return [line for line in lines if not line.startswith("{") or not isinstance(json.loads(line), dict)]


def shopify(topic: str, payload: Mapping[str, Any], secret: str = SHOPIFY_SECRET) -> tuple[bytes, dict[str, str]]:
    """A webhook of Shopify: body and headers."""
    body = json.dumps(payload).encode()
    signature = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    return body, {"X-Shopify-Topic": topic, "X-Shopify-Hmac-Sha256": signature, "X-Shopify-Shop-Domain": "x.example"}


def meta(payload: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A webhook of Meta: body and headers."""
    body = json.dumps(payload).encode()
    return body, {"X-Hub-Signature-256": f"sha256={hmac.digest(META_SECRET.encode(), body, 'sha256').hex()}"}
