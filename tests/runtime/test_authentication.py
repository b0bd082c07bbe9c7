"""Who may call what, for which workspace."""

import asyncio
import hashlib
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from sima.identity.v1.identity_service_pb2 import LookupRequest, ResolveRequest, WatchProfileChangesRequest
from sima_runtime.auth import Tokens
from sima_runtime.context import CallContext, enter
from sima_runtime.errors import (
    DependencyUnavailableError,
    FixConfigurationError,
    RemoteError,
    UnauthenticatedError,
)
from sima_runtime.settings import ClientSettings, ServiceSettings
from sima_runtime.watched import CHECK_SECONDS

from .conftest import LONG, SERVICE, Served, ServeTold, Told, eventually

ACME = {"name": "acme", "token": "acme-token", "workspace": "acme", "rpcs": [f"{SERVICE}/*"]}
READER = {"name": "reader", "token": "reader-token", "workspace": "acme", "rpcs": [f"{SERVICE}/Lookup"]}
SIMA = {"name": "profile", "token": "sima-token", "workspace": "*", "rpcs": ["*"]}
ALL = [ACME, READER, SIMA]
UNNOTICED = CHECK_SECONDS + 0.1  # so long may a file be read as it was before it changed


def write_tokens(path: Path, *entries: dict[str, Any]) -> Path:
    """Write a token file, hashing the tokens."""
    hashed = [
        {**{key: value for key, value in entry.items() if key != "token"}, "sha256": digest(entry["token"])}
        for entry in entries
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps(hashed))
    os.replace(new, path)
    return path


def digest(token: str) -> str:
    """Hash of a token, as the file has it."""
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
async def server(serve_told: ServeTold, tmp_path: Path) -> Served:
    """A server with three credentials."""
    settings = ServiceSettings(token_file=write_tokens(tmp_path / "tokens.json", *ALL), drain_seconds=0.1)
    return await serve_told(Told(), settings)


def metadata(token: str | None, workspace: str | None = None) -> list[tuple[str, str]]:
    """Metadata of a call."""
    given = [("authorization", f"Bearer {token}")] if token is not None else []
    return given + ([("sima-workspace", workspace)] if workspace is not None else [])


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason with which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), reason(caught.value)


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason of a refusal."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return str(info.reason)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "acme-token")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic acme-token")],
        [("authorization", "Bearer wrong")],
        [("authorization", f"Bearer {digest('acme-token')}")],
    ],
)
async def test_without_a_valid_token_nobody_gets_in(server: Served, headers: list[tuple[str, str]]) -> None:
    """No token, a malformed one, a wrong one and the hash itself are refused, in calls and in streams."""
    expected = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert await refused(server.stub.Resolve(ResolveRequest(), metadata=headers)) == expected
    stream = server.stub.WatchProfileChanges(WatchProfileChangesRequest(), metadata=headers)
    assert await refused(stream.read()) == expected
    assert server.told.workspaces == []


async def test_workspace_comes_from_the_token(server: Served) -> None:
    """A token of one workspace means that workspace, whether the call names it or not."""
    await server.stub.Resolve(ResolveRequest(), metadata=metadata("acme-token"))
    await server.stub.Resolve(ResolveRequest(), metadata=metadata("acme-token", "acme"))
    assert server.told.workspaces == ["acme", "acme"]


@pytest.mark.parametrize("workspace", ["other", "", "ACME", "*", "a b"])
async def test_foreign_workspace_is_refused(server: Served, workspace: str) -> None:
    """A token of one workspace opens no other one."""
    call = server.stub.Resolve(ResolveRequest(), metadata=metadata("acme-token", workspace))
    assert await refused(call) == (grpc.StatusCode.PERMISSION_DENIED, "WORKSPACE_NOT_ALLOWED")
    assert server.told.workspaces == []


async def test_services_of_sima_name_the_workspace(server: Served) -> None:
    """A token for all workspaces must say which one it means."""
    await server.stub.Resolve(ResolveRequest(), metadata=metadata("sima-token", "zeta"))
    assert server.told.workspaces == ["zeta"]
    for workspace in (None, "", "NOT A NAME", "*"):
        call = server.stub.Resolve(ResolveRequest(), metadata=metadata("sima-token", workspace))
        assert await refused(call) == (grpc.StatusCode.PERMISSION_DENIED, "WORKSPACE_NOT_ALLOWED")


async def test_token_is_limited_to_its_rpcs(server: Served) -> None:
    """A token for one RPC opens no other one."""
    await server.stub.Lookup(LookupRequest(), metadata=metadata("reader-token"))
    call = server.stub.Resolve(ResolveRequest(), metadata=metadata("reader-token"))
    assert await refused(call) == (grpc.StatusCode.PERMISSION_DENIED, "METHOD_NOT_ALLOWED")
    assert server.told.workspaces == ["acme"]


async def test_health_needs_no_token(server: Served) -> None:
    """Probes carry no token."""
    health = health_pb2_grpc.HealthStub(server.client.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_client_presents_its_token_and_workspace(serve_told: ServeTold, tmp_path: Path) -> None:
    """A client sends its token, the workspace it was given, or that of the call being served."""
    (tmp_path / "token").write_text("sima-token\n")
    settings = ServiceSettings(token_file=write_tokens(tmp_path / "tokens.json", *ALL), drain_seconds=0.1)
    server = await serve_told(Told(), settings, ClientSettings(client_token_file=tmp_path / "token"))
    await server.client.call(server.stub.Resolve, ResolveRequest(), workspace="one")
    enter(CallContext("two", "request-1"))
    await server.client.call(server.stub.Resolve, ResolveRequest())
    assert server.told.workspaces == ["one", "two"]


async def test_client_presents_a_changed_token(serve_told: ServeTold, tmp_path: Path) -> None:
    """A client goes over to a new token of its own without a restart."""
    mine = tmp_path / "token"
    mine.write_text("old-token")
    tokens = write_tokens(tmp_path / "tokens.json", ACME)
    client = ClientSettings(client_token_file=mine)
    server = await serve_told(Told(), ServiceSettings(token_file=tokens, drain_seconds=0.1), client)
    with pytest.raises(RemoteError):
        await server.client.call(server.stub.Resolve, ResolveRequest())
    mine.write_text("acme-token")

    async def gets_in() -> bool:
        with suppress(RemoteError):
            await server.client.call(server.stub.Resolve, ResolveRequest())
        return bool(server.told.workspaces)

    await eventually(gets_in)
    assert server.told.workspaces == ["acme"]


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two\nlines", b"\xff\xfe"])
async def test_unfit_client_token_stops_the_start(serve_told: ServeTold, tmp_path: Path, content: bytes | None) -> None:
    """A client that is to present a token never goes without one."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(FixConfigurationError, match="client_token_file"):
        await serve_told(Told(), None, ClientSettings(client_token_file=tmp_path / "token"))


async def test_open_server_takes_the_named_workspace_or_main(serve_told: ServeTold) -> None:
    """Without configured authentication the caller says which workspace it means; `main` if it does not."""
    server = await serve_told()
    await server.stub.Resolve(ResolveRequest())
    await server.stub.Resolve(ResolveRequest(), metadata=metadata(None, "acme"))
    assert server.told.workspaces == ["main", "acme"]
    call = server.stub.Resolve(ResolveRequest(), metadata=metadata(None, "Not/A/Name"))
    assert await refused(call) == (grpc.StatusCode.PERMISSION_DENIED, "WORKSPACE_NOT_ALLOWED")


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0:0", "[::]:0", ":0", "*:0", "192.0.2.1:0", "[2001:db8::1]:0"),
        *("unix-box:0", "unixbox.example:0", "127.evil.example:0", "127.0.0.1.evil.example:0", "[::1:0"),
    ],
)
async def test_open_server_binds_loopback_only(serve_told: ServeTold, address: str) -> None:
    """Without configured authentication no other machine can reach the server."""
    with pytest.raises(FixConfigurationError, match="loopback"):
        await serve_told(Told(), ServiceSettings(listen_address=address))


async def test_authenticated_server_binds_anywhere(serve_told: ServeTold, tmp_path: Path) -> None:
    """With a token file any address may be bound."""
    tokens = write_tokens(tmp_path / "tokens.json", *ALL)
    server = await serve_told(Told(), ServiceSettings(listen_address="0.0.0.0:0", token_file=tokens, drain_seconds=0.1))
    assert int(server.address.rpartition(":")[2]) > 0


def test_changed_token_file_is_read_again(tmp_path: Path) -> None:
    """A token that is struck out stops working and a new one works, without a restart."""
    tokens = Tokens(write_tokens(tmp_path / "tokens.json", ACME), check_seconds=0)
    assert tokens.credential("acme-token").workspace == "acme"
    write_tokens(tmp_path / "tokens.json", SIMA)
    with pytest.raises(UnauthenticatedError):
        tokens.credential("acme-token")
    assert tokens.credential("sima-token").workspace == "*"


async def test_running_server_hears_of_changed_tokens(serve_told: ServeTold, tmp_path: Path) -> None:
    """A running server follows the token file."""
    path = write_tokens(tmp_path / "tokens.json", ACME)
    server = await serve_told(Told(), ServiceSettings(token_file=path, drain_seconds=0.1))
    await server.stub.Resolve(ResolveRequest(), metadata=metadata("acme-token"))
    write_tokens(path, SIMA)

    async def is_locked_out() -> bool:
        code = await server.stub.Resolve(ResolveRequest(), metadata=metadata("acme-token")).code()
        return bool(code is grpc.StatusCode.UNAUTHENTICATED)

    await eventually(is_locked_out)


async def counting() -> AsyncIterator[str]:
    """Answers without end."""
    for number in itertools.count():
        yield str(number)
        await asyncio.sleep(0.05)


async def end_of(stream: Any) -> str:
    """Read a stream to its end, and return its code."""
    with suppress(grpc.aio.AioRpcError):
        while await stream.read() is not grpc.aio.EOF:
            pass
    return str((await stream.code()).name)


async def test_a_stream_ends_with_its_token(serve_told: ServeTold, tmp_path: Path) -> None:
    """Whose token was removed, or is for fewer RPCs now, hears nothing more, also on a stream opened before."""
    path = write_tokens(tmp_path / "tokens.json", ACME, SIMA)
    server = await serve_told(Told(watch=counting), ServiceSettings(token_file=path, drain_seconds=0.1))
    streams = [
        server.stub.WatchProfileChanges(WatchProfileChangesRequest(), metadata=metadata(token, "acme"))
        for token in ("acme-token", "sima-token")
    ]
    for stream in streams:
        assert (await stream.read()).cursor == "0"
    write_tokens(path, {**SIMA, "rpcs": [f"{SERVICE}/Lookup"]})
    async with asyncio.timeout(LONG):
        codes = [await end_of(stream) for stream in streams]
    assert codes == ["UNAUTHENTICATED", "PERMISSION_DENIED"]


async def test_a_stream_whose_credential_was_replaced_may_be_opened_again(
    serve_told: ServeTold, tmp_path: Path
) -> None:
    """To the reader it is a service that was away for a moment, while another token than ours is a mistake."""
    path, mine = write_tokens(tmp_path / "tokens.json", ACME, SIMA), tmp_path / "token"
    mine.write_text("acme-token")
    settings, client = ServiceSettings(token_file=path, drain_seconds=0.1), ClientSettings(client_token_file=mine)
    server = await serve_told(Told(watch=counting), settings, client)

    async def read() -> None:
        method = server.stub.WatchProfileChanges
        async with asyncio.timeout(LONG):
            async for _ in server.client.stream(method, WatchProfileChangesRequest(), workspace="acme"):
                if mine.read_text() == "acme-token":
                    mine.write_text("sima-token")
                    await asyncio.sleep(UNNOTICED)
                    write_tokens(path, SIMA)

    with pytest.raises(DependencyUnavailableError):
        await read()
    mine.write_text("nobody's token")
    await asyncio.sleep(UNNOTICED)
    with pytest.raises(RemoteError):
        await read()


@pytest.mark.parametrize("content", ["", "{}", '[{"name": "x"}]', "[{]", None])
def test_broken_token_file_keeps_the_tokens(tmp_path: Path, content: str | None) -> None:
    """A file that becomes unreadable or malformed while running locks nobody out."""
    path = write_tokens(tmp_path / "tokens.json", ACME)
    tokens = Tokens(path, check_seconds=0)
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert tokens.credential("acme-token").name == "acme"


@pytest.mark.parametrize(
    "entry",
    [
        {"workspace": "NOT A NAME"},
        {"workspace": ""},
        {"rpcs": "all"},
        {"unknown": 1},
    ],
)
def test_malformed_token_file_stops_the_start(tmp_path: Path, entry: dict[str, Any]) -> None:
    """A token file that is not understood in every detail is a start-up error that repeats no hash."""
    path = write_tokens(tmp_path / "tokens.json", {**ACME, **entry})
    with pytest.raises(FixConfigurationError) as caught:
        Tokens(path)
    assert f"token_file is malformed: [0].{next(iter(entry))}: " in str(caught.value)
    assert digest("acme-token") not in str(caught.value)


@pytest.mark.parametrize("content", ["", "root:x:0:0:root:/root:/bin/bash", '{"root": "x:0:0"}', '"x:0:0"'])
def test_what_is_no_token_file_is_told_what_is_expected(tmp_path: Path, content: str) -> None:
    """In plain words, and without a word of a file that may be about something else."""
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(FixConfigurationError) as caught:
        Tokens(path)
    expected = "token_file is malformed: expected a JSON list of entries with name, sha256, workspace and rpcs"
    assert str(caught.value) == expected


def test_two_entries_of_one_token_stop_the_start(tmp_path: Path) -> None:
    """Which of them would hold, nobody could tell; the error says where they stand, without the hash."""
    path = write_tokens(tmp_path / "tokens.json", ACME, READER, {**SIMA, "token": ACME["token"]})
    with pytest.raises(FixConfigurationError, match=r"entries \[0\] and \[2\]") as caught:
        Tokens(path)
    assert digest("acme-token") not in str(caught.value)


def test_missing_token_file_stops_the_start(tmp_path: Path) -> None:
    """A configured token file that is not there is a start-up error, never an open server."""
    with pytest.raises(FixConfigurationError):
        Tokens(tmp_path / "none.json")
