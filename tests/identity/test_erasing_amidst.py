"""An erasure amidst other calls: who began before it, or comes at the same time, changes nothing about it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity import grouping, resolving
from sima_identity.store import erasures, graph, policies
from sima_identity.store.turns import Turn
from sima_runtime.database import fetch

from .conftest import (
    Named,
    OpenDatabase,
    Replica,
    Sighted,
    StartReplica,
    cookie,
    identifier,
    mail,
    policy,
    together,
    user,
)
from .laws import until_settled
from .test_erasing import now

PHONE, FAMILY = Named("phone", "+966551000001"), mail("family.brandt")
Recording = Callable[[Replica, str, Sighted], Awaitable[Callable[[], Awaitable[Any]]]]


@pytest.fixture
async def idle(start_replica: StartReplica) -> Replica:
    """A replica that does nothing beside its calls."""
    return await start_replica(settle_seconds=3_600)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Begin to record a message; all is read, and nothing written until the function that is given is called."""

    async def begin(replica: Replica, workspace: str, sighted: Sighted) -> Callable[[], Awaitable[Any]]:
        reached, goes_on, write = asyncio.Event(), asyncio.Event(), grouping.write

        async def waits(*given: Any) -> None:
            reached.set()
            await goes_on.wait()
            await write(*given)

        monkeypatch.setattr(resolving, "write", waits)
        call = asyncio.create_task(replica.resolve(workspace, [sighted]))
        await reached.wait()
        monkeypatch.undo()

        async def end() -> Any:
            goes_on.set()
            return await call

        return end

    return begin


async def test_calls_go_on_where_an_edge_leads_to_nobody(idle: Replica, recording: Recording, workspace: str) -> None:
    """Somebody recorded what he had seen with a hub that was erased meanwhile; nobody has cleaned up yet."""
    await idle.resolve(workspace, [together(mail(f"p{number}"), PHONE) for number in range(25)])
    end = await recording(idle, workspace, together(mail("new"), PHONE))
    await idle.erase(workspace, [PHONE])
    await end()
    await idle.resolve(workspace, [together(mail("new"), cookie("hers"))])
    assert (await idle.explain(workspace, mail("new"), cookie("hers"))).linked
    await idle.split(workspace, [cookie("hers")], [mail("new")])
    assert len((await idle.graph(workspace, mail("new"))).identifiers) == 1
    effect = (await idle.preview_policy(workspace, pb.IdentityPolicy()))[-1].effect
    assert (effect.merges, effect.splits) == (0, 0)


async def test_who_was_taken_for_a_hub_because_of_the_erased_is_none(
    start_replica: StartReplica, recording: Recording, open_database: OpenDatabase, workspace: str
) -> None:
    """The third to give a telephone was a hub itself, and erased just then: two people are left, who are one."""
    tight = policy(phone={"shared_above": 2}, email={"shared_above": 2})
    identity = await start_replica(tight, settle_seconds=0.02)
    people = [user("ada"), user("eve")]
    await identity.resolve(workspace, [together(FAMILY, user(f"child-{number}")) for number in range(3)])
    await identity.resolve(workspace, [together(one, PHONE) for one in people])
    end = await recording(identity, workspace, together(FAMILY, PHONE))
    await identity.erase(workspace, [FAMILY])
    await end()
    await until_settled(open_database("identity"), workspace)
    states = await identity.states(workspace, [PHONE, *people])
    assert len(set(states.values())) == 1


async def test_what_is_taken_behind_an_erasure_is_taken_again(
    idle: Replica,
    start_replica: StartReplica,
    open_database: OpenDatabase,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if somebody who did not know of the erasure had recorded what was before it."""
    erased: list[pb.EraseIdentifiersResponse] = []
    tombstones = erasures.tombstones

    async def erase_meanwhile(connection: Any, in_workspace: str, keys: Any) -> Any:
        known = await tombstones(connection, in_workspace, keys)
        if not erased:  # this one has begun, and does not see the tombstone that comes now
            erased.append(await idle.erase(workspace, [mail("ada")]))
        return known

    await idle.resolve(workspace, [together(mail("ada"), mail("max"))])
    monkeypatch.setattr(erasures, "tombstones", erase_meanwhile)
    await idle.resolve(workspace, [together(mail("ada"), mail("eve"))])  # of long ago
    monkeypatch.undo()
    later = pb.ResolveRequest(sets=[now(mail("ada"), Named("loyalty_card", "4711"))])
    for _ in range(2):
        [answer] = (await idle.client.call(idle.stub.Resolve, later, workspace=workspace)).results
        assert not answer.erased
        await start_replica(settle_seconds=0.01)
        await until_settled(open_database("identity"), workspace)


async def test_what_several_calls_erase_at_once_is_forgotten_of_all(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str
) -> None:
    """A policy blocks sixteen values; each is erased by a call of its own, and none comes back by another."""
    replicas = [await start_replica(), await start_replica()]
    people = [mail(f"p{number}") for number in range(16)]
    await replicas[0].resolve(workspace, [together(one) for one in people])
    await replicas[0].set_policy(workspace, pb.IdentityPolicy(blocked_values=map(identifier, people)))
    await asyncio.gather(*(replicas[number % 2].erase(workspace, [one]) for number, one in enumerate(people)))
    async with open_database("identity").statement() as connection:
        [(rules,)] = await fetch(connection, "SELECT rules FROM policies WHERE workspace = %s", (workspace,))
    assert [one.value for one in people if one.value in rules] == []


async def test_who_began_before_an_erasure_is_waited_for_also_amidst_a_round(
    idle: Replica, open_database: OpenDatabase, workspace: str
) -> None:
    """The round of the background that goes on meanwhile has a number that is too old to be the barrier."""
    database = open_database("identity")
    await idle.resolve(workspace, [together(mail(f"p{number}"), PHONE) for number in range(23)])
    await idle.erase(workspace, [mail("p0")])
    async with database.transaction() as applier:
        chosen = await policies.next_to_apply(applier, Turn(workspace[:-1]))
        assert chosen is not None
        assert chosen[0] == workspace
        await graph.begin(applier)
        async with database.transaction() as old:
            await graph.begin(old)  # it may still write to the hub without a lock
            await idle.erase(workspace, [mail("p1")])
            await policies.move(applier, *chosen, None)
            await applier.commit()
            async with database.statement() as connection:
                assert not (await policies.place(connection, workspace, chosen[1])).alone
