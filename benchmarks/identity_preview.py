"""How long it takes to try rules out on a million profiles: every one of them is read and grouped anew."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing

from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from benchmarks import identity_floors as floors
from benchmarks.figures import Figure, short, sized, told
from benchmarks.identity import made
from benchmarks.ingest import LEAST
from benchmarks.loading import load_identity
from benchmarks.stack import Stack, started, temporary_folder

PROFILES = 1_000_000
BAR = 60.0  # s

_DEADLINE = 300.0
#: A tenth of all browsers name nobody, so a tenth of all profiles has one identifier less.
_RULES = pb.IdentityPolicy(blocked_patterns=[pb.BlockedPattern(kind="anonymous_id", pattern="browser-[0-9]*7")])


async def preview(scale: float) -> AsyncIterator[Figure]:
    """Try out rules that change a tenth of all profiles."""
    people = sized(PROFILES, scale, LEAST)
    async with started() as stack:
        with (
            temporary_folder() as folder,
            closing(await made(stack, folder, people)) as world,
            told(f"{people} profiles of two identifiers loaded"),
        ):
            await asyncio.to_thread(load_identity, world, stack.database_url, folder)
        await asyncio.to_thread(stack.tidy)
        floor = await asyncio.to_thread(floors.read_seconds, stack.database_url, world.workspace)
        began = time.perf_counter()
        effect = await tried(stack, world.workspace)
        taken = time.perf_counter() - began
    assert (effect.profiles_before, effect.profiles_after) == (people, people), "profiles were lost or found"
    assert (effect.splits, effect.blocked_after) == (people // 10, people // 10), "the rules were not tried out on all"
    floor_is = "COPY of the identifiers and edges that are read"
    yield Figure(f"identity_preview_{short(people)}_s", taken, "s", floor, floor_is, BAR)


async def tried(stack: Stack, workspace: str) -> pb.PolicyEffect:
    """What the rules would change."""
    request = pb.PreviewIdentityPolicyRequest(policy=_RULES)
    call = IdentityServiceStub(stack.identity.channel).PreviewIdentityPolicy
    steps = stack.identity.stream(call, request, workspace=workspace, deadline=_DEADLINE)
    *_, last = [step async for step in steps]
    return last.effect
