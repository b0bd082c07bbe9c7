"""Calls to other services: retried if they did not arrive, never longer than the caller waits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sima.identity.v1.identity_service_pb2 import LookupRequest, ResolveRequest
from sima_runtime.context import CallContext, current, enter
from sima_runtime.errors import (
    DeadlineExceededError,
    DependencyUnavailableError,
    NotFoundError,
    OverloadedError,
    SimaError,
)
from sima_runtime.settings import ClientSettings, ServiceSettings

from .conftest import ServeTold, Told


def failing_once(error: SimaError) -> Callable[[], Awaitable[None]]:
    """A method that fails the first time."""
    failures = [error]

    async def resolve() -> None:
        if failures:
            raise failures.pop()

    return resolve


async def test_unavailable_is_retried(serve_told: ServeTold) -> None:
    """A call that a service could not take is sent again without the caller's doing."""
    server = await serve_told(Told(failing_once(DependencyUnavailableError("database"))))
    await server.client.call(server.stub.Resolve, ResolveRequest())
    assert len(server.told.workspaces) == 2


@pytest.mark.parametrize("error", [NotFoundError("a", "b"), OverloadedError("c"), DeadlineExceededError()])
async def test_nothing_else_is_retried(serve_told: ServeTold, error: SimaError) -> None:
    """A refusal stands: the call is not sent again."""
    server = await serve_told(Told(failing_once(error)))
    with pytest.raises(type(error)):
        await server.client.call(server.stub.Resolve, ResolveRequest())
    assert len(server.told.workspaces) == 1


async def test_retries_end(serve_told: ServeTold) -> None:
    """A service that stays unavailable is given up after four attempts."""

    async def resolve() -> None:
        raise DependencyUnavailableError("database")

    server = await serve_told(Told(resolve))
    with pytest.raises(DependencyUnavailableError) as caught:
        await server.client.call(server.stub.Resolve, ResolveRequest())
    assert caught.value.service == "database"
    assert len(server.told.workspaces) == 4


async def wait_for_ever() -> None:
    """A method that never answers."""
    await asyncio.Event().wait()


async def test_every_call_has_a_deadline(serve_told: ServeTold) -> None:
    """A service that never answers is given up after the default deadline."""
    server = await serve_told(Told(wait_for_ever), client=ClientSettings(client_timeout_seconds=0.2))
    with pytest.raises(DeadlineExceededError):
        await server.client.call(server.stub.Resolve, ResolveRequest())


async def test_deadline_of_the_caller_is_handed_on(serve_told: ServeTold) -> None:
    """A call made while serving another never outlives it."""
    server = await serve_told(Told(wait_for_ever))
    loop = asyncio.get_running_loop()
    enter(CallContext("acme", "r1", deadline=loop.time() + 0.2))
    with pytest.raises(DeadlineExceededError):
        await server.client.call(server.stub.Resolve, ResolveRequest(), deadline=600)


async def test_request_id_and_workspace_are_handed_on(serve_told: ServeTold) -> None:
    """What a call causes elsewhere is found under the same request id, in the same workspace."""
    seen: list[CallContext] = []

    async def resolve() -> None:
        seen.append(current())

    server = await serve_told(Told(resolve))
    enter(CallContext("acme", "request-7"))
    await server.client.call(server.stub.Resolve, ResolveRequest())
    [call] = seen
    assert (call.workspace, call.request_id) == ("acme", "request-7")
    assert call.method == "/sima.identity.v1.IdentityService/Resolve"
    assert call.seconds_left() is not None


@pytest.mark.parametrize("request_id", ["", "two words", "ada@example.com", "x" * 101])
async def test_unfit_request_id_is_replaced(serve_told: ServeTold, request_id: str) -> None:
    """A request id that might be anything does not get into logs."""
    seen: list[str] = []

    async def resolve() -> None:
        seen.append(current().request_id)

    server = await serve_told(Told(resolve))
    await server.stub.Resolve(ResolveRequest(), metadata=[("sima-request-id", request_id)])
    assert seen
    assert request_id not in seen


async def test_contexts_of_concurrent_calls_are_apart(serve_told: ServeTold) -> None:
    """Each of many calls at once sees its own workspace to the end."""

    async def resolve() -> None:
        before = current()
        await asyncio.sleep(0.01)
        assert current() is before

    server = await serve_told(Told(resolve), ServiceSettings(drain_seconds=0.1))
    names = [f"w{number}" for number in range(50)]
    await asyncio.gather(*(server.client.call(server.stub.Resolve, ResolveRequest(), workspace=name) for name in names))
    assert sorted(server.told.workspaces) == sorted(names)


async def test_client_outside_of_calls_needs_no_context(serve_told: ServeTold) -> None:
    """A client works where no call is being served."""
    server = await serve_told()
    await server.client.call(server.stub.Lookup, LookupRequest())
    assert server.told.workspaces == ["main"]


async def test_cancelled_caller_cancels_the_call(serve_told: ServeTold) -> None:
    """When the caller is cancelled, the other service hears of it."""
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def resolve() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = await serve_told(Told(resolve))
    call = asyncio.create_task(server.client.call(server.stub.Resolve, ResolveRequest()))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cancelled.wait(), 20)
