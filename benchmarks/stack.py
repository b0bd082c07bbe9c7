"""All of Sima on this machine, started for one benchmark and gone after it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml
from sima_cli.folder import Folder, Running
from sima_cli.stack import Setup, running_stack
from sima_runtime.clients import ServiceClient
from sima_runtime.context import workspace_secret
from sima_runtime.settings import ClientSettings

TOKEN = "benchmark"
SOURCES = {
    "sources": [{"name": "bench", "workspace": "main", "connector": "api", "secrets": {"token": {"value": TOKEN}}}]
}


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs.

    Attributes:
        running: The addresses.
        identity: Client of the identity service.
        profile: Client of the profile service.
        segment: Client of the segment service.
        folder: Its data directory; PostgreSQL is in `postgres`.
    """

    running: Running
    identity: ServiceClient
    profile: ServiceClient
    segment: ServiceClient
    folder: Path

    def secret(self, workspace: str) -> bytes:
        """The secret of a workspace."""
        return workspace_secret(bytes.fromhex((self.folder / "workspace.key").read_text()), workspace)

    @property
    def database_url(self) -> str:
        """PostgreSQL's address, for floors."""
        return f"postgresql://postgres@/postgres?host={self.folder / 'postgres'}"

    def tidy(self) -> None:
        """Have PostgreSQL do now what it would do by itself within minutes, or while something is measured."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")


def prepared(root: Path) -> Folder:
    """Make an empty folder a data directory."""
    root.chmod(0o755)  # PostgreSQL runs as another user when root starts it
    folder = Folder(root)
    folder.prepare()
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="sima-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@asynccontextmanager
async def started() -> AsyncIterator[Stack]:
    """Start everything in a fresh folder and end it after the block."""
    with temporary_folder() as root:
        folder = prepared(root)
        (root / "bench-sources.yaml").write_text(yaml.safe_dump(SOURCES))
        async with running_stack(Setup(folder, root, root / "bench-sources.yaml"), lambda _: None) as running:
            settings = ClientSettings(client_timeout_seconds=60)
            identity = ServiceClient("identity", running.identity, settings)
            profile = ServiceClient("profile", running.profile, settings)
            segment = ServiceClient("segment", running.segment, settings)
            yield Stack(running, identity, profile, segment, root)
            await identity.close()
            await profile.close()
            await segment.close()
