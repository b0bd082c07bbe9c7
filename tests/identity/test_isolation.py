"""One workspace cannot read another's identifiers, through any RPC."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import InvalidFieldsError, RemoteError
from sima_runtime.settings import ClientSettings
from sima_sdk.identifiers import identifier_key

from .conftest import Named, Replica, Secret, StartServer, cookie, mail, together

ADA = mail("ada")
PASSPORT = Named("passport", "X1234567")


class Callers(NamedTuple):
    """Two callers of one server, each with the credential of one workspace."""

    own: Replica
    own_workspace: str
    other: Replica
    other_workspace: str


@pytest.fixture
async def callers(start_server: StartServer, tmp_path: Path, workspace: str) -> AsyncIterator[Callers]:
    """Two workspaces; the first knows a person whom the second must not see."""
    names = (f"{workspace}-a", f"{workspace}-b")
    tokens = [
        {"name": name, "workspace": name, "rpcs": ["*"], "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name in names
    ]
    token_file = tmp_path / "tokens.json"
    token_file.write_text(json.dumps(tokens))
    address = await start_server(token_file=token_file)
    async with AsyncExitStack() as stack:
        replicas = []
        for name in names:
            (tmp_path / name).write_text(name)
            client = ServiceClient("identity", address, ClientSettings(client_token_file=tmp_path / name))
            stack.push_async_callback(client.close)
            replicas.append(Replica(client))
        yield Callers(replicas[0], names[0], replicas[1], names[1])


async def test_the_same_address_is_another_person_elsewhere(callers: Callers) -> None:
    """What one workspace resolves says nothing about the other: neither keys nor profile ids are the same."""
    [own] = await callers.own.resolve(callers.own_workspace, [together(ADA, cookie("c"))])
    [other] = await callers.other.resolve(callers.other_workspace, [together(ADA)])
    assert own.profile_id != other.profile_id
    assert not set(own.keys) & set(other.keys)


async def test_look_ups_and_lists_end_at_the_workspace(callers: Callers) -> None:
    """Neither identifiers nor profile ids of another workspace lead anywhere."""
    [own] = await callers.own.resolve(callers.own_workspace, [together(ADA, cookie("c"))])
    found = await callers.other.lookup(callers.other_workspace, [ADA, cookie("c"), own.profile_id])
    assert found == [pb.LookupResult()] * 3
    for subject in (ADA, own.profile_id):
        assert list((await callers.other.list_changes(callers.other_workspace, subject)).changes) == []


async def test_pages_and_cursors_of_another_workspace_show_nothing_of_it(callers: Callers) -> None:
    """They only say where to go on: in the caller's own workspace."""
    [own] = await callers.own.resolve(callers.own_workspace, [together(ADA, cookie("c"))])
    page = await callers.own.list_changes(callers.own_workspace, own.profile_id, page_size=1)
    stolen = await callers.other.list_changes(callers.other_workspace, own.profile_id, page_token=page.next_page_token)
    assert list(stolen.changes) == []
    assert await callers.other.changes(callers.other_workspace) == []


async def test_a_protected_key_of_another_workspace_names_somebody_new(callers: Callers) -> None:
    """Who learned a key can use it as a name in their own workspace, and finds nobody under it."""
    [own] = await callers.own.resolve(callers.own_workspace, [together(PASSPORT, ADA)])
    request = pb.ResolveRequest(sets=[pb.IdentifierSet(source="shop")])
    request.sets[0].identifiers.add(kind="passport", key=own.keys[0])
    request.sets[0].observed_at.seconds = 1
    response = await callers.other.client.call(callers.other.stub.Resolve, request)
    [answer] = response.results
    [found] = await callers.other.lookup(callers.other_workspace, [answer.profile_id])
    assert answer.profile_id != own.profile_id
    assert [item.identifier.kind for item in found.identifiers] == ["passport"]


async def test_a_key_of_another_workspace_does_not_belong_to_the_value(callers: Callers, secret: Secret) -> None:
    """The secret of one workspace makes no keys for another."""
    request = pb.ResolveRequest(sets=[pb.IdentifierSet(source="shop")])
    key = identifier_key(secret(callers.own_workspace), *ADA)
    request.sets[0].identifiers.add(kind=ADA.kind, value=ADA.value, key=key)
    request.sets[0].observed_at.seconds = 1
    with pytest.raises(InvalidFieldsError, match="key"):
        await callers.other.client.call(callers.other.stub.Resolve, request)


async def test_nobody_can_name_a_workspace_that_is_not_theirs(callers: Callers) -> None:
    """The workspace comes from the credential; to ask for another is refused by every RPC."""
    with pytest.raises(RemoteError, match="PERMISSION_DENIED"):
        await callers.other.resolve(callers.own_workspace, [together(ADA)])
    with pytest.raises(RemoteError, match="PERMISSION_DENIED"):
        await callers.other.lookup(callers.own_workspace, [ADA])
    with pytest.raises(RemoteError, match="PERMISSION_DENIED"):
        await callers.other.list_changes(callers.own_workspace, ADA)
    with pytest.raises(RemoteError, match="PERMISSION_DENIED"):
        await callers.other.changes(callers.own_workspace)
