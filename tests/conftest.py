"""What all tests share: one real PostgreSQL, a database for each worker, a workspace for each test."""

import gc
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from sima_cli.postgres import start_postgres
from sima_runtime.clients import ServiceClient
from sima_runtime.database import Database
from sima_runtime.logs import configure_logs
from sima_runtime.settings import ClientSettings, DatabaseSettings

from tests.databases import fresh_database, migrating

if TYPE_CHECKING:
    from playwright.async_api import Browser

# As the services do; unconfigured, structlog draws each exception with all its locals, which takes seconds.
configure_logs("warning", "tests")

# No test asserts a time: what is slow here may only be a busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
ADDRESS_VARIABLE = "SIMA_TEST_DATABASE_URL"
CONTAINER_IMAGE = "postgres:18"
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CONNECTIONS = 500  # of all workers together; each holds those of several installations


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker waits for another one's last test."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The kubectl that the project pins; without one nobody can build the manifests."""
    script = ROOT / "scripts" / "kubectl"
    told = subprocess.run([script, "version", "--client"], capture_output=True, check=False, timeout=300)
    if told.returncode and "CI" not in os.environ:
        pytest.skip("there is no kubectl, and it can be fetched on Debian only")
    return script


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a real browser."""
    found = subprocess.run([ROOT / "scripts" / "chromium"], capture_output=True, text=True, check=False, timeout=600)
    if found.returncode and "CI" not in os.environ:
        pytest.skip("there is no Chromium, and none could be installed")
    found.check_returncode()
    return found.stdout.strip()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator["Browser"]:
    """The browser, one for all visitors."""
    from playwright.async_api import async_playwright  # few tests need it

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a server: from the environment, else from a container where Docker answers, else embedded."""
    if address := os.environ.get(ADDRESS_VARIABLE):
        yield address
        return
    with ExitStack() as stack:
        yield _container(stack) or _embedded(stack)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Address of an empty database of this worker."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_url: str) -> Callable[[str], str]:
    """Apply the migrations of a package to the database of this worker; gives its address."""
    return migrating(postgres_url)


@pytest.fixture(scope="session")
def lasting_migrated(postgres_server: str) -> Iterator[Callable[[str], str]]:
    """The same for the database of services that run as long as the session does.

    They stand still while others are tested. What those told them, if they had the database in common, nobody would
    read; and once a connection is full of it PostgreSQL can drop no database.
    """
    with fresh_database(postgres_server) as url:
        yield migrating(url)


@pytest.fixture
async def open_database(migrated: Callable[[str], str]) -> AsyncIterator[Callable[[str], Database]]:
    """Open the migrated schema of a service by its name (`identity`); closed after the test."""
    async with AsyncExitStack() as stack:

        def open_one(service: str) -> Database:
            settings = DatabaseSettings(database_url=migrated(f"sima_{service}"))
            database = Database(settings, service)
            stack.push_async_callback(database.close)
            return database

        yield open_one


@pytest.fixture
async def open_client() -> AsyncIterator[Callable[[str, str], ServiceClient]]:
    """Open a client of a service by its name and address; closed after the test."""
    async with AsyncExitStack() as stack:

        def open_one(service: str, address: str) -> ServiceClient:
            client = ServiceClient(service, address, ClientSettings(client_timeout_seconds=60))
            stack.push_async_callback(client.close)
            return client

        yield open_one


@pytest.fixture
def workspace() -> str:
    """A workspace that no other test has."""
    return f"w{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def workspace_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a master key, one for all services of the session."""
    path = tmp_path_factory.mktemp("keys") / "workspace.key"
    path.write_text(os.urandom(32).hex())
    return path


def _container(stack: ExitStack) -> str | None:
    """Start a container if Docker answers and has, or can get, the image."""
    with warnings.catch_warnings():
        # The libraries warn on import, and leave a socket to the garbage collector where nobody answers.
        warnings.simplefilter("ignore")
        try:
            return _started_container(stack)
        finally:
            gc.collect()


def _started_container(stack: ExitStack) -> str | None:
    import docker
    from docker.errors import DockerException
    from testcontainers.community.postgres import PostgresContainer

    try:
        with closing(docker.from_env(timeout=5)) as client:
            client.ping()
        postgres = PostgresContainer(CONTAINER_IMAGE, driver=None)
        container = stack.enter_context(postgres.with_command(f"-c max_connections={CONNECTIONS}"))
    except DockerException:
        return None
    return str(container.get_connection_url())


def _embedded(stack: ExitStack) -> str:
    """Start PostgreSQL from the wheel; the workers of one run share it, and the last one removes its data."""
    # Not below pytest's own folder: it takes away others' rights to that, and for root PostgreSQL is another user.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    folder = Path(tempfile.gettempdir()) / f"sima-test-{run}"
    handle = start_postgres(folder, connections=CONNECTIONS)
    stack.callback(_remove_if_stopped, folder)
    stack.callback(handle.stop)
    with psycopg.connect(handle.url, autocommit=True) as connection:
        # No test pulls the plug, and who is killed has told the kernel. With it each database that is dropped makes all
        # wait for the disk.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return handle.url


def _remove_if_stopped(folder: Path) -> None:
    if not (folder / "postmaster.pid").exists():
        shutil.rmtree(folder)
