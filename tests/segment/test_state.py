"""The state of a workspace is opened and closed whatever happens in between."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
import pytest_asyncio
from sima_runtime.database import Database
from sima_runtime.errors import DependencyUnavailableError
from sima_sdk.rules import SegmentFunction
from sima_segment import metrics, store
from sima_segment.projection import Configuration, Limits, Projection
from sima_segment.projection.evaluation import find
from sima_segment.rulebook import RuleBook
from sima_segment.rules import parse
from sima_segment.state import State, opened

from .builders import Happened, Moved, change_page, fact_page, key
from .worlds import Clock

#: Much longer than it takes, much shorter than the endless.
SOON = 60.0
ENDLESS = "SELECT sum(range % 7) FROM range(1000000000000)"


async def test_who_stops_while_opening_leaves_nothing_open(
    open_database: Callable[[str], Database], tmp_path: Path
) -> None:
    """A stop that comes before the projection is open gives the file back, too."""

    async def use() -> None:
        async with opened("w", tmp_path / "w.duckdb", Configuration(), open_database("segment"), Clock()):
            pass

    stopped = asyncio.create_task(use())
    await asyncio.sleep(0)
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    await use()


@pytest_asyncio.fixture
async def state(open_database: Callable[[str], Database], tmp_path: Path) -> AsyncIterator[State]:
    """The state of a workspace with one person."""
    async with opened("w", tmp_path / "w.duckdb", Configuration(), open_database("segment"), Clock()) as found:
        await found.take_in(([change_page(Moved(1, 101))], []))
        await found.save()
        yield found


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Makes the next preview last for ever; set as soon as it has begun."""
    begun = threading.Event()

    def find_for_ever(connection: Any, *arguments: Any) -> int:
        if not begun.is_set():
            begun.set()
            connection.execute(ENDLESS).fetchall()
        return find(connection, *arguments)

    monkeypatch.setattr("sima_segment.projection.projection.find", find_for_ever)
    return begun


async def begin_preview(state: State, begun: threading.Event) -> "asyncio.Task[Any]":
    """Have a preview under way."""
    preview = asyncio.create_task(state.preview(parse("true"), 1))
    assert await asyncio.to_thread(begun.wait, SOON)
    return preview


async def test_a_preview_for_which_nobody_waits_makes_way(state: State, endless: threading.Event) -> None:
    """It is interrupted, and the next one counts what is there."""
    preview = await begin_preview(state, endless)
    preview.cancel()
    async with asyncio.timeout(SOON):
        assert (await state.preview(parse("true"), 1)).size == 1


async def test_a_preview_ends_before_the_projection_is_closed(
    open_database: Callable[[str], Database], tmp_path: Path, endless: threading.Event
) -> None:
    """Whoever waits for it, or begins one afterwards, is told to come again."""
    async with asyncio.timeout(SOON):
        async with opened("w", tmp_path / "w.duckdb", Configuration(), open_database("segment"), Clock()) as state:
            preview = await begin_preview(state, endless)
    for refused in (preview, state.preview(parse("true"), 1)):
        with pytest.raises(DependencyUnavailableError):
            await refused


async def test_what_comes_beyond_the_limits_is_reported(
    open_database: Callable[[str], Database], workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metric counts it by kind after each step, and the log warns of each kind once."""
    gauge, log = Mock(), Mock()
    monkeypatch.setattr(metrics, "beyond_limits", gauge)
    monkeypatch.setattr("sima_segment.state._log", log)
    database = open_database("segment")
    async with database.statement() as connection:
        await store.follow(connection, workspace)
    configuration = Configuration(limits=Limits(names=1, properties=1, traits=1))
    async with opened(workspace, tmp_path / "w.duckdb", configuration, database, Clock()) as state:
        await state.load(RuleBook({}))
        for number in range(3):
            happened = Happened(number, (1,), f"event-{number}", {"total": 1})
            await state.take_in(([], [fact_page(happened, cursor=f"f{number}")]))
            await state.settle()
    counted = [each for each in gauge.set.mock_calls if each.args[1]["kind"] == "events"]
    assert counted == [call(count, {"workspace": workspace, "kind": "events"}) for count in (0, 1, 2)]
    log.warning.assert_called_once_with("beyond_limits", workspace=workspace, kind="events", count=1)


@asynccontextmanager
async def loaded(
    workspace: str, path: Path, database: Database, functions: Mapping[str, SegmentFunction] | None = None
) -> AsyncIterator[State]:
    """The state of a workspace as the loop has it when it begins."""
    async with opened(workspace, path, Configuration(), database, Clock()) as state:
        await state.load(RuleBook(functions or {}))
        yield state


async def test_who_entered_in_a_step_that_was_lost_does_not_stay_for_ever(
    open_database: Callable[[str], Database], workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read after a crash need not name those again whom the lost step was about."""
    database, path = open_database("segment"), tmp_path / "w.duckdb"
    async with database.statement() as connection:
        await store.follow(connection, workspace)
    async with loaded(workspace, path, database) as state:
        await state.settle()
        await state.define("buyers", parse('events("order").exists()'), "")
        await state.take_in(([change_page(Moved(1, 101))], [fact_page(Happened(1, (1,)))]))
        with monkeypatch.context() as crash:
            crash.setattr(Projection, "commit", Mock(side_effect=RuntimeError("a crash")))
            with pytest.raises(RuntimeError):
                await state.settle()
    async with loaded(workspace, path, database) as state:
        await state.take_in(([change_page(Moved(1, 101), Moved(1, 102))], [fact_page(Happened(1, (1,)))]))
        await state.settle()
    async with database.statement() as connection:
        assert await store.members(connection, workspace, "buyers") == [key(102)]


def meaning(text: str) -> Callable[[], str]:
    """What a function of a plugin expands to."""
    return lambda: text


async def test_another_version_of_a_function_holds_for_everybody(
    open_database: Callable[[str], Database], workspace: str, tmp_path: Path
) -> None:
    """The text of the rule is the same, but not what it means; the same meaning needs no second look."""
    database, path = open_database("segment"), tmp_path / "w.duckdb"
    async with database.statement() as connection:
        await store.follow(connection, workspace)
    looked_at_everybody = []
    for version in ("false", "true", " true "):
        functions = {"a.b": SegmentFunction("a.b", "", meaning(version))}
        async with loaded(workspace, path, database, functions) as state:
            looked_at_everybody.append(state.position.everybody)
            await state.take_in(([change_page(Moved(1, 101))], []))
            await state.settle()
            if version == "false":
                await state.define("some", parse("a.b()", functions), "")
    assert looked_at_everybody == [True, True, False]
    async with database.statement() as connection:
        assert await store.members(connection, workspace, "some") == [key(101)]


async def test_another_description_moves_nobody(
    open_database: Callable[[str], Database], workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the rule is the same, neither its members nor those who build on them are found again."""
    database = open_database("segment")
    async with database.statement() as connection:
        await store.follow(connection, workspace)
    async with loaded(workspace, tmp_path / "w.duckdb", database) as state:
        await state.settle()
        await state.define("some", parse("true"), "old")
        with monkeypatch.context() as unused:
            unused.setattr(Projection, "evaluate", Mock(side_effect=AssertionError))
            await state.define("some", parse("true"), "new")
        await state.define("some", parse("false"), "new")
    async with database.statement() as connection:
        [segment] = await store.segments(connection, workspace)
    assert (segment.rule, segment.description) == ("false", "new")
