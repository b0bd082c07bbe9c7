"""How much faster two identity processes on one PostgreSQL resolve than one; and who used the processors meanwhile."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from time import perf_counter

import psutil  # type: ignore[import-untyped]
from sima.identity.v1 import identity_service_pb2 as pb
from sima_cli.health import serves
from sima_cli.processes import nursery, reserved_addresses
from sima_runtime.clients import ServiceClient
from sima_runtime.settings import ClientSettings

from benchmarks.figures import Figure
from benchmarks.graph import Graph
from benchmarks.ingest import per_second
from benchmarks.stack import Stack


async def two_against_one(graph: Graph, requests: Sequence[pb.ResolveRequest]) -> Figure:
    """Resolve the first half of sets, all new, with one replica, and the other half with two."""
    half = len(requests) // 2
    async with replica(graph.stack) as other:
        one, used_by_one = await shared_out(graph, requests[:half], [graph.stack.identity])
        two, used_by_two = await shared_out(graph, requests[half:], [graph.stack.identity, other])
    cores = f"one process, of {psutil.cpu_count()} processors; in use with one: {used_by_one}, with two: {used_by_two}"
    return Figure("identity_replicas", two, "sets/s", one, cores)


async def shared_out(
    graph: Graph, requests: Sequence[pb.ResolveRequest], replicas: Sequence[ServiceClient]
) -> tuple[float, str]:
    """Sets a second when replicas take turns, and how many processors everybody used."""
    turns = cycle(replicas)

    async def send(request: pb.ResolveRequest) -> None:
        await graph.resolve(request, next(turns))

    before, began = processor_seconds(graph.stack), perf_counter()
    rate = await per_second(requests, send)
    after, seconds = processor_seconds(graph.stack), perf_counter() - began
    return rate, ", ".join(f"{name} {(after[name] - before[name]) / seconds:.2f}" for name in after)


def processor_seconds(stack: Stack) -> Mapping[str, float]:
    """Seconds of processors that each kind of process has used."""
    postmaster = psutil.Process(int((stack.folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    client = psutil.Process()
    services = [child for child in client.children(recursive=True) if "sima_identity" in child.cmdline()]
    kinds = {"identity": services, "PostgreSQL": [postmaster, *postmaster.children()], "client": [client]}
    return {name: sum(map(_seconds, processes)) for name, processes in kinds.items()}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def replica(stack: Stack) -> AsyncIterator[ServiceClient]:
    """Run one more identity process on the same database."""
    with reserved_addresses(1) as [address]:
        environment = {
            "SIMA_IDENTITY_DATABASE_URL": stack.database_url,
            "SIMA_IDENTITY_LISTEN_ADDRESS": address,
            "SIMA_IDENTITY_WORKSPACE_KEY_FILE": str(stack.folder / "workspace.key"),
            "SIMA_IDENTITY_DRAIN_SECONDS": "1",
        }
        async with nursery(stack.folder / "logs") as ours:
            await ours.start("identity-replica", ["-m", "sima_identity"], environment)
            await serves(address)
            client = ServiceClient("identity", address, ClientSettings(client_timeout_seconds=60))
            yield client
            await client.close()
