"""What is measured over a million people and ten million events, which are loaded once for all of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import psycopg

from benchmarks import evaluation, live
from benchmarks.figures import Figure, sized, told
from benchmarks.loading import load
from benchmarks.stack import Stack, started, temporary_folder
from benchmarks.world import EVENTS, PEOPLE, WORKSPACE, World, make

_FEWEST_PEOPLE = 1_000
_FEWEST_EVENTS = 10_000
_CATCH_UP_SECONDS = 3 * 3600.0
_STILL_SECONDS = 3.0


async def large(scale: float) -> AsyncIterator[Figure]:
    """Full evaluation of rules, then memberships kept up to date under load."""
    async with loaded(sized(PEOPLE, scale, _FEWEST_PEOPLE), sized(EVENTS, scale, _FEWEST_EVENTS)) as (stack, world):
        for figure in evaluation.figures(await evaluation.compare_all(stack, world)):
            yield figure
        async for figure in live.live(stack, world, scale):
            yield figure


@asynccontextmanager
async def loaded(people: int, events: int) -> AsyncIterator[tuple[Stack, World]]:
    """Give a running Sima that holds a world, and has worked off all of it."""
    async with started() as stack:
        with temporary_folder() as folder:
            with told(f"{people} people and {events} events made"):
                world = await asyncio.to_thread(make, folder, stack.secret(WORKSPACE), people, events)
            with closing(world):
                with told("loaded into identity and profile"):
                    await asyncio.to_thread(load, world, stack.database_url, folder)
                with told("vacuumed"):
                    await asyncio.to_thread(stack.tidy)
                with told("worked off by segment"):
                    await evaluation.preview(stack, "has(traits.city)", deadline=_CATCH_UP_SECONDS)
                with told("worked off by everybody"):
                    await still(stack)
                yield stack, world


async def still(stack: Stack) -> None:
    """Wait until profile has followed identity to the end, too."""
    async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as connection:
        place, before = await _followed(connection), None
        while place != before or not any(place):
            await asyncio.sleep(_STILL_SECONDS)
            place, before = await _followed(connection), place


async def _followed(connection: psycopg.AsyncConnection) -> tuple[str, ...]:
    [row] = await (await connection.execute("SELECT identity_cursor FROM profile.workspaces")).fetchall()
    return row
