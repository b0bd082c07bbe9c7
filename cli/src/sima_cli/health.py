"""Waits until services answer."""

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

_PAUSE_SECONDS = 0.05
# A service that is just starting is asked again at once, not after gRPC's usual second.
_IMPATIENT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]


async def serves(address: str) -> None:
    """Wait until a gRPC service says that it serves."""
    async with grpc.aio.insecure_channel(address, _IMPATIENT) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        async for answer in watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


async def written(address_file: Path) -> str:
    """Wait until a service has written where it listens, and return that."""
    while not address_file.exists():  # noqa: ASYNC110, ASYNC240 - nobody tells of a file
        await asyncio.sleep(_PAUSE_SECONDS)
    return address_file.read_text()  # noqa: ASYNC240


async def ready(collector: str) -> None:
    """Wait until a collector says that it is ready."""
    async with httpx.AsyncClient(base_url=collector) as client:
        while not (await client.get("/readyz")).is_success:  # noqa: ASYNC110 - nor of being ready
            await asyncio.sleep(_PAUSE_SECONDS)
