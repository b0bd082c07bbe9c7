"""A killed process loses nothing that it acknowledged."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import Event, Fact
from sima_profile.store.appending import owners_lock
from sima_runtime.clients import ServiceClient
from sima_runtime.database import execute
from sima_runtime.errors import DependencyUnavailableError
from sima_runtime.settings import ClientSettings

from .conftest import Stack, at, by, email, identity_settings, identity_started

pytestmark = pytest.mark.asyncio(loop_scope="session")


def fact(number: int) -> Fact:
    """An event."""
    return Fact(
        source="web", message_id=f"m{number}", identifiers=[email("ada")], occurred_at=at(number), event=Event(name="e")
    )


@asynccontextmanager
async def profile_process(environment: dict[str, str], address_file: Path) -> AsyncIterator[tuple[Process, str]]:
    """A profile service in a process of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sima_profile", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while not (address := written(address_file)):
            assert process.returncode is None
            await asyncio.sleep(0.05)
        yield process, address
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def written(path: Path) -> str:
    """What is in a file, once it is there; then the file is gone."""
    if not path.exists():
        return ""
    text = path.read_text()
    path.unlink()
    return text


async def test_kill_between_resolve_and_insert_loses_nothing_acknowledged(
    stack: Stack, database_url: str, workspace_key_file: Path, tmp_path: Path
) -> None:
    """What was answered is there after a restart; what was not is not there at all, and can be sent again."""
    address_file = tmp_path / "address"
    async with identity_started(identity_settings(database_url, workspace_key_file)) as identity_address:
        environment = os.environ | {
            "SIMA_PROFILE_DATABASE_URL": database_url,
            "SIMA_PROFILE_WORKSPACE_KEY_FILE": str(workspace_key_file),
            "SIMA_PROFILE_IDENTITY_ADDRESS": identity_address,
            "SIMA_PROFILE_ADDRESS_FILE": str(address_file),
        }
        async with profile_process(environment, address_file) as (process, address):
            caller = Stack(
                ServiceClient("profile", address, ClientSettings(client_timeout_seconds=60)),
                stack.identity,
                stack.database,
                stack.workspace,
            )
            await caller.ingest(fact(1))
            lost = await killed_before_insert(caller, process)
        assert isinstance(lost, DependencyUnavailableError)
        assert await stored(stack) == 1
        async with profile_process(environment, address_file) as (_, address):
            caller = Stack(
                ServiceClient("profile", address, ClientSettings(client_timeout_seconds=60)),
                stack.identity,
                stack.database,
                stack.workspace,
            )
            again = await caller.ingest(fact(1), fact(2))
            await caller.client.close()
    assert [result.outcome for result in again] == [pb.INGEST_OUTCOME_DUPLICATE, pb.INGEST_OUTCOME_ACCEPTED]
    assert (await stack.profile(by(email("ada")))).event_count == 2


async def killed_before_insert(caller: Stack, process: Process) -> BaseException:
    """Hold a call up where it begins to append, kill the process there, and return what the caller hears."""
    async with caller.database.transaction() as connection:
        hold = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        await execute(connection, hold, (owners_lock(caller.workspace),))
        call = asyncio.create_task(caller.ingest(fact(2)))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND NOT granted"
        while await caller.rows(waiting) == [(0,)]:  # noqa: ASYNC110  # the other process gets there
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
        [lost] = await asyncio.gather(call, return_exceptions=True)
    await caller.client.close()
    assert isinstance(lost, BaseException)
    return lost


async def stored(stack: Stack) -> int:
    """How many facts the workspace has."""
    [(count,)] = await stack.rows("SELECT count(*) FROM facts WHERE workspace = %s", stack.workspace)
    return int(count)
