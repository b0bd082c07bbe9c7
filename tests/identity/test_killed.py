"""A process that is killed amidst decisions, policies and erasures leaves whole transactions; no call is done twice.

A real process does all that is done beside calls, and shares the calls with a replica that lives. It is killed with
SIGKILL while it answers them, and again while it applies policies and looks at tombstones; what was not answered is
asked again, with the same `request_id`. In the end all is as if nothing had been killed.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.evidence import Verdict
from sima_identity.models import Base
from sima_identity.policy import Policy
from sima_runtime.database import Database, fetch
from sima_runtime.errors import ContradictionError, InvalidFieldsError, NotFoundError, RetryLaterError

from .conftest import Deploy, Deployed, Named, OpenDatabase, Replica, Secret, Sighted, StartReplica
from .laws import DECISIONS, ERASED, SIGHTINGS, UNIVERSE, Decided, Said, Truth, assert_settled, batches
from .policies import in_force, policies
from .test_hubs import until_counted

T = TypeVar("T")

#: Neighbourhoods of more than a few are left to the background.
LIMITS: dict[str, Any] = {"most_identifiers": 7, "neighbourhood_limit": 4}
BASE = Policy(most_identifiers=7)
#: What is done beside calls is done by the process: the replica that lives looks once.
BUSY, IDLE = {"settle_seconds": 0.01, "count_seconds": 0.01}, {"settle_seconds": 3_600, "count_seconds": 3_600}
TIGHT = pb.IdentityPolicy(
    kinds=[
        pb.KindRules(kind="national_id", most_per_profile=1),
        pb.KindRules(kind="email", most_per_profile=2, shared_above=4),
        pb.KindRules(kind="phone", shared_above=3),
        pb.KindRules(kind="device_id", most_per_profile=2, shared_above=3),
    ]
)
ALONE = [Sighted([named], 9) for named in UNIVERSE]


class Story(NamedTuple):
    """All that is told in one workspace."""

    sightings: list[Sighted]
    decisions: list[Decided]
    rules: list[pb.IdentityPolicy]
    erased: list[Named]


#: Starting a process takes longer than a story, so several are told at once, each in a workspace of its own.
STORIES = st.lists(
    st.builds(Story, SIGHTINGS, DECISIONS, st.lists(policies(UNIVERSE), min_size=1, max_size=2), ERASED),
    min_size=4,
    max_size=4,
)
FEW = settings(
    max_examples=int(os.environ.get("SIMA_RACES", "4")),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)


@dataclass
class Killed:
    """A process that is killed and started again, beside a replica that lives."""

    deploy: Deploy
    living: Replica
    process: Deployed | None = None
    lost: int = 0

    async def begin(self) -> None:
        """Have it run."""
        if self.process is None:
            self.process = await self.deploy(**LIMITS, **BUSY)

    async def kill(self) -> None:
        """End it without a word of warning, and start it again."""
        assert self.process is not None
        assert await self.process.end(signal.SIGKILL) == -signal.SIGKILL
        self.process = await self.deploy(**LIMITS, **BUSY)

    async def answered(self, random: Random, call: Callable[[Replica], Awaitable[T]]) -> T:
        """Call the one or the other until there is an answer."""
        while True:
            assert self.process is not None
            replica = random.choice((self.process.replica, self.process.replica, self.living))
            try:
                return await call(replica)
            except RetryLaterError:
                self.lost += 1
                await asyncio.sleep(0.05)


@dataclass
class Telling:
    """Tells a story in a workspace, and remembers under which `request_id` something was made."""

    story: Story
    killed: Killed
    random: Random
    workspace: str = field(default_factory=lambda: f"w{uuid4().hex}")
    said: list[Said] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    ruled: set[str] = field(default_factory=set)
    erasures: set[str] = field(default_factory=set)

    async def begin(self) -> None:
        """Have everybody seen, under tight rules."""
        await self.rule(TIGHT)
        await self.see(ALONE)

    def calls(self) -> list[Callable[[], Awaitable[None]]]:
        """All that is told, in any order."""
        return [
            *(partial(self.see, batch) for batch in batches(self.story.sightings, self.random)),
            *(partial(self.decide, *each) for each in self.story.decisions),
            *(partial(self.rule, each) for each in self.story.rules),
            *(partial(self.erase, each) for each in self.story.erased),
        ]

    async def see(self, batch: Sequence[Sighted]) -> None:
        """Have a batch resolved."""
        await self._answered(lambda replica: replica.resolve(self.workspace, batch))

    async def rule(self, rules: pb.IdentityPolicy) -> None:
        """Set a policy."""
        own = uuid4().hex
        await self._answered(lambda replica: replica.set_policy(self.workspace, rules, request_id=own))
        self.ruled.add(own)

    async def erase(self, named: Named) -> None:
        """Have an identifier erased."""
        own = uuid4().hex
        await self._answered(lambda replica: replica.erase(self.workspace, [named], request_id=own))
        self.erasures.add(own)

    async def decide(self, verdict: Verdict, pair: list[Named], back: bool) -> None:
        """Decide something, unless there is a reason not to, and perhaps take it back at once."""
        one, other = pair
        own, split = uuid4().hex, self.random.random() < 0.5

        def call(replica: Replica) -> Awaitable[pb.Outcome]:
            if verdict is Verdict.ALWAYS:
                return replica.always(self.workspace, one, other, request_id=own)
            if split:
                return replica.split(self.workspace, [one], [other], request_id=own)
            return replica.never(self.workspace, one, other, request_id=own)

        try:
            decision = (await self._answered(call)).decision
        except (ContradictionError, InvalidFieldsError, NotFoundError):  # one is blocked, a hub or erased
            return
        self.made.add(own)
        if back:
            await self._answered(lambda replica: replica.withdraw(self.workspace, decision.id))
            self.withdrawn.add(own)
        else:
            self.said.append(Said(verdict, one, other, holds=True))

    async def _answered(self, call: Callable[[Replica], Awaitable[T]]) -> T:
        return await self.killed.answered(self.random, call)


@dataclass
class Fixture:
    """What is killed, the database below it, and the secrets."""

    killed: Killed
    database: Database
    secret: Secret

    async def tell(self, stories: Sequence[Story], random: Random) -> list[Telling]:
        """Tell stories, all at the same time, and kill the process amidst the calls, and amidst what they leave."""
        await self.killed.begin()
        tellings = [Telling(story, self.killed, random) for story in stories]
        await asyncio.gather(*(telling.begin() for telling in tellings))
        calls = [call for telling in tellings for call in telling.calls()]
        random.shuffle(calls)
        running = [asyncio.ensure_future(call()) for call in calls]
        await self._kill_amidst(running, random.randrange(len(calls)))
        await asyncio.gather(*running)
        await asyncio.sleep(random.random() / 20)
        await self.killed.kill()
        return tellings

    async def _kill_amidst(self, running: Sequence[asyncio.Future[None]], answered: int) -> None:
        """Kill the process when so many calls are through."""
        left = set(running)
        while len(running) - len(left) < answered:
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        await self.killed.kill()

    async def check(self, telling: Telling) -> None:
        """Once nothing is left to be done, compare all that is stored with the pure function, and with the answers."""
        workspace, erased = telling.workspace, telling.story.erased
        await until_counted(self.database, workspace)
        replica = self.killed.living
        stated = await replica.policy(workspace)
        rules, blocks = in_force(stated.policy, BASE, self.secret(workspace))
        sightings = [*telling.story.sightings, *ALONE]
        said = [each[:3] for each in telling.said if not {each.one, each.other}.intersection(erased)]
        truth = Truth(sightings, self.secret(workspace), rules, said, blocks=blocks, erased=erased)
        await assert_settled(replica, self.database, workspace, sightings, truth)
        await self._check_once(telling)
        assert not await remains(self.database, workspace, {truth.key(named) for named in erased}, erased)

    async def _check_once(self, telling: Telling) -> None:
        """Each call was done once if it said so, and not at all if it did not."""
        done = partial(self._requests, telling.workspace)
        assert await done("decisions") == sorted(telling.made)
        assert await done("decisions", "withdrawn_at IS NOT NULL") == sorted(telling.withdrawn)
        assert await done("policies", "request_id <> ''") == sorted(telling.ruled)
        assert await done("erasures") == sorted(telling.erasures)

    async def _requests(self, workspace: str, table: str, which: str = "true") -> list[str]:
        query = f"SELECT request_id FROM {table} WHERE workspace = %s AND {which}"
        async with self.database.statement() as connection:
            return sorted(own for (own,) in await fetch(connection, query, (workspace,)))


async def remains(
    database: Database, workspace: str, keys: Collection[bytes], erased: Collection[Named]
) -> set[tuple[str, bytes | str]]:
    """Where something of erased identifiers stands that should not; a tombstone, and that it left, may."""
    wanted = {*keys, *(named.value for named in erased)}
    found: set[tuple[str, bytes | str]] = set()
    for table in Base.metadata.tables.keys() - {"tombstones"}:
        which = "cause <> 'erasure'" if table == "profile_changes" else "true"
        async with database.statement() as connection:
            rows = await fetch(connection, f"SELECT * FROM {table} WHERE workspace = %s AND {which}", (workspace,))
        found |= {(table, cell) for row in rows for cell in row if isinstance(cell, bytes | str) and cell in wanted}
    return found


@pytest.fixture
async def fixture(
    start_replica: StartReplica, deploy: Deploy, open_database: OpenDatabase, secret: Secret
) -> AsyncIterator[Fixture]:
    """A process, and a replica that lives; in the end some calls were not answered, or nothing was tested."""
    killed = Killed(deploy, await start_replica(**LIMITS, **IDLE))
    yield Fixture(killed, open_database("identity"), secret)
    assert killed.lost


@FEW
@given(stories=STORIES, seed=st.integers(0, 1 << 32))
async def test_whoever_is_killed_everything_is_done_once(fixture: Fixture, stories: list[Story], seed: int) -> None:
    """Killed amidst messages, decisions, policies and erasures and what they leave: people and feed are as always."""
    for telling in await fixture.tell(stories, Random(seed)):
        await fixture.check(telling)
