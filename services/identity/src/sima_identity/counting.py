"""Counts beside all calls with how many others identifiers were seen, and notices what grows suspiciously.

Whoever records leaves a note of what is worth counting, in the same transaction; every replica counts, but only one at
a time in a workspace, from the edges themselves. So once nothing is left to count, what is stored equals the edges,
whatever calls and replicas did at the same time. Nobody who records waits for it, and no feed: it writes at the end.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial

import structlog
from sima_runtime.database import Database, Driver
from sima_runtime.telemetry import meter

from sima_identity.hubs import Grown, GrowthLimits, Neighbours, degree
from sima_identity.policies import Policies
from sima_identity.records import Subject
from sima_identity.rounds import Rounds
from sima_identity.store import graph, hubs

_log = structlog.get_logger()
_noticed = meter("sima.identity").create_counter(
    "sima_identity_growth_noticed", "1", "Identifiers, by kind, and profiles that grew suspiciously, once a day each."
)


class Counting:
    """Keeps the stored degrees equal to the edges."""

    def __init__(self, database: Database, policies: Policies, limits: GrowthLimits, again_seconds: float) -> None:
        """Set up.

        Args:
            database: The schema `identity`.
            policies: The rules.
            limits: What growth is suspicious.
            again_seconds: What was counted so long ago is counted again, for days pass and neighbours become one.
        """
        self._database, self._policies, self._limits = database, policies, limits
        self._again_seconds = again_seconds
        self._asked = Rounds(database, hubs.next_asked, self._count_some)
        self._old = Rounds(database, partial(hubs.next_old, seconds=again_seconds), self._count_some)

    async def count_some(self) -> bool:
        """Count some of what is to be counted; False if there is nothing."""
        return await self._asked.go_on()

    async def count_again(self) -> bool:
        """Count again some of what was counted long ago, and forget what grew long ago; False if nothing was."""
        async with self._database.statement() as connection:
            await hubs.forget_growth(connection)
        return await self._old.go_on()

    async def _count_some(self, connection: Driver, workspace: str) -> Callable[[], None]:
        """Count both what is to be counted and what was counted long ago, so that neither keeps the other waiting."""
        await graph.look_up(connection)
        asked = await hubs.asked(connection, workspace)
        old = await hubs.counted_long_ago(connection, workspace, self._again_seconds)
        subjects = asked.keys() | {Subject(key, is_profile=False) for key in old}
        noticed = await self._count(connection, workspace, subjects)
        await hubs.strike_out(connection, workspace, [number for numbers in asked.values() for number in numbers])
        return partial(_tell, workspace, noticed)

    async def _count(self, connection: Driver, workspace: str, subjects: Collection[Subject]) -> list[Grown]:
        """Count subjects, and return what is noticed for the first time today."""
        policy = (await self._policies.in_force(connection, workspace)).policy
        keys = [own for own, is_profile in subjects if not is_profile]
        seen = await hubs.neighbours(connection, workspace, keys)
        gained = await hubs.gained(connection, workspace, [own for own, is_profile in subjects if is_profile])
        degrees = {each.key: counted for each in seen if (counted := degree(each, policy))}
        await hubs.write(connection, workspace, degrees, set(keys) - degrees.keys())
        if gone := set(keys) - {each.key for each in seen}:
            await hubs.forget_growth_of(connection, workspace, gone)
        return await hubs.notice(connection, workspace, [*self._grown(seen), *self._grown_profiles(gained)])

    def _grown(self, seen: Iterable[Neighbours]) -> Iterable[Grown]:
        most = self._limits.identifier
        for each in seen:
            if each.day.identifiers > most:
                subject = Subject(each.key, is_profile=False)
                yield Grown(subject, each.profile_id, each.kind, each.day.identifiers, most)

    def _grown_profiles(self, gained: Iterable[tuple[bytes, int]]) -> Iterable[Grown]:
        most = self._limits.profile
        return (Grown(Subject(own, is_profile=True), own, None, count, most) for own, count in gained if count > most)


def _tell(workspace: str, noticed: Iterable[Grown]) -> None:
    for subject, profile_id, kind, gained, most in noticed:
        _noticed.add(1, {"of": "profile" if subject.is_profile else kind or ""})
        own = profile_id and profile_id.hex()
        _log.warning("suspicious_growth", workspace=workspace, profile_id=own, kind=kind, gained=gained, limit=most)
