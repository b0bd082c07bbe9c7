"""The state of one workspace: its projection, its rules, and the memberships stored, moved on together.

The memberships stored in PostgreSQL are always those of one state: everything up to a cursor in each feed, looked at
from one instant. To move on, the projection takes in what arrived, the people about whom a rule may have changed its
mind are found, all rules are evaluated for them, and the differences are stored together with the new state in one
transaction. Only then does the projection keep that they were looked at; what it took in, it may keep before, with the
people concerned. After a crash in between everybody is looked at again: what the feeds tell by then need not name the
people whom the lost step was about.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import structlog
from sima_runtime.database import Database, Driver

from sima_segment import metrics, store
from sima_segment.plan import Plan
from sima_segment.previews import Preview, Previews
from sima_segment.projection import Configuration, Position, Projection, exchange
from sima_segment.reading import Batch
from sima_segment.rulebook import RuleBook, extended
from sima_segment.rules import Rule
from sima_segment.threads import OneThread

#: Segment, person, and whether the person entered it.
Changes = list[tuple[str, bytes, bool]]
#: Something to be written in the transaction that stores a new state.
Write = Callable[[Driver], Awaitable[None]]

#: The segment of a preview; no real one can have this name.
_PREVIEWED = ""

_log = structlog.get_logger()


@asynccontextmanager
async def opened(
    workspace: str, path: Path, configuration: Configuration, database: Database, clock: Callable[[], datetime]
) -> AsyncIterator["State"]:
    """Open the state of a workspace; what is not stored at the end is taken back.

    Args:
        workspace: Whose.
        path: File of the projection.
        configuration: How the projection is made.
        database: The schema `segment`.
        clock: Tells the instant of evaluation, with time zone.

    Raises:
        FixConfigurationError: Another process uses the projection.
    """
    thread = OneThread(f"projection-{workspace}")
    held = ExitStack()

    def projection() -> Projection:
        return held.enter_context(closing(Projection(path, configuration)))

    try:
        state = State(workspace, database, clock, await thread(projection), thread)
        held.callback(state.previews.join)
        try:
            yield state
        finally:
            await state.previews.stop()
    finally:
        # Also if nobody waited for the opening to end: the thread opens first, and then closes what it opened.
        try:
            await thread(held.close)
        finally:
            thread.end()


class State:
    """One workspace. One task uses it; only `preview` may run beside.

    Attributes:
        plan: The rules of its segments.
        previews: Where rules are tried.
    """

    def __init__(
        self,
        workspace: str,
        database: Database,
        clock: Callable[[], datetime],
        projection: Projection,
        thread: OneThread,
    ) -> None:
        """Set up; `opened` does it.

        Args:
            workspace: Whose.
            database: The schema `segment`.
            clock: Tells the instant of evaluation, with time zone.
            projection: The facts.
            thread: Where the projection is used.
        """
        self.workspace = workspace
        self.plan = Plan({})
        self.previews = Previews(projection, OneThread(f"previews-{workspace}"))
        self._database = database
        self._clock = clock
        self._projection = projection
        self._do = thread
        self._rules = RuleBook({})
        self._tick = 0
        self._reported: set[str] = set()

    async def load(self, rules: RuleBook) -> None:
        """Read what is stored, with the rules as they are understood now and from here on."""
        self._rules = rules
        async with self._database.statement() as connection:
            stored = await store.position(connection, self.workspace)
            segments = await store.segments(connection, self.workspace)
        self._tick = stored.tick
        self.plan = await asyncio.to_thread(rules.plan, {segment.name: segment.rule for segment in segments})
        for name in self.plan.frozen:
            _log.error("rule_not_understood", workspace=self.workspace, segment=name)
        if await self._do(self._projection.ask_for, self.plan.events) or not _continues(
            self.position, stored, self.plan
        ):
            await self._do(self._projection.distrust)

    @property
    def position(self) -> Position:
        """How far the projection has read."""
        return self._projection.position

    async def take_in(self, batch: Batch) -> None:
        """Take in pages of both feeds."""
        await self._do(self._projection.apply, *batch)

    async def save(self) -> None:
        """Keep what was taken in, though it is not evaluated yet."""
        await self._do(self._projection.save)

    async def settle(self) -> None:
        """Bring the stored memberships to what was taken in, and to this instant."""
        started = time.perf_counter()
        instant = self._instant()
        affected = await self._do(self._projection.affected, self.plan, instant)
        if affected is not None and not len(affected) and not self._projection.changed:
            await self._do(self._projection.pass_time, instant)
            return
        if affected is None:
            changes = await self._differences_of_all(self.plan, self.plan.order, instant)
        else:
            changes = await self._differences_of(affected, instant)
        await self._store(self.plan, changes, instant)
        metrics.step_seconds.record(time.perf_counter() - started)
        metrics.affected_people.add(0 if affected is None else len(affected))

    async def define(self, name: str, rule: Rule, description: str) -> None:
        """Create a segment, or give it another rule; what follows for others follows. The state must be settled.

        Raises:
            RuleError: The rule refers to a segment that there is not, or in a circle to itself.
        """
        plan, changes = self.plan, Changes()
        if plan.rules.get(name) != rule:
            plan = await asyncio.to_thread(self._rules.thawed, extended(plan, name, rule))
            await self._do(self._projection.ask_for, plan.events)
            changes = await self._differences_of_all(plan, plan.dependent(name), self._settled_at())

        async def put(connection: Driver) -> None:
            await store.put(connection, self.workspace, name, rule.text, description)

        await self._store(plan, changes, self._settled_at(), put)

    async def describe(self, name: str, rule: str, description: str) -> None:
        """Give a segment another description; its rule, which need not be understood, stays."""
        async with self._database.transaction() as connection:
            await store.put(connection, self.workspace, name, rule, description)

    async def remove(self, name: str) -> None:
        """Delete a segment to which no rule refers; its members leave. The state must be settled."""
        instant = self._settled_at()

        async def delete(connection: Driver) -> None:
            await store.delete(connection, self.workspace, name, instant)

        await self._store(self.plan.without(name), [], instant, delete)

    async def make_room(self, rule: Rule) -> None:
        """Let a preview of a rule see the events that it asks for, also beyond the limit. The state must be settled.

        Raises:
            RuleError: The rule refers to a segment that there is not.
        """
        plan = extended(self.plan, _PREVIEWED, rule)
        if await self._do(self._projection.ask_for, plan.events):
            await self.save()  # a preview sees what is durable

    async def preview(self, rule: Rule, sample: int) -> Preview:
        """Say whom a rule would hold for.

        Raises:
            RuleError: The rule refers to a segment that there is not.
            DependencyUnavailableError: The state is being closed.
        """
        plan = extended(self.plan, _PREVIEWED, rule)
        return await self.previews.find(plan, _PREVIEWED, self._instant(), sample)

    async def _differences_of(self, affected: pa.Array, instant: datetime) -> Changes:
        """Evaluate all rules for some people, while their stored memberships are fetched."""
        _, stored = await asyncio.gather(
            self._do(self._projection.evaluate_affected, self.plan, instant),
            self._memberships_of(exchange.people(affected)),
        )
        return await self._do(lambda: exchange.differences(self._projection.differences_of_affected(stored)))

    async def _differences_of_all(self, plan: Plan, segments: Sequence[str], instant: datetime) -> Changes:
        """Evaluate segments, and those to which they refer, for everybody."""
        changes: Changes = []
        for segment in plan.needed(segments):
            await self._do(self._projection.evaluate, plan, segment, instant)
            if segment in segments:
                changes += await self._do(self._differences, segment, await self._members(segment))
            if not plan.users(segment):
                await self._do(self._projection.forget, segment)
        await self._do(self._projection.forget)
        return changes

    def _differences(self, segment: str, stored: Sequence[bytes]) -> Changes:
        return exchange.differences(self._projection.differences(segment, exchange.members(segment, stored)))

    async def _store(self, plan: Plan, changes: Changes, instant: datetime, *writes: Write) -> None:
        """Store a new state in PostgreSQL, then in the projection; from then on its plan is in force."""
        async with self._database.transaction() as connection:
            await store.advance(connection, self.workspace, self._tick, self.position.lineage)
            for write in writes:
                await write(connection)
            await store.write_changes(connection, self.workspace, changes, instant)
        self._tick += 1
        await self._do(self._projection.commit, instant, self._tick, plan.meaning)
        self.plan = plan
        metrics.membership_changes.add(len(changes))
        self._report_beyond()

    def _report_beyond(self) -> None:
        """Show how much came beyond the limits, and warn of each kind once."""
        for kind, count in self._projection.beyond().items():
            metrics.beyond_limits.set(count, {"workspace": self.workspace, "kind": kind})
            if count and kind not in self._reported:
                self._reported.add(kind)
                _log.warning("beyond_limits", workspace=self.workspace, kind=kind, count=count)

    async def _memberships_of(self, people: list[bytes]) -> pa.Table:
        """What some people are in, of the segments whose rules are understood; the members of others stay."""
        async with self._database.statement() as connection:
            stored = await store.memberships_of(connection, self.workspace, people)
        return exchange.memberships([row for row in stored if row[0] in self.plan.rules])

    async def _members(self, segment: str) -> list[bytes]:
        async with self._database.statement() as connection:
            return await store.members(connection, self.workspace, segment)

    def _instant(self) -> datetime:
        """The instant of a new state: now, but never before the one of the old state."""
        return max(self._clock(), self.position.instant or datetime.min.replace(tzinfo=self._clock().tzinfo))

    def _settled_at(self) -> datetime:
        instant = self.position.instant
        if instant is None:
            raise RuntimeError("the state is not settled")
        return instant


def _continues(position: Position, stored: store.Stored, plan: Plan) -> bool:
    """Whether the stored memberships are of the very state that the projection has, by rules that mean the same now."""
    return (position.lineage, position.tick, position.rules) == (stored.lineage, stored.tick, plan.meaning)
