"""The owners of facts follow identity."""

from collections.abc import AsyncGenerator

import pytest
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import Event, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_profile.following import OwnerFollower
from sima_profile.identity import Changes, Identity
from sima_profile.owners import NonOwners, Standing
from sima_profile.store import owning
from sima_runtime.cursors import START, token
from sima_runtime.database import execute

from .conftest import Stack, at, by, email

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLET = Identifier(kind="device_id", value="tablet")
PLAIN, SHARED = Standing(shared=False, blocked=False), Standing(shared=True, blocked=False)
BLOCKED = Standing(shared=False, blocked=True)


def clicked(number: int, *identifiers: Identifier) -> Fact:
    """An event with a trait."""
    fact = Fact(
        source="web",
        message_id=f"c{number}",
        identifiers=identifiers,
        occurred_at=at(number),
        event=Event(name="clicked"),
    )
    fact.traits.add(trait="last").value.number = number
    return fact


async def owned(stack: Stack, identifier: Identifier) -> int:
    """How many events the profile of an identifier has."""
    return (await stack.profile(by(identifier))).event_count


async def consistent(stack: Stack) -> bool:
    """Whether every row has the owner that the rule gives it, as of the standings that are stored."""
    non_owners = NonOwners()
    async with stack.database.statement() as connection:
        non_owners.update(await owning.news(connection, stack.workspace, 0), 1)
    rows = [
        row
        for table in ("facts", "observations")
        for row in await stack.rows(f"SELECT keys, owner, contested FROM {table} WHERE workspace = %s", stack.workspace)
    ]
    return bool(rows) and all(non_owners.owner(keys) == (owner, contested) for keys, owner, contested in rows)


async def test_what_a_tablet_saw_leaves_the_person_when_the_tablet_becomes_shared(stack: Stack) -> None:
    """First it is one person's; once too many people use it, its own facts stay with it, and theirs with them."""
    await stack.ingest(clicked(1, TABLET), clicked(2, TABLET, email("ada")))
    assert await owned(stack, email("ada")) == 2
    await stack.ingest(*[clicked(10 + i, TABLET, email(f"p{i}")) for i in range(25)])
    await stack.settled()
    assert await owned(stack, email("ada")) == 1
    assert await owned(stack, TABLET) == 1
    assert await owned(stack, email("p7")) == 1
    assert await consistent(stack)


async def test_a_person_is_read_right_as_soon_as_a_batch_is_answered(stack: Stack) -> None:
    """Junk that came for the first time owns nothing, also before anything else happened."""
    junk = Identifier(kind="email", value="test@test.com")
    cookie = Identifier(kind="anonymous_id", value="cookie")
    await stack.ingest(clicked(1, junk, cookie))
    profile = await stack.profile(by(cookie))
    assert [identifier.value for identifier in profile.identifiers] == ["cookie"]
    assert (profile.event_count, len(profile.traits)) == (1, 1)


async def test_a_fact_that_only_junk_names_is_kept_for_nobody(stack: Stack) -> None:
    """It is accepted, belongs to no profile, and is in the feed."""
    [result] = await stack.ingest(clicked(1, Identifier(kind="email", value="test@test.com")))
    assert (result.outcome, result.profile_id) == (pb.INGEST_OUTCOME_ACCEPTED, "")
    assert await stack.rows("SELECT owner FROM facts WHERE workspace = %s", stack.workspace) == [(None,)]


@pytest.mark.parametrize(
    "steps",
    [
        [{0: SHARED}],
        [{0: SHARED}, {0: PLAIN}],
        [{0: SHARED}, {1: SHARED}, {0: PLAIN}],
        [{0: SHARED, 1: SHARED}, {1: PLAIN}],
        [{0: SHARED, 1: SHARED, 2: SHARED}, {2: PLAIN}, {1: BLOCKED}],
        [{0: BLOCKED, 1: BLOCKED, 2: BLOCKED}, {2: SHARED}, {0: SHARED}, {0: PLAIN}],
    ],
)
async def test_owners_follow_every_change_of_standing_there_and_back(
    stack: Stack, steps: list[dict[int, Standing]]
) -> None:
    """Whatever becomes shared or blocked, and ceases to be, each row ends with the owner of the rule."""
    names = [Identifier(kind=kind, value="x") for kind in ("user_id", "device_id", "anonymous_id")]
    subsets = [names[:1], names[1:2], names[2:], names[:2], names[1:], names[::2], names]
    await stack.ingest(*[clicked(i, *subset) for i, subset in enumerate(subsets)])
    [(keys,)] = await stack.rows(
        "SELECT keys FROM facts WHERE workspace = %s AND cardinality(keys) = 3", stack.workspace
    )
    for version, step in enumerate(steps, 1000):
        async with stack.database.transaction() as connection:
            standings = {bytes(keys[place]): standing for place, standing in step.items()}
            await owning.rewrite_owners(connection, stack.workspace, standings, version)
        assert await consistent(stack)


async def test_another_workspace_keeps_its_owners(stack: Stack, workspace: str) -> None:
    """A tablet that is shared here is nobody's business there."""
    other = stack.of(f"{workspace}-other")
    for one in (stack, other):
        await one.ingest(clicked(1, TABLET), clicked(2, TABLET, email("ada")))
    await stack.ingest(*[clicked(10 + i, TABLET, email(f"p{i}")) for i in range(25)])
    await stack.settled()
    await other.settled()
    assert (await owned(stack, email("ada")), await owned(other, email("ada"))) == (1, 2)


async def test_following_goes_on_from_the_start_when_the_place_is_lost(stack: Stack) -> None:
    """A place of before a restore costs a second reading, and nothing else."""
    await stack.ingest(*[clicked(i, TABLET, email(f"p{i}")) for i in range(25)], clicked(99, TABLET))
    await stack.settled()
    async with stack.database.transaction() as connection:
        place = await owning.place(connection, stack.workspace)
        lost = place._replace(identity_cursor=token(START, epoch=99))
        await owning.move(connection, stack.workspace, lost)
    await stack.ingest(*[clicked(200 + i, Identifier(kind="device_id", value="t2"), email(f"q{i}")) for i in range(25)])
    await stack.settled()
    assert await consistent(stack)
    assert await owned(stack, TABLET) == 1
    shared = "SELECT count(*) FROM non_owners WHERE workspace = %s AND shared"
    assert await stack.rows(shared, stack.workspace) == [(2,)]


async def test_a_workspace_that_a_restore_forgot_is_taken_up_again(stack: Stack) -> None:
    """A process that knew it before goes on as if it were new."""
    await stack.ingest(clicked(1, TABLET))
    async with stack.database.statement() as connection:
        await execute(connection, "DELETE FROM workspaces WHERE workspace = %s", (stack.workspace,))
    [result] = await stack.ingest(clicked(2, TABLET))
    assert result.outcome == pb.INGEST_OUTCOME_ACCEPTED
    await stack.settled()


async def test_standings_that_a_restore_forgot_are_followed_again(stack: Stack) -> None:
    """What a process knew before counts no more, though the versions of standings are given out a second time."""
    await stack.ingest(*[clicked(i, TABLET, email(f"p{i}")) for i in range(25)], clicked(99, TABLET))
    await stack.settled()
    async with stack.database.transaction() as connection:
        forget = "UPDATE workspaces SET identity_cursor = '', owners_version = 0 WHERE workspace = %s"
        for statement in (forget, "DELETE FROM non_owners WHERE workspace = %s"):
            await execute(connection, statement, (stack.workspace,))
        await execute(connection, "UPDATE feed_epoch SET epoch = epoch + 1")
    await stack.ingest(*[clicked(200 + i, Identifier(kind="device_id", value="t2"), email(f"q{i}")) for i in range(25)])
    await stack.settled()
    shared = "SELECT count(*) FROM non_owners WHERE workspace = %s AND shared"
    assert await stack.rows(shared, stack.workspace) == [(2,)]
    assert await consistent(stack)


class WorkedOff(Identity):
    """Identity for a follower whom another replica is always ahead of."""

    closed = False

    async def changes(self, *_: object, **__: object) -> AsyncGenerator[Changes, None]:
        """Pages that are not news any more."""
        try:
            while True:
                yield Changes({}, "")
        finally:
            self.closed = True


async def test_who_has_to_begin_anew_leaves_no_stream_open(stack: Stack) -> None:
    """What was being read of identity ends before it is read again."""
    workspace, identity = f"{stack.workspace}-elsewhere", WorkedOff(stack.identity)

    async def place_of_another(*_: object, **__: object) -> bool:
        return False

    follower = OwnerFollower(stack.database, identity, 1)
    follower._take = place_of_another  # type: ignore[method-assign]
    assert not await follower._follow(workspace, until_now=True)
    assert identity.closed
