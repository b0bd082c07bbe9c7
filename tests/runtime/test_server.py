"""A server says how it is, and stops without breaking what is running."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sima.identity.v1.identity_service_pb2 import (
    LookupRequest,
    LookupResponse,
    ResolveRequest,
    ResolveResponse,
    WatchProfileChangesRequest,
)
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub, add_IdentityServiceServicer_to_server
from sima_runtime.errors import DependencyUnavailableError, FixConfigurationError, OverloadedError, RetryLaterError
from sima_runtime.server import Servicer, serve
from sima_runtime.settings import ServiceSettings
from sima_runtime.transport import LARGEST_MESSAGE

from tests.ports import free_port

from .conftest import LONG, SERVICE, LogLines, ServeTold, Told, eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_lists_the_services(serve_told: ServeTold) -> None:
    """Tools can ask which services there are."""
    server = await serve_told()
    stub = reflection_pb2_grpc.ServerReflectionStub(server.client.channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    [answer] = [answer async for answer in stub.ServerReflectionInfo(asked)]
    names = {service.name for service in answer.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_reflection_can_be_switched_off(serve_told: ServeTold) -> None:
    """A server may keep its services to itself."""
    server = await serve_told(settings=ServiceSettings(reflection=False, drain_seconds=0.1))
    stub = reflection_pb2_grpc.ServerReflectionStub(server.client.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_knows_each_service(serve_told: ServeTold) -> None:
    """The server and each of its services are SERVING; of others it does not know."""
    stub = health_pb2_grpc.HealthStub((await serve_told()).client.channel)
    for name in ("", SERVICE):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
    assert await stub.Check(health_pb2.HealthCheckRequest(service="other")).code() is grpc.StatusCode.NOT_FOUND


async def test_probes_are_answered_beside_the_services(serve_told: ServeTold) -> None:
    """The health address answers probes in plain text, and nothing but probes."""
    address = f"127.0.0.1:{free_port()}"
    await serve_told(settings=ServiceSettings(health_address=address, drain_seconds=0.1))
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == SERVING
        call = IdentityServiceStub(channel).Resolve(ResolveRequest())
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_sigterm_lets_a_running_call_finish(tmp_path: Path) -> None:
    """After SIGTERM health says NOT_SERVING, new calls are refused, and the running call is answered."""
    entered, finish = asyncio.Event(), asyncio.Event()

    async def resolve() -> None:
        entered.set()
        await finish.wait()

    settings = ServiceSettings(address_file=tmp_path / "address", drain_seconds=LONG, not_serving_seconds=3)
    servicers = [Servicer(SERVICE, add_IdentityServiceServicer_to_server, Told(resolve))]
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("background")

    serving = asyncio.create_task(
        serve(settings, servicers, background=[background], on_stop=[lambda: ended.append("streams")])
    )
    await eventually(lambda: asyncio.to_thread((tmp_path / "address").exists))
    address = (tmp_path / "address").read_text()
    async with grpc.aio.insecure_channel(address) as channel, grpc.aio.insecure_channel(address) as other:
        call = IdentityServiceStub(channel).Resolve(ResolveRequest())
        await entered.wait()
        health = health_pb2_grpc.HealthStub(other)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        os.kill(os.getpid(), signal.SIGTERM)

        async def says_not_serving() -> bool:
            return bool((await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING)

        async def refuses_new_calls() -> bool:
            code = await health.Check(health_pb2.HealthCheckRequest()).code()
            return bool(code is grpc.StatusCode.UNAVAILABLE)

        await eventually(says_not_serving)
        await eventually(refuses_new_calls)
        assert ended == ["streams"]
        finish.set()
        assert await call == ResolveResponse()
        await asyncio.wait_for(serving, LONG)
    assert ended == ["streams", "background"]


async def test_calls_over_the_limit_are_told_to_come_again(serve_told: ServeTold) -> None:
    """A server bounds what it does at once, in words that clients understand, and goes on when calls have ended."""
    entered, finish = asyncio.Event(), asyncio.Event()

    async def resolve() -> None:
        entered.set()
        await finish.wait()

    settings = ServiceSettings(max_calls=1, drain_seconds=0.1)
    server = await serve_told(Told(resolve), settings)
    running = asyncio.create_task(server.client.call(server.stub.Resolve, ResolveRequest()))
    await entered.wait()
    with pytest.raises(OverloadedError):
        await server.client.call(server.stub.Lookup, LookupRequest())
    finish.set()
    assert await running == ResolveResponse()

    async def is_served() -> bool:
        with suppress(RetryLaterError):
            return bool(await server.client.call(server.stub.Lookup, LookupRequest()) == LookupResponse())
        return False

    await eventually(is_served)


async def test_call_longer_than_the_drain_is_cancelled(serve_told: ServeTold, tmp_path: Path) -> None:
    """A call that does not end within the drain cannot keep the server from stopping."""
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def resolve() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    settings = ServiceSettings(address_file=tmp_path / "address", drain_seconds=0.2)
    servicers = [Servicer(SERVICE, add_IdentityServiceServicer_to_server, Told(resolve))]
    serving = asyncio.create_task(serve(settings, servicers))
    await eventually(lambda: asyncio.to_thread((tmp_path / "address").exists))
    async with grpc.aio.insecure_channel((tmp_path / "address").read_text()) as channel:
        call = IdentityServiceStub(channel).Resolve(ResolveRequest())
        await entered.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, LONG)
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert cancelled.is_set()


async def test_abandoned_stream_ends_at_the_server(serve_told: ServeTold, log_lines: LogLines) -> None:
    """When a reader goes away, its stream is closed and logged as cancelled."""
    closed = asyncio.Event()

    async def watch() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    server = await serve_told(Told(watch=watch))
    pages = server.client.stream(server.stub.WatchProfileChanges, WatchProfileChangesRequest())
    assert (await anext(pages)).cursor == "first"
    await pages.aclose()
    await asyncio.wait_for(closed.wait(), LONG)
    lines: list[dict[str, object]] = []

    async def is_logged() -> bool:
        lines.extend(log_lines())
        return any(line["event"] == "call" for line in lines)

    await eventually(is_logged)
    assert [line["code"] for line in lines if line["event"] == "call"] == ["CANCELLED"]


async def test_taken_address_stops_the_start(serve_told: ServeTold) -> None:
    """An address that cannot be bound is a start-up error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FixConfigurationError, match="listen_address"):
            await serve_told(settings=ServiceSettings(listen_address=address))


@pytest.mark.parametrize("setting", ["listen_address", "health_address"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::]"])  # noqa: S104 - one that is refused
async def test_the_address_of_another_server_stops_the_start(
    serve_told: ServeTold, tmp_path: Path, setting: str, host: str
) -> None:
    """Not even two servers of Sima, whom the system would let, share one: each would get half of the calls."""
    port = (await serve_told()).address.rpartition(":")[2]
    (tmp_path / "tokens.json").write_text("[]")  # without which only loopback is bound
    given: dict[str, Any] = {"token_file": tmp_path / "tokens.json", setting: f"{host}:{port}"}
    with pytest.raises(FixConfigurationError, match=f"{setting} must be a free address"):
        await serve_told(settings=ServiceSettings(drain_seconds=0.1, **given))


async def test_an_address_that_is_held_but_not_listened_at_is_free(serve_told: ServeTold) -> None:
    """So `sima up` keeps addresses for its services until they listen."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        assert (
            await serve_told(settings=ServiceSettings(listen_address=address, drain_seconds=0.1))
        ).address == address


async def test_message_beyond_the_limit_is_refused(serve_told: ServeTold) -> None:
    """A message larger than the limit does not reach the service."""
    server = await serve_told()
    request = ResolveRequest()
    request.sets.add(source="x" * (LARGEST_MESSAGE + 1))
    call = server.stub.Resolve(request)
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.told.workspaces == []


async def test_more_calls_than_allowed_are_refused(serve_told: ServeTold) -> None:
    """A full server says so at once and goes on with what it has."""
    finish = asyncio.Event()

    async def resolve() -> None:
        await finish.wait()

    server = await serve_told(Told(resolve), ServiceSettings(max_calls=2, drain_seconds=0.1))
    running = [asyncio.ensure_future(server.stub.Resolve(ResolveRequest())) for _ in range(2)]
    await eventually(lambda: asyncio.sleep(0, len(server.told.workspaces) == 2))
    assert await server.stub.Resolve(ResolveRequest()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    finish.set()
    assert await asyncio.gather(*running) == [ResolveResponse(), ResolveResponse()]


async def test_stopped_server_is_unavailable(serve_told: ServeTold) -> None:
    """Where nobody listens, callers hear that the service does not answer."""
    server = await serve_told()
    client = server.client
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(DependencyUnavailableError) as caught:
            await client.call(IdentityServiceStub(channel).Resolve, ResolveRequest(), deadline=60)
    assert caught.value.service == "identity"
