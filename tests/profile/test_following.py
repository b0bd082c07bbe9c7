"""The owners of facts follow identity."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima.profile.v1 import profile_service_pb2 as pb
from sima.type.v1.fact_pb2 import Event, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_profile import following
from sima_profile.following import OwnerFollower
from sima_profile.identity import Changes, Identity
from sima_profile.owners import NonOwners, Standing
from sima_profile.rewriting import OwnerRewriter
from sima_profile.settings import FollowerSettings
from sima_profile.store import owning, rewriting
from sima_runtime.cursors import START, token
from sima_runtime.database import execute
from sima_runtime.errors import OverloadedError
from sima_runtime.supervision import supervise

from .conftest import Stack, at, by, email

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLET = Identifier(kind="device_id", value="tablet")
PLAIN, SHARED = Standing(shared=False, blocked=False), Standing(shared=True, blocked=False)
BLOCKED = Standing(shared=False, blocked=True)
NAMES = [Identifier(kind=kind, value="x") for kind in ("user_id", "device_id", "anonymous_id")]
# Steps of a history: standings by place in `NAMES`; a batch of facts, each with some of them; a portion of rewriting.
STANDINGS = st.dictionaries(st.integers(0, 2), st.sampled_from([PLAIN, SHARED, BLOCKED]), min_size=1)
BATCHES = st.lists(st.sets(st.integers(0, 2), min_size=1).map(sorted), min_size=1, max_size=6)
PORTION = st.none()


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
    facts = await stack.rows("SELECT keys, owner, contested FROM facts WHERE workspace = %s", stack.workspace)
    parts = await stack.rows("SELECT keys, owner FROM observations WHERE workspace = %s", stack.workspace)
    return (
        bool(facts and parts)
        and all(non_owners.owner(keys) == (owner, contested) for keys, owner, contested in facts)
        and all(non_owners.owner(keys).owner == owner for keys, owner in parts)
    )


async def stand(stack: Stack, standings: dict[bytes, Standing], version: int) -> None:
    """Give identifiers other standings, as the follower does when identity says so."""
    async with stack.database.transaction() as connection:
        place = await owning.place(connection, stack.workspace, lock=True)
        await owning.stand(connection, stack.workspace, standings, version)
        await owning.move(connection, stack.workspace, place._replace(version=version))


async def keys_of_all(stack: Stack) -> list[bytes]:
    """The keys of `NAMES`."""
    query = "SELECT keys FROM facts WHERE workspace = %s AND cardinality(keys) = 3 LIMIT 1"
    [(keys,)] = await stack.rows(query, stack.workspace)
    return list(map(bytes, keys))


async def rewritten(stack: Stack) -> None:
    """Rewrite, beside the service itself, until nothing is left."""
    rewriter = OwnerRewriter(stack.database, FollowerSettings(owner_portion=2))
    left = "SELECT FROM non_owners WHERE workspace = %s AND rewritten_to IS NOT NULL"
    while await stack.rows(left, stack.workspace):
        await rewriter.round()


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
    subsets = [NAMES[:1], NAMES[1:2], NAMES[2:], NAMES[:2], NAMES[1:], NAMES[::2], NAMES]
    await stack.ingest(*[clicked(i, *subset) for i, subset in enumerate(subsets)])
    keys = await keys_of_all(stack)
    for version, step in enumerate(steps, 1000):
        await stand(stack, {keys[place]: standing for place, standing in step.items()}, version)
        await rewritten(stack)
        assert await consistent(stack)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(STANDINGS, BATCHES, PORTION), min_size=2, max_size=8))
async def test_whenever_standings_change_each_fact_ends_with_its_owner(stack: Stack, steps: list[Any]) -> None:
    """Facts arrive and standings change while owners are being rewritten; in the end each row has that of the rule."""
    stack = stack.of(f"{stack.workspace}-{uuid.uuid4().hex[:8]}")
    await stack.ingest(clicked(0, *NAMES), *[clicked(1 + number, NAMES[number % 3]) for number in range(6)])
    await stack.settled()
    keys = await keys_of_all(stack)
    rewriter = OwnerRewriter(stack.database, FollowerSettings(owner_portion=2))
    for version, step in enumerate(steps, 1000):
        if step is None:
            await rewriter.round()
        elif isinstance(step, dict):
            await stand(stack, {keys[place]: standing for place, standing in step.items()}, version)
        else:
            chosen = ([NAMES[place] for place in places] for places in step)
            await stack.ingest(*[clicked(100 * version + number, *names) for number, names in enumerate(chosen)])
    await rewritten(stack)
    assert await consistent(stack)


async def test_erasing_what_is_nobodys_takes_nothing_from_others(stack: Stack) -> None:
    """Neither an office's address nor a tablet of many owned what others did there, and erased they do not either."""
    office, own = Identifier(kind="email", value="info@example.com"), Identifier(kind="anonymous_id", value="c")
    await stack.ingest(*[clicked(10 + i, TABLET, email(f"p{i}")) for i in range(25)])
    await stack.ingest(clicked(1, office, own), clicked(2, TABLET, own))
    await stack.settled()
    before = await stack.profile(by(own))
    assert before.event_count == 2
    await stack.erase(office, TABLET)
    await stack.settled()
    assert await stack.profile(by(own)) == before
    assert await consistent(stack)


async def test_nobody_waits_while_owners_are_rewritten(stack: Stack) -> None:
    """In the midst of a portion standings change, facts are accepted, and another replica leaves it to who is at it."""
    await stack.ingest(*[clicked(number, *NAMES) for number in range(5)])
    await stack.settled()
    keys = await keys_of_all(stack)
    async with stack.database.transaction() as connection, stack.database.transaction() as other:
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        await execute(connection, lock, (rewriting.rewriters_lock(stack.workspace),))
        await stand(stack, {keys[0]: SHARED}, 1000)
        unfinished = await rewriting.begin(connection, stack.workspace)
        assert unfinished is not None
        await rewriting.rewrite(connection, stack.workspace, unfinished, 2)
        assert await rewriting.begin(other, stack.workspace) is None
        await stand(stack, {keys[1]: BLOCKED}, 1001)
        [result] = await stack.ingest(clicked(9, *NAMES))
        assert result.outcome == pb.INGEST_OUTCOME_ACCEPTED
    await rewritten(stack)
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


@pytest.mark.parametrize("wrong", ["of another epoch", "no token"])
async def test_following_goes_on_from_the_start_when_the_place_is_lost(stack: Stack, wrong: str) -> None:
    """A place of before a restore costs a second reading; what identity does not know any more is forgotten here."""
    await stack.ingest(*[clicked(i, TABLET, email(f"p{i}")) for i in range(25)], clicked(99, TABLET))
    await stack.settled()
    async with stack.database.transaction() as connection:
        place = await owning.place(connection, stack.workspace)
        cursor = token(START, 99, "identity_standings", stack.workspace) if wrong == "of another epoch" else wrong
        lost = place._replace(identity_cursor=cursor, version=place.version + 1)
        await owning.stand(connection, stack.workspace, {uuid.uuid4().bytes: SHARED}, lost.version)
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

    follower = OwnerFollower(stack.database, identity, OwnerRewriter(stack.database, FollowerSettings()), 1)
    follower._take = place_of_another  # type: ignore[method-assign]
    assert not await follower._follow(workspace, until_now=True)
    assert identity.closed


class Unsteady(OwnerFollower):
    """Fails once to look for workspaces."""

    def __init__(self, stack: Stack, identity: Identity) -> None:
        super().__init__(stack.database, identity, OwnerRewriter(stack.database, FollowerSettings()), 0.01)
        self.looked = 0
        self.begun: list[str] = []

    async def _workspaces(self) -> set[str]:
        self.looked += 1
        if self.looked == 2:
            raise OverloadedError("connections")
        return {"followed"}

    async def _keep_following(self, workspace: str) -> None:
        self.begun.append(workspace)
        await asyncio.Event().wait()


async def test_who_was_followed_is_followed_after_a_crash(stack: Stack) -> None:
    """A database that does not answer for a moment ends no following for good."""
    follower = Unsteady(stack, Identity(stack.identity))
    task = asyncio.create_task(supervise(follower.run))
    async with asyncio.timeout(30):
        while follower.looked < 5:  # noqa: ASYNC110  # it is done beside
            await asyncio.sleep(0.01)
    task.cancel()
    assert follower.begun == ["followed", "followed"]


class HeldBack(Identity):
    """Identity whose feed something holds back."""

    opened = 0

    async def changes(self, *_: object, **__: object) -> AsyncGenerator[Changes, None]:
        """Never a page."""
        self.opened += 1
        await asyncio.Event().wait()
        yield Changes({}, "")


async def test_a_feed_that_is_held_back_is_waited_for_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches that come meanwhile share one stream; who comes later does not wait for it again."""
    monkeypatch.setattr(following, "CATCH_UP_SECONDS", 0.1)
    monkeypatch.setattr(following, "_MOST_CATCH_UP_SECONDS", 3.0)
    identity = HeldBack(stack.identity)
    follower = OwnerFollower(stack.database, identity, OwnerRewriter(stack.database, FollowerSettings()), 1)
    await asyncio.gather(*[follower._catch_up(stack.workspace) for _ in range(5)])
    async with asyncio.timeout(1):
        await follower._catch_up(stack.workspace)
    assert identity.opened == 1
    [(_, task)] = follower._catching_up.values()
    await asyncio.wait({task})
    assert not follower._catching_up


async def test_a_reading_that_was_cancelled_does_not_stand_in_the_way(stack: Stack) -> None:
    """Also one that had not begun: the next batch that disagrees reads identity's feed anew."""
    follower = OwnerFollower(
        stack.database, HeldBack(stack.identity), OwnerRewriter(stack.database, FollowerSettings()), 1
    )
    waiting = asyncio.create_task(follower._catch_up(stack.workspace))
    await asyncio.sleep(0)
    [(_, task)] = follower._catching_up.values()
    task.cancel()
    await waiting
    assert not follower._catching_up
