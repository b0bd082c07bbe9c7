"""The laws of segments: live and full are one semantics, and the order in which anything arrives does not matter."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima_segment.plan import Plan
from sima_segment.projection import ChangePage, Configuration, FactPage, Projection, exchange
from sima_segment.rules import parse
from sima_segment.survivorship import Survivorship, TraitPolicy

from .builders import START, Happened, Moved, Observed, Row, Stated, Withdrawn, change_page, fact_page

LAW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
CONFIGURATION = Configuration(policies={"interests": TraitPolicy(Survivorship.UNION)})

KEYS, COMPANY = st.integers(1, 8), 9
# Around the clock of the tests, so that windows of minutes open and close while it moves.
TIMES = st.integers(-60, 40).map(lambda minute: START + timedelta(minutes=minute))
SOME_KEYS = st.lists(KEYS | st.just(COMPANY), min_size=1, max_size=3, unique=True).map(tuple)
PROPERTIES = st.sampled_from(
    [
        {},
        {"total": 7},
        {"total": 30.5, "kind": "shoes"},
        {"total": "many", "kind": None},
        {"kind": "socks", "tags": ["sale", 1, None]},
        {"total": True, "address": {"city": "Riyadh"}},
    ]
)
VALUES = {
    "city": st.sampled_from(["Riyadh", "تهران", 5]),
    "age": st.integers(1, 4),
    "interests": st.sampled_from("abc"),
}

WINDOWED = st.sampled_from(
    [
        'events("order").within("30m").exists()',
        'events("view").within("1h").exists()',
        'events("order").within("1h").count() == 1',
        'events("view").within("10m").count() < 1',
    ]
)
ATOMS = WINDOWED | st.sampled_from(
    [
        'events("order").count() >= 2',
        'events("view").exists()',
        'events("order").sum("total") > 30.0',
        'events("order").within("45m").max("total") <= 7.0',
        'events("order").filter(e, e.kind == "shoes").exists()',
        'events("view").filter(e, "sale" in e.tags).within("20m").exists()',
        'events("order").filter(e, e.address.city == "Riyadh").count() > 0',
        'traits.city == "Riyadh"',
        "traits.age >= 3.0",
        "has(traits.city)",
        '"b" in traits.interests',
        'consent("mail")',
        'events("never").exists()',
    ]
)


def rules(references: Sequence[str]) -> st.SearchStrategy[str]:
    """Rules of any shape, which may refer to some segments."""
    leaves = ATOMS if not references else ATOMS | st.sampled_from([f'segment("{name}")' for name in references])
    return st.recursive(
        leaves,
        lambda parts: (
            st.builds("!({})".format, parts)
            | st.builds("({} && {})".format, parts, parts)
            | st.builds("({} || {})".format, parts, parts)
        ),
        max_leaves=4,
    )


# One rule follows time and rows alone, so that nothing can hide what becomes of a single person.
PLANS = st.tuples(WINDOWED, rules(["s0"]), rules(["s0", "s1"])).map(
    lambda texts: Plan({f"s{number}": parse(text, {}) for number, text in enumerate(texts)})
)
PROFILES = st.integers(101, 105)
SELDOM = st.integers(0, 5).map(lambda chance: chance == 0)
# Whether an identifier is a company's is part of what it is, and never changes.
PERSONS, COMPANYS = st.just(False), st.just(True)
MOVES = st.builds(Moved, KEYS, PROFILES, SELDOM, SELDOM, PERSONS) | st.builds(
    Moved, st.just(COMPANY), st.just(0), SELDOM, SELDOM, COMPANYS
)
EVENTS = st.builds(Happened, st.integers(1000, 1030), SOME_KEYS, st.sampled_from(["order", "view"]), PROPERTIES, TIMES)
ROWS = (
    EVENTS
    | st.sampled_from(sorted(VALUES)).flatmap(
        lambda trait: st.builds(Observed, st.integers(2000, 2020), SOME_KEYS, st.just(trait), VALUES[trait], TIMES)
    )
    | st.builds(Stated, st.integers(3000, 3010), SOME_KEYS, st.just("mail"), st.booleans(), TIMES)
)


class Step(NamedTuple):
    """What arrives, and how much time passes before it is looked at."""

    moves: list[Moved]
    rows: list[Row]
    minutes: int


BUSY = st.builds(
    Step,
    st.just([]) | st.lists(MOVES, min_size=1, max_size=3),
    st.lists(ROWS, min_size=1, max_size=5),
    st.sampled_from([0, 0, 1, 15]),
)
QUIET = st.builds(Step, st.just([]), st.just([]), st.sampled_from([5, 10, 20, 30, 60]))
# Everybody is known and has done something, so that whatever follows concerns somebody.
BEGINNING = st.builds(
    Step,
    st.tuples(
        *(st.builds(Moved, st.just(key), PROFILES, st.booleans(), st.booleans(), PERSONS) for key in range(1, 9))
    ).map(list),
    st.lists(EVENTS, min_size=4, max_size=8),
    st.just(0),
)
STEPS = st.tuples(BEGINNING, st.lists(BUSY | QUIET, min_size=2, max_size=5)).map(lambda parts: [parts[0], *parts[1]])


class Feeds:
    """Writes both feeds as the services do: an id comes again only behind its retraction, or as a repetition."""

    def __init__(self) -> None:
        self.changes: list[ChangePage] = []
        self.facts: list[FactPage] = []
        self._sent: dict[int, Row] = {}

    def write(self, step: Step) -> tuple[list[ChangePage], list[FactPage]]:
        """Write a page of each feed for a step, the facts in pages without an id twice."""
        changes = [change_page(*step.moves, cursor=f"c{len(self.changes)}")]
        facts = [fact_page(*rows, cursor=f"f{len(self.facts)}") for rows in self._pages(step.rows)]
        self.changes += changes
        self.facts += facts
        return changes, facts

    def _pages(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        for row in rows:
            known = self._sent.get(row.number)
            self._sent[row.number] = row
            yield [row] if known is None or known == row else [Withdrawn(row.number), row]


class Memberships:
    """What is stored of memberships, changed by differences only."""

    def __init__(self) -> None:
        self.stored: set[tuple[str, bytes]] = set()

    def change(self, differences: pa.Table) -> None:
        """Apply differences; each must be one."""
        for segment, person, entered in exchange.differences(differences):
            assert ((segment, person) in self.stored) is not entered
            (self.stored.add if entered else self.stored.remove)((segment, person))

    def of(self, people: pa.Array) -> pa.Table:
        """The rows of some people."""
        wanted = set(exchange.people(people))
        return exchange.memberships([row for row in self.stored if row[1] in wanted])


def settle(projection: Projection, plan: Plan, memberships: Memberships, instant: datetime) -> None:
    """One step of the live loop, without PostgreSQL."""
    affected = projection.affected(plan, instant)
    if affected is None:
        for segment in plan.order:
            projection.evaluate(plan, segment, instant)
            stored = [person for name, person in memberships.stored if name == segment]
            memberships.change(projection.differences(segment, exchange.members(segment, stored)))
        projection.forget()
    else:
        projection.evaluate_affected(plan, instant)
        memberships.change(projection.differences_of_affected(memberships.of(affected)))
    projection.commit(instant, projection.position.tick + 1)


def in_full(plan: Plan, feeds: Feeds, instant: datetime, *, facts_first: bool) -> set[tuple[str, bytes]]:
    """The memberships of a new projection that reads everything at once."""
    projection, memberships = Projection(None, CONFIGURATION), Memberships()
    try:
        if facts_first:
            projection.apply([], feeds.facts)
            projection.apply(feeds.changes, [])
        else:
            projection.apply(feeds.changes, feeds.facts)
        settle(projection, plan, memberships, instant)
    finally:
        projection.close()
    return memberships.stored


@pytest.mark.slow
@LAW
@given(plan=PLANS, steps=STEPS, facts_first=st.booleans())
def test_live_is_full(plan: Plan, steps: list[Step], facts_first: bool) -> None:
    """After any steps the memberships are those of a full evaluation of all facts at the same instant."""
    projection, memberships, feeds = Projection(None, CONFIGURATION), Memberships(), Feeds()
    instant = START
    for step in steps:
        instant += timedelta(minutes=step.minutes)
        projection.apply(*feeds.write(step))
        settle(projection, plan, memberships, instant)
    projection.close()
    assert memberships.stored == in_full(plan, feeds, instant, facts_first=facts_first)
