"""The segment service beside real identity and profile services, on real PostgreSQL, with a clock that tests set."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sima_identity.service import assembled as identity_assembled
from sima_identity.settings import IdentitySettings
from sima_profile.service import assembled as profile_assembled
from sima_profile.settings import ProfileSettings
from sima_runtime.clients import ServiceClient
from sima_runtime.settings import ClientSettings

from .worlds import TRAITS, Clock, StartSegment, Upstream, World, segment_database, serve, started

#: Readers of feeds are woken when there is something; looking all the time would only keep the machine busy.
SELDOM = 3.0


@pytest.fixture
def clock() -> Clock:
    """The clock of a segment service."""
    return Clock()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def upstream(lasting_migrated: Callable[[str], str], workspace_key_file: Path) -> AsyncIterator[Upstream]:
    """The services that the segment service reads from."""
    async with AsyncExitStack() as stack:
        identity = IdentitySettings(
            database_url=lasting_migrated("sima_identity"),
            workspace_key_file=workspace_key_file,
            settle_seconds=0.1,
            feed_poll_seconds=SELDOM,
            plugins=None,
            most_identifiers=5_000,
            growth_per_identifier=50,
            growth_per_profile=30,
            count_seconds=1,
            count_again_seconds=3_600,
            neighbourhood_limit=10_000,
        )
        identity_address = await serve(stack, identity, identity_assembled(identity))
        profile = ProfileSettings(
            database_url=lasting_migrated("sima_profile"),
            workspace_key_file=workspace_key_file,
            identity_address=identity_address,
            feed_poll_seconds=SELDOM,
            traits=TRAITS,
        )
        profile_address = await serve(stack, profile, profile_assembled(profile))
        client = ServiceClient("profile", profile_address, ClientSettings(client_timeout_seconds=60))
        stack.push_async_callback(client.close)
        yield Upstream(identity_address, profile_address, client)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lasting(
    postgres_server: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A segment service that runs as long as the tests do; its clock stands still."""
    directory = tmp_path_factory.mktemp("segment")
    with segment_database(postgres_server) as address:
        async with started(upstream, Clock(), "", database_url=address, data_dir=directory) as running:
            yield running


@pytest.fixture
def world(lasting: World, workspace: str) -> World:
    """All three services, and a workspace that no other test has."""
    return replace(lasting, workspace=workspace)


@pytest.fixture
def start_segment(
    postgres_server: str, upstream: Upstream, workspace: str, clock: Clock, tmp_path: Path
) -> Iterator[StartSegment]:
    """Starts segment services of the test's own; they share clock and database, and the directory unless told."""
    with segment_database(postgres_server) as address:
        given = {"database_url": address, "data_dir": tmp_path / "segment", "tick_seconds": 0.2}

        def start(**changed: Any) -> AbstractAsyncContextManager[World]:
            return started(upstream, clock, workspace, **given | changed)

        yield start
