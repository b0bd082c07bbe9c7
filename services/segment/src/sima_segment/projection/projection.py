"""The projection of one workspace: takes in pages of the feeds, and says who is in which segment."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from sima_segment.plan import Plan
from sima_segment.projection import consents, events, exchange, owners, traits
from sima_segment.projection.columns import Tables
from sima_segment.projection.evaluation import Together, differences, evaluate, find, find_affected, forget
from sima_segment.projection.file import ProjectionFile, Resources
from sima_segment.projection.pages import ChangePage, FactPage, for_duckdb, joined
from sima_segment.projection.parallelism import Parallelism
from sima_segment.projection.rows import registered, remove, rolled_back
from sima_segment.projection.tables import (
    BEYOND,
    LAYOUT,
    OBSERVATIONS,
    STATEMENTS,
    Limits,
    index,
    prepare,
    prepare_session,
    write_position,
)
from sima_segment.rules.schema import PEOPLE, event_table
from sima_segment.survivorship import TraitPolicy

#: From this share of all people on, looking at everybody costs less than copying.
_MANY = 0.5

# More rows than this at once are no step of the live loop, but the work of one that is behind.
_FEW_ROWS = 10_000


@dataclass(frozen=True)
class Configuration:
    """How projections are made."""

    limits: Limits = field(default_factory=Limits)
    policies: Mapping[str, TraitPolicy] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)

    def layout(self) -> str:
        """Name the layout of a file that is made so.

        Limits and policies belong to it: what was kept out, or folded, by others would stay so for ever.
        """
        policies = {trait: asdict(policy) for trait, policy in self.policies.items()}
        text = json.dumps([asdict(self.limits), policies], sort_keys=True)
        return f"{LAYOUT}-{sha256(text.encode()).hexdigest()}"


class Projection:
    """All facts of one workspace in one DuckDB file, and the evaluation of rules over them.

    One thread at a time may use it; only `preview` may run beside, and must have ended before `close`. What `apply`
    takes in becomes durable with `save`, with `commit`, which says that it was evaluated too, or before more is taken
    in; until then `rollback` takes it back.
    """

    def __init__(self, path: Path | None, configuration: Configuration) -> None:
        """Open a file, or make it; one of another layout, or a broken one, is made anew.

        Args:
            path: The file. None: in memory.
            configuration: How projections are made.
        """
        self._layout = configuration.layout()
        file = ProjectionFile(path)
        with ExitStack() as held:
            held.callback(file.release)
            self._connection = held.enter_context(file.open(configuration.resources, self._layout))
            self._reader = held.enter_context(self._connection.cursor())
            self.position = prepare(self._connection, self._layout)
            traits.configure(self._connection, configuration.policies)
            self._tables = Tables(self._connection, configuration.limits)
            prepare_session(self._reader)
            own = held.enter_context(self._connection.cursor())
            self._parallelism = Parallelism(own, configuration.resources.threads)
            held.callback(self.rollback)
            self._held = held.pop_all()
        self._together = Together()
        self._committed = self._tables.catalogue()
        self._saved = self.position
        self._indexed: frozenset[str] | None = None
        self._writing = False

    def apply(self, changes: Sequence[ChangePage], facts: Sequence[FactPage]) -> None:
        """Take in pages of both feeds, in their order; what was taken in before is made durable."""
        if self._writing:  # DuckDB 2.0.0 crashes or spoils the file if rows of the open transaction get another person
            self.save()
        rows = sum(page.rows() for pages in (changes, facts) for page in pages)
        if 0 < rows <= _FEW_ROWS:
            self._parallelism.one()
        with self._parallelism.full() if rows > _FEW_ROWS else nullcontext():
            self._apply(changes, facts)

    def _apply(self, changes: Sequence[ChangePage], facts: Sequence[FactPage]) -> None:
        self._begin()
        if changes:
            self._regroup(pa.concat_tables([page.changes for page in changes]))
            self.position = replace(self.position, changes=changes[-1].cursor)
        for page in joined(facts):
            self._add(page)
        owners.decide(self._connection)
        traits.refold(self._connection, self._tables)
        consents.refold(self._connection)
        if self.position.everybody:
            self._connection.execute("TRUNCATE touched")

    def ask_for(self, names: Iterable[str]) -> bool:
        """Give event names that rules ask for a table once there are such events, whatever the limit.

        Returns:
            Whether some had come beyond the limit: what was evaluated before did not see them.
        """
        self._tables.asked_for = frozenset(names)
        if self._tables.asked_for <= self._tables.events.keys():
            return False
        self._begin()
        with self._parallelism.full():
            return events.recall(self._connection, self._tables)

    def affected(self, plan: Plan, instant: datetime) -> pa.Array | None:
        """Answer whose memberships may differ from those stored, at an instant; None: anybody's."""
        if self.position.everybody or self.position.instant is None:
            return None
        flips = [(event, duration) for event, duration in plan.flips if event in self._tables.events]
        if not flips and self._connection.execute("FROM touched LIMIT 1").fetchall() == []:
            self._connection.execute("CREATE OR REPLACE TEMP TABLE affected (person UUID)")  # not those of last time
            return exchange.NOBODY
        self._begin()
        found = find_affected(self._connection, flips, self.position.instant, instant)
        [(everybody,)] = self._connection.execute(f"SELECT count(*) FROM {PEOPLE}").fetchall()
        return None if len(found) > max(_MANY * everybody, 1_000) else found

    def evaluate_affected(self, plan: Plan, instant: datetime) -> None:
        """Find the segments of those whom `affected` answered."""
        self._together.evaluate(self._connection, plan, self._tables.catalogue(), instant)

    def differences_of_affected(self, stored: pa.Table) -> pa.Table:
        """Compare what `evaluate_affected` found with their memberships stored."""
        found = differences(self._connection, stored)
        forget(self._connection)
        return found

    def evaluate(self, plan: Plan, segment: str, instant: datetime) -> None:
        """Find all members of a segment; those to which it refers must have been found before."""
        with self._parallelism.full():
            forget(self._connection, segment)
            evaluate(self._connection, segment, plan.rules[segment], self._tables.catalogue(), instant)

    def differences(self, segment: str, stored: pa.Table) -> pa.Table:
        """Compare what `evaluate` found with the memberships stored of the same segment."""
        return differences(self._connection, stored, [segment])

    def forget(self, segment: str | None = None) -> None:
        """Give back what `evaluate` found about a segment, or about all."""
        forget(self._connection, segment)

    def save(self) -> None:
        """Make durable what was taken in; who was touched is still to be looked at."""
        self._begin()
        write_position(self._connection, self._layout, self.position)
        self._commit()

    def commit(self, instant: datetime, tick: int, rules: str = "") -> None:
        """Make durable what was taken in, once the memberships that follow from it are stored.

        Args:
            instant: The instant of evaluation.
            tick: How many evaluations are stored by now.
            rules: What the rules mean that were evaluated.
        """
        self._begin()
        self._connection.execute("TRUNCATE touched")
        self.position = replace(self.position, instant=instant, tick=tick, everybody=False, rules=rules)
        write_position(self._connection, self._layout, self.position)
        self._commit()

    def rollback(self) -> None:
        """Take back what was taken in since it was last made durable."""
        if self._writing:
            self._connection.execute("ROLLBACK")
            self._writing = False
            self.position = self._saved
            self._tables.reload()

    def pass_time(self, instant: datetime) -> None:
        """Say that the state made durable holds at a later instant, too: nobody was affected by the time between."""
        self.position = replace(self.position, instant=instant)
        if self._writing:
            self._commit()
        self._saved = self.position

    def distrust(self) -> None:
        """Say that anybody's memberships may differ from those stored."""
        self.position = replace(self.position, everybody=True)

    def preview(self, plan: Plan, segment: str, instant: datetime, sample: int) -> tuple[int, pa.Array]:
        """Answer how many people a segment would have, and some of them, as of the last state made durable.

        May run beside the other methods, in a thread of its own.
        """
        with self._parallelism.full():
            return self._preview(plan, segment, instant, sample)

    def _preview(self, plan: Plan, segment: str, instant: datetime, sample: int) -> tuple[int, pa.Array]:
        catalogue = self._committed  # taken first: the state that is read has all its columns, or more
        *others, _ = plan.needed([segment])
        with rolled_back(self._reader):
            for other in others:
                evaluate(self._reader, other, plan.rules[other], catalogue, instant)
            size = find(self._reader, plan.rules[segment], catalogue, instant)
            found = self._reader.sql(f"FROM found ORDER BY person LIMIT {sample:d}").to_arrow_table()
        return size, found.column("person").combine_chunks()

    def interrupt(self) -> None:
        """Make the statement fail that a preview runs in another thread; does nothing if it runs none."""
        self._reader.interrupt()

    @property
    def changed(self) -> bool:
        """Whether something was taken in that is not durable yet."""
        return self.position != self._saved

    def beyond(self) -> Mapping[str, int]:
        """Answer how much arrived beyond the limits since the start: event names, properties, traits."""
        return {kind: len(names) for kind, names in self._tables.beyond.items()}

    def close(self) -> None:
        """Close the file."""
        self._held.close()

    def _regroup(self, changes: pa.Table) -> None:
        if changes.num_rows and owners.learn(self._connection, changes):
            owners.reclaim(self._connection, self._fact_tables())

    def _add(self, page: FactPage) -> None:
        self.position = replace(self.position, facts=page.cursor)
        if not page.rows():
            return
        pages = {name: for_duckdb(table) for name, table in page.relations().items() if table.num_rows}
        with registered(self._connection, **pages):
            if page.retractions.num_rows:
                remove(self._connection, self._fact_tables(), "page_retractions")
            if page.consents.num_rows:
                consents.spread(self._connection)
            arrived = {"page_events": page.events, "page_observations": page.observations, "spread": page.consents}
            for relation, rows in arrived.items():
                if rows.num_rows:
                    owners.claim(self._connection, relation)
            owners.decide(self._connection)
            if page.events.num_rows:
                events.add(self._connection, self._tables)
            if page.observations.num_rows:
                traits.add(self._connection)
            if page.consents.num_rows:
                consents.add(self._connection)

    def _fact_tables(self) -> list[str]:
        return [*map(event_table, self._tables.events), BEYOND, OBSERVATIONS, STATEMENTS]

    def _begin(self) -> None:
        if not self._writing:
            self._connection.execute("BEGIN")
            self._writing = True

    def _commit(self) -> None:
        self._writing = False  # also if it fails: DuckDB has ended the transaction then
        self._connection.execute("COMMIT")
        self._saved = self.position
        self._committed = self._tables.catalogue()
        if not self.position.everybody and self._indexed != (events := frozenset(self._tables.events)):
            index(self._connection, map(event_table, events))
            self._indexed = events
