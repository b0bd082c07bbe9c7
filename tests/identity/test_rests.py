"""Whoever is worked at beside all calls rests for itself: behind its work, its failures, and while others are at it."""

import asyncio
from collections.abc import Callable

import pytest
import structlog
from sima_identity.grouping import OvertakenError
from sima_identity.rounds import Rounds
from sima_identity.store.turns import Turn, take_turn
from sima_runtime.database import Database

from .conftest import OpenDatabase

PORTION_SECONDS = 0.01
REST_SECONDS = 0.031  # behind a portion


class Office:
    """Work for some workspaces, on a clock that goes on with the work, and what was done and who rested."""

    def __init__(self, database: Database, *names: str) -> None:
        """Set up; `takes` says how many seconds a portion takes, and `fails` with what it does, if it does."""
        self.names = [*names]
        self.now = 0.0
        self.takes: dict[str, float] = {}
        self.fails: dict[str, Callable[[], Exception]] = {}
        self.done: list[str] = []
        self.resting: list[str] = []
        self.rounds = Rounds(database, self.choose, self.work, lambda: self.now)

    async def choose(self, _: object, turn: Turn) -> tuple[str] | None:
        """The next one that does not rest."""
        self.resting = sorted(turn.resting)
        able = [name for name in self.names if name not in turn.resting]
        return (min(able, key=lambda name: (name <= turn.after, name)),) if able else None

    async def work(self, _: object, name: str) -> None:
        """Do a portion."""
        self.now += self.takes.get(name, PORTION_SECONDS)
        if name in self.fails:
            raise self.fails[name]()
        self.done.append(name)


@pytest.fixture
def database(open_database: OpenDatabase) -> Database:
    """The database below."""
    return open_database("identity")


@pytest.mark.parametrize("failing", [1, 10])
async def test_however_many_fail_the_others_go_on(database: Database, failing: int) -> None:
    """Those who fail rest longer and longer, and are tried again; nobody else rests longer because of them."""
    broken = [f"broken{number}" for number in range(failing)]
    office = Office(database, "healthy", *broken)
    office.fails = dict.fromkeys(broken, lambda: ValueError("hypatia@example.com"))
    with structlog.testing.capture_logs() as lines:
        while office.now < 60:
            assert await office.rounds.go_on()
            office.now += REST_SECONDS
    assert len(office.done) > 60 / (PORTION_SECONDS + REST_SECONDS) * 0.8
    tried = [line["workspace"] for line in lines if line["event"] == "task_crashed"]
    assert {name: tried.count(name) for name in tried} == dict.fromkeys(broken, 6)  # after 0, 1, 3, 7, 15, 31 s
    assert "hypatia" not in str(lines)


async def test_who_fails_for_days_is_tried_once_a_minute(database: Database) -> None:
    """And as often as that, at last, when it is well again."""
    office = Office(database, "broken")
    office.fails = {"broken": ValueError}
    for _ in range(1_100):
        await office.rounds.go_on()
        office.now += 65
    office.fails.clear()
    await office.rounds.go_on()
    assert office.done == ["broken"]


async def test_where_none_can_be_chosen_the_task_fails(database: Database) -> None:
    """Then there is nobody who could go on, and it is begun again as a whole, after a pause."""

    async def choose(*_: object) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await Rounds(database, choose, Office(database).work).go_on()


async def test_calls_have_their_time_behind_a_long_grouping_and_other_workspaces_do_not_pay_for_it(
    database: Database,
) -> None:
    """A workspace rests three times as long as it was worked at; the next one is worked at at once."""
    office = Office(database, "a", "b")
    office.takes = {"a": 100}
    assert await office.rounds.go_on()
    assert await office.rounds.go_on()
    assert (office.done, office.resting) == (["a", "b"], ["a"])
    office.now = 399
    await office.rounds.go_on()
    assert office.resting == ["a"]
    office.now = 401
    office.names = ["a"]
    await office.rounds.go_on()
    assert office.done[-1] == "a"


async def test_a_single_workspace_goes_on_behind_its_rest(database: Database) -> None:
    """Short rests are waited for, so that it is not taken for having nothing to do."""
    office = Office(database, "a")
    while len(office.done) < 5:
        assert await office.rounds.go_on()
        office.now += PORTION_SECONDS  # not enough
    office.names.clear()
    office.now += 1
    assert not await office.rounds.go_on()


async def test_who_has_to_wait_for_a_turn_holds_up_nobody(database: Database, workspace: str) -> None:
    """The turn of one that was overtaken is somebody else's for long: the others go on, and it does so afterwards."""
    first, *others = names = [f"{workspace}-{letter}" for letter in "abcd"]
    office = Office(database, *names)
    office.fails = {first: OvertakenError}
    await office.rounds.go_on()
    office.fails.clear()
    async with asyncio.timeout(30):
        async with database.transaction() as holder:
            await take_turn(holder, first)
            while not {*others} <= {*office.done} or len(office.done) < 20:
                await office.rounds.go_on()
                office.now += REST_SECONDS
            assert first not in office.done
        while first not in office.done:
            await office.rounds.go_on()
            office.now += REST_SECONDS
