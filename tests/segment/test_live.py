"""Memberships follow facts, merges and time, across crashes and restarts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import duckdb
import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from sima.segment.v1 import segment_service_pb2 as pb
from sima_runtime.clients import ServiceClient
from sima_runtime.cursors import START as BEGINNING
from sima_runtime.cursors import token
from sima_runtime.errors import DependencyUnavailableError, InUseError, InvalidFieldsError
from sima_segment import metrics
from sima_segment.live import Request
from sima_segment.projection import Projection
from sima_segment.reading import Batch, Reading

from .builders import START, device, fact, mail, user
from .worlds import Clock, StartSegment, World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUYERS = 'events("order_completed").exists()'
RECENT = 'events("order_completed").within("1d").exists()'


def order(number: int, *identifiers: tuple[str, str], **given: Any) -> Any:
    """A purchase."""
    return fact(f"order-{number}", *identifiers, event="order_completed", properties={"total": 10 * number}, **given)


async def becomes(world: World, segment: str, *people: tuple[str, str]) -> None:
    """Wait until a segment has exactly these people."""

    async def has() -> bool:
        return await world.members(segment) == {await world.who(*person) for person in people}

    await eventually(has)


async def test_a_fact_makes_its_person_enter(world: World) -> None:
    """Without any further call, the membership and the feed show what was accepted."""
    await world.create("buyers", BUYERS)
    await world.create("rich", 'events("order_completed").sum("total") > 15.0')
    await world.ingest(order(1, user("ann")), order(2, user("bob")))
    await becomes(world, "buyers", user("ann"), user("bob"))
    await becomes(world, "rich", user("bob"))
    await world.ingest(order(1, user("ann"), source="till"))
    await becomes(world, "rich", user("ann"), user("bob"))
    assert await world.replayed() == {name: await world.members(name) for name in ("buyers", "rich")}


async def test_a_watcher_is_told_at_once(world: World) -> None:
    """An open stream delivers who enters while it waits."""
    await world.create("buyers", BUYERS)
    request = pb.WatchMembershipsRequest()
    stream = world.segment.stream(world.segments.WatchMemberships, request, workspace=world.workspace)
    await world.ingest(order(1, user("ann")))
    async for page in stream:
        if page.changes:
            assert [change.profile_id for change in page.changes] == [await world.who(*user("ann"))]
            break
    await stream.aclose()


async def test_a_company_is_no_member(world: World) -> None:
    """Whatever is known of it; the person who belongs to it is one, by what was said of the person."""
    company, ann = ("domain", "acme.example.com"), user("ann")
    await world.create("buyers", BUYERS)
    await world.create("cheap", 'events("order_completed").sum("total") < 15.0')
    await world.create("all", "true")
    await world.ingest(order(2, company, traits={"city": "Riyadh"}), order(1, ann, company))
    for segment in ("buyers", "cheap", "all"):
        await becomes(world, segment, ann)
    preview = pb.PreviewSegmentRequest(rule='traits.city == "Riyadh"')
    found = await world.segment.call(world.segments.PreviewSegment, preview, workspace=world.workspace)
    assert found.size == 0


async def test_traits_and_consents_change_memberships(world: World) -> None:
    """The newest value counts, and a denial ends what a grant began."""
    await world.create("riyadh", 'traits.city == "Riyadh"')
    await world.create("mailable", 'consent("email_marketing")')
    ann = user("ann")
    await world.ingest(fact("1", ann, traits={"city": "Riyadh"}, consents={"email_marketing": True}))
    await becomes(world, "riyadh", ann)
    await becomes(world, "mailable", ann)
    later = START + timedelta(minutes=1)
    await world.ingest(fact("2", ann, at=later, traits={"city": "Berlin"}, consents={"email_marketing": False}))
    await becomes(world, "riyadh")
    await becomes(world, "mailable")


async def test_people_who_turn_out_to_be_one_are_one_member(world: World) -> None:
    """When identifiers are joined, the profile that disappears leaves and the one that stays has the facts of both."""
    await world.create("buyers", BUYERS)
    await world.create("twice", 'events("order_completed").count() >= 2')
    await world.ingest(order(1, user("ann")), order(2, mail("ann")), order(3, mail("ann")))
    await becomes(world, "buyers", user("ann"), mail("ann"))
    await becomes(world, "twice", mail("ann"))
    await world.ingest(fact("login", user("ann"), mail("ann"), at=START))
    await becomes(world, "buyers", user("ann"))  # unlike of "twice", the one who stays was never its only member
    await becomes(world, "twice", user("ann"))
    assert await world.who(*user("ann")) == await world.who(*mail("ann"))
    assert await world.replayed() == {name: await world.members(name) for name in ("buyers", "twice")}
    assert len(await world.members("buyers")) == 1


async def test_what_a_shared_device_did_is_nobodys_but_its_own(world: World) -> None:
    """Once a device leads to two people, its own events leave both of them."""
    tablet = device("tablet")
    await world.create("viewers", 'events("page_viewed").exists()')
    await world.create("people", "has(traits.name)")
    view = fact("view", tablet, event="page_viewed")
    ann = fact("1", user("ann"), mail("ann"), tablet, traits={"name": "Ann"})
    await world.ingest(view, ann)
    await becomes(world, "viewers", user("ann"))
    bob = fact("2", user("bob"), mail("bob"), tablet, traits={"name": "Bob"}, at=START + timedelta(minutes=1))
    await world.ingest(bob)
    await becomes(world, "viewers", tablet)
    assert await world.who(*tablet) not in {await world.who(*user("ann")), await world.who(*user("bob"))}
    await becomes(world, "people", user("ann"), user("bob"))


async def test_references_follow_live(world: World) -> None:
    """Who enters a segment enters, in the same step, those that build on it."""
    await world.create("buyers", BUYERS)
    await world.create("others", '!segment("buyers")')
    await world.create("both_ways", 'segment("buyers") || segment("others")')
    await world.ingest(fact("1", user("ann"), traits={"name": "Ann"}))
    await becomes(world, "others", user("ann"))
    await world.ingest(order(1, user("ann")))
    await becomes(world, "others")
    await becomes(world, "buyers", user("ann"))
    kinds = [change.kind for change in await world.changes(segments=["both_ways"])]
    assert kinds == [pb.MEMBERSHIP_CHANGE_KIND_ENTERED]


async def test_no_flood_of_event_names_keeps_a_rule_from_its_events(start_segment: StartSegment) -> None:
    """Names that rules ask for have room beyond the limit: in a preview, in a new segment, live, and after a loss."""
    async with start_segment(most_event_names=1) as world:
        junk = [fact(f"junk-{number}", user("eve"), event=f"junk {number}") for number in range(5)]
        await world.ingest(*junk, order(1, user("ann")))
        assert (await world.preview("true")).size == 2
        assert (await world.preview('events("order_completed").sum("total") == 10.0')).size == 1
        await world.create("buyers", BUYERS)
        await world.create("viewers", 'events("page_viewed").exists()')
        assert await world.members("buyers") == {await world.who(*user("ann"))}
        await world.ingest(order(2, user("bob")), fact("view", user("bob"), event="page_viewed"))
        await becomes(world, "buyers", user("ann"), user("bob"))
        await becomes(world, "viewers", user("bob"))
        file = world.data_dir / f"{world.workspace}.duckdb"
    file.unlink()
    async with start_segment(most_event_names=1) as world:
        await world.create("everybody", "true")
        await becomes(world, "buyers", user("ann"), user("bob"))
        await becomes(world, "viewers", user("bob"))


async def test_time_alone_makes_people_leave_and_enter(start_segment: StartSegment, clock: Clock) -> None:
    """A window that closes, and an event that was announced for later, change memberships without any fact."""
    async with start_segment() as world:
        await world.create("recent", RECENT)
        await world.create("lost", f"{BUYERS} && !{RECENT}")
        await world.ingest(order(1, user("ann"), at=START - timedelta(hours=20)))
        await world.ingest(order(2, user("bob"), at=START + timedelta(hours=2)))
        await becomes(world, "recent", user("ann"))
        clock.pass_by(hours=2)
        await becomes(world, "recent", user("ann"), user("bob"))
        clock.pass_by(hours=2)
        await becomes(world, "recent", user("bob"))
        await becomes(world, "lost", user("ann"))
        clock.pass_by(days=1)
        await becomes(world, "lost", user("ann"), user("bob"))
        instants = [change.changed_at.ToDatetime(START.tzinfo) for change in await world.changes(segments=["recent"])]
        assert instants == [START + timedelta(hours=hours) for hours in (0, 2, 4, 28)]


async def give_best_to_ann(start_segment: StartSegment) -> None:
    """Make a segment with a function of a plugin, and others before and behind it; Ann is in all."""
    async with start_segment() as world:
        await world.create("buyers", BUYERS)
        await world.create("good", 'rfm.score() >= 3 && segment("buyers")')
        await world.create("best", 'segment("good")')
        await world.ingest(order(1, user("ann")))
        await becomes(world, "best", user("ann"))


async def test_a_segment_whose_plugin_is_gone_stays_as_it_was_and_says_so(start_segment: StartSegment) -> None:
    """So do those that refer to it; nothing that it names can be deleted, and with the plugin all goes on."""
    await give_best_to_ann(start_segment)
    async with start_segment(plugins=()) as world:
        await world.ingest(order(2, user("bob")))
        await becomes(world, "buyers", user("ann"), user("bob"))
        assert {name: (await world.get(name)).frozen for name in await world.names()} == {
            "best": True,
            "buyers": False,
            "good": True,
        }
        assert Observation(2, {"workspace": world.workspace}) in metrics.workspaces.frozen(CallbackOptions())
        await becomes(world, "best", user("ann"))
        for used in ("buyers", "good"):
            with pytest.raises(InUseError):
                await world.delete(used)
    async with start_segment() as world:
        await becomes(world, "best", user("ann"), user("bob"))
        assert not (await world.get("good")).frozen


async def test_a_frozen_segment_can_be_described(start_segment: StartSegment) -> None:
    """Its description changes alone; its rule, its members and that it is frozen stay."""
    await give_best_to_ann(start_segment)
    async with start_segment(plugins=()) as world:
        before = await world.get("good")
        await world.update("good", "description", description="waits for its plugin")
        after = await world.get("good")
        assert (after.description, after.rule, after.frozen) == ("waits for its plugin", before.rule, True)
        await becomes(world, "good", user("ann"))
        with pytest.raises(InvalidFieldsError, match=r"segment\.description"):
            await world.update("good", "description", description="\0")


async def test_what_refers_to_a_frozen_segment_lives_again_with_it(start_segment: StartSegment) -> None:
    """A rule without the plugin that is gone is enough; nothing has to be started again."""
    await give_best_to_ann(start_segment)
    async with start_segment(plugins=()) as world:
        await world.update("good", rule='segment("buyers")')
        assert not (await world.get("best")).frozen
        await world.ingest(order(2, user("bob")))
        await becomes(world, "best", user("ann"), user("bob"))


async def test_memberships_say_how_far_the_facts_were_read(
    start_segment: StartSegment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time goes on while facts cannot be read; how far they are worked off does not, and the gauge shows it."""
    clock.instant = datetime.now(UTC)  # by which the feeds say how far they are complete

    def gauge(world: World) -> float:
        seen = metrics.workspaces.behind(CallbackOptions())
        return next(each.value for each in seen if each.attributes == {"workspace": world.workspace})

    async def shown(world: World) -> datetime:
        return (await world.memberships(*user("ann"))).as_of.ToDatetime(UTC)

    async with start_segment() as world:
        await world.create("recent", RECENT)
        await world.create("less_recent", RECENT.replace("1d", "60h"))
        await world.ingest(order(1, user("ann"), at=clock.instant))
        await becomes(world, "recent", user("ann"))
        with monkeypatch.context() as away:
            away.setattr(ServiceClient, "stream", Mock(side_effect=DependencyUnavailableError("profile")))
            with pytest.raises(DependencyUnavailableError):
                await world.settle()
            clock.pass_by(days=2)
            await becomes(world, "recent")
            read = await shown(world)
            clock.pass_by(days=1)
            await becomes(world, "less_recent")
            # Three days passed by the clock; what was on its way by then may still have come, seconds later.
            assert await shown(world) - read < timedelta(minutes=1)
            assert gauge(world) == pytest.approx((clock.instant - read).total_seconds(), abs=60)
        assert read < datetime.now(UTC) < clock.instant

        async def is_read_on() -> bool:
            return read < await shown(world) < datetime.now(UTC)

        await eventually(is_read_on)


async def test_a_restart_changes_nothing(start_segment: StartSegment, clock: Clock) -> None:
    """Started again the service goes on where it was, and finds what happened in between."""
    async with start_segment() as world:
        await world.create("recent", RECENT)
        await world.ingest(order(1, user("ann")))
        await becomes(world, "recent", user("ann"))
        before = await world.changes()
    await world.ingest(order(2, user("bob")))
    clock.pass_by(hours=25)
    async with start_segment() as world:
        await world.ingest(order(3, user("cid"), at=clock.instant))
        await becomes(world, "recent", user("cid"))
        changes = await world.changes()
        assert changes[: len(before)] == before
        assert await world.replayed() == {"recent": await world.members("recent")}


async def fill(world: World) -> None:
    """Some people with some segments."""
    await world.create("buyers", BUYERS)
    await world.create("recent", RECENT)
    await world.create("rest", '!segment("buyers") && traits.city == "Riyadh"')
    await world.ingest(
        order(1, user("ann")),
        order(2, mail("ann"), at=START - timedelta(days=2)),
        fact("3", user("bob"), traits={"city": "Riyadh"}),
        fact("4", user("ann"), mail("ann")),
    )
    await world.settle()


async def everything(world: World) -> dict[str, set[str]]:
    """The members of all segments that `fill` makes."""
    return {name: await world.members(name) for name in ("buyers", "recent", "rest")}


async def test_deleting_the_file_loses_nothing(start_segment: StartSegment) -> None:
    """The projection is built again from the feeds, and the evaluation of everybody finds no difference."""
    async with start_segment() as world:
        await fill(world)
        members, changes = await everything(world), await world.changes()
    for file in world.data_dir.iterdir():
        file.unlink()
    async with start_segment() as world:
        await world.settle()
        assert await everything(world) == members
        assert await world.changes() == changes
        await world.ingest(order(9, user("eve")))
        await world.settle()
        assert await world.who(*user("eve")) in await world.members("buyers")


async def test_a_crash_between_the_two_commits_loses_nothing(
    start_segment: StartSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When PostgreSQL has the new state and DuckDB has not, facts and people are looked at again; nothing changes."""
    async with start_segment() as world:
        await fill(world)
    commit, crashes = Projection.commit, iter([True])

    def crashing(self: Projection, *arguments: Any) -> None:
        if next(crashes, False):
            raise RuntimeError("a crash")
        commit(self, *arguments)

    monkeypatch.setattr(Projection, "commit", crashing)
    async with start_segment() as world:
        await world.ingest(order(8, user("dan")), fact("join", user("dan"), mail("ann")))
        await world.settle()
        assert next(crashes, None) is None
        assert await world.replayed() == await everything(world)
        assert await world.who(*user("dan")) in await world.members("buyers")


@pytest.mark.parametrize("wrong", ["of another epoch", "no token"])
async def test_an_expired_cursor_leads_to_a_new_projection(start_segment: StartSegment, wrong: str) -> None:
    """After a restore of the services it reads from, the segment service begins from the start by itself."""
    async with start_segment() as world:
        await fill(world)
        members, changes = await everything(world), await world.changes()
    path = world.data_dir / f"{world.workspace}.duckdb"
    with duckdb.connect(path) as connection:
        lost = token(BEGINNING, 99, "profile_facts", world.workspace) if wrong == "of another epoch" else wrong
        connection.execute("UPDATE position SET facts = ?", [lost])
    async with start_segment() as world:
        await world.settle()
        assert await everything(world) == members
        assert await world.changes() == changes


async def lineage(world: World) -> str:
    """What names the projection of a service that has stopped."""
    with duckdb.connect(world.data_dir / f"{world.workspace}.duckdb") as connection:
        [(found,)] = connection.execute("SELECT lineage FROM position").fetchall()
    return str(found)


@pytest.mark.parametrize(
    ("method", "error", "kept"),
    [
        ("affected", duckdb.OutOfMemoryException("no memory"), True),
        ("evaluate", duckdb.InternalException("broken"), False),
    ],
)
async def test_only_a_broken_projection_is_built_again(
    start_segment: StartSegment, monkeypatch: pytest.MonkeyPatch, method: str, error: duckdb.Error, kept: bool
) -> None:
    """What a new one would not mend leaves the file; what only some calls meet counts although others go well."""
    async with start_segment() as world:
        await fill(world)
    before = await lineage(world)
    work, errors = getattr(Projection, method), iter([error] * 3)

    def failing(self: Projection, *arguments: Any) -> Any:
        if found := next(errors, None):
            raise found
        return work(self, *arguments)

    monkeypatch.setattr(Projection, method, failing)
    async with start_segment() as world:
        while "third" not in await world.names():
            with suppress(DependencyUnavailableError):
                await world.create("third", "true")
        assert await world.members("third") == await world.members("buyers") | await world.members("rest")
    assert (await lineage(world) == before) is kept


async def test_a_second_writer_does_no_harm(start_segment: StartSegment, tmp_path: Path) -> None:
    """Whoever comes second finds the state moved on and begins again; the feed stays true."""
    # The first one moves it on with every tick; between two of them the second must have time to begin.
    calm = 5.0
    async with (
        start_segment(tick_seconds=calm) as world,
        start_segment(data_dir=tmp_path / "other", tick_seconds=calm) as other,
    ):
        await fill(world)
        await other.ingest(order(7, user("bob")))
        await other.settle()
        await becomes(world, "buyers", user("ann"), user("bob"))
        assert await world.replayed() == await everything(world)


async def test_a_rule_whose_plugin_is_gone_keeps_its_members(start_segment: StartSegment) -> None:
    """The others go on; the rule that is not understood stands still until it is changed."""
    async with start_segment() as world:
        await world.create("scored", "rfm.score() >= 3.0 || true")
        await world.create("buyers", BUYERS)
        await world.ingest(order(1, user("ann")))
        await becomes(world, "scored", user("ann"))
    async with start_segment(plugins=()) as world:
        await world.ingest(order(2, user("bob")))
        await becomes(world, "buyers", user("ann"), user("bob"))
        assert await world.members("scored") == {await world.who(*user("ann"))}
        await world.update("scored", "rule", rule=BUYERS)
        assert len(await world.members("scored")) == 2


async def test_a_rule_whose_plugin_comes_back_catches_up(start_segment: StartSegment) -> None:
    """Whoever changed while it was not understood is looked at, too."""
    async with start_segment() as world:
        await world.create("scored", f"{BUYERS} || rfm.score() >= 16.0")
    async with start_segment(plugins=()) as world:
        await world.ingest(order(1, user("ann"), at=START - timedelta(days=1)))
        await world.settle()
        assert await world.members("scored") == set()
    async with start_segment() as world:
        await becomes(world, "scored", user("ann"))


async def test_a_call_is_told_when_the_loop_cannot_start(start_segment: StartSegment) -> None:
    """Nobody waits for a projection that cannot be opened."""
    async with start_segment() as world:
        (world.data_dir / f"{world.workspace}.duckdb").mkdir()
        with pytest.raises(DependencyUnavailableError):
            await world.preview("true")


async def test_a_call_is_told_when_the_start_takes_long(
    start_segment: StartSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a projection that is being built."""

    async def endless(*_: Any) -> AsyncIterator[Batch]:
        await asyncio.Event().wait()
        yield [], []

    monkeypatch.setattr(Reading, "behind", endless)
    async with start_segment(start_seconds=0.2) as world:
        with pytest.raises(DependencyUnavailableError):
            await world.preview("true")


async def test_who_asks_does_not_wait_for_the_next_step(start_segment: StartSegment) -> None:
    """However long what arrives is left to gather, calls are answered between."""
    async with start_segment(step_seconds=3600.0) as world:
        await world.ingest(order(1, user("ann")))
        for _ in range(3):
            assert (await world.preview(BUYERS)).size == 1
            await asyncio.sleep(0.1)  # the loop goes on to its next step, which has nothing to do


async def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    """Whoever left while others were served makes nobody wait."""
    work = AsyncMock()
    request = Request(work)
    request.answer.cancel()
    await request.do(Mock())
    work.assert_not_called()


async def test_configured_workspaces_are_followed_from_the_start(start_segment: StartSegment, workspace: str) -> None:
    """Their projection is there before the first call needs it."""
    async with start_segment(workspaces=(workspace,)) as world:
        path = world.data_dir / f"{workspace}.duckdb"

        async def is_there() -> bool:
            return path.exists()

        await eventually(is_there)
