"""To know again what is a hub, no more of its neighbours are read than show it."""

from typing import Any

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity import closing
from sima_identity.store import neighbours
from sima_runtime.database import execute

from .conftest import Named, OpenDatabase, StartReplica, device, mail, together
from .laws import until_settled

PHONE = Named("phone", "+966551000001")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many neighbours each query answered."""
    counts, asked = [], neighbours.read

    async def counted(*given: Any, **more: Any) -> Any:
        answer = await asked(*given, **more)
        counts.append(len(answer[0]))
        return answer

    monkeypatch.setattr(neighbours, "read", counted)
    return counts


async def until_alone(open_database: OpenDatabase, workspace: str) -> None:
    """Have the policy in force be known to all, as the first round of the applier notes once all others have ended."""
    async with open_database("identity").statement() as connection:
        await execute(connection, "UPDATE policies SET barrier = '3' WHERE workspace = %s", (workspace,))


async def test_a_hub_that_lost_a_neighbour_is_known_by_a_few_of_the_others(
    start_replica: StartReplica, open_database: OpenDatabase, workspace: str, read: list[int]
) -> None:
    """A call about another neighbour, before the hub was looked at beside the calls, does not read them all."""
    idle = await start_replica(settle_seconds=3_600, count_seconds=3_600)
    await idle.resolve(workspace, [together(mail(f"p{number}"), PHONE) for number in range(600)])
    await idle.erase(workspace, [mail("p1")])
    await until_alone(open_database, workspace)
    read.clear()
    await idle.resolve(workspace, [together(mail("p2"), mail("new"))])
    assert read
    assert sum(read) < 300
    assert (await idle.states(workspace, [PHONE]))[PHONE].shared


async def test_of_many_hubs_few_neighbours_are_in_memory_at_once(
    start_replica: StartReplica,
    open_database: OpenDatabase,
    workspace: str,
    read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is judged anew, under a policy by which it is none, for half of its neighbours are junk, and behind that."""
    monkeypatch.setattr(closing, "_AT_FIRST", 10)
    monkeypatch.setattr(closing, "_AT_ONCE", 40)
    quick = await start_replica(settle_seconds=0.01)
    kiosks, people = [device(f"kiosk{number}") for number in range(12)], [mail(f"p{number}") for number in range(60)]
    await quick.resolve(workspace, [together(kiosk, one) for kiosk in kiosks for one in people])
    rules = pb.IdentityPolicy(
        kinds=[pb.KindRules(kind="device_id", shared_above=35)],
        blocked_patterns=[pb.BlockedPattern(kind="email", pattern="p[1-5]?[02468]@.*")],
    )
    for policy, hubs in ((rules, 0), (pb.IdentityPolicy(), 12)):
        await quick.set_policy(workspace, policy)
        await until_settled(open_database("identity"), workspace)
        answer = await quick.shared(workspace, pb.SHARED_REASON_HUB)
        assert len(answer) == hubs
    assert read
    assert max(read) <= 40
