"""Segments through the contract."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sima.segment.v1 import segment_service_pb2 as pb
from sima_runtime.errors import (
    AlreadyExistsError,
    InUseError,
    InvalidFieldsError,
    NotFoundError,
    PageTokenError,
)
from sima_runtime.paging import next_page_token

from .builders import START, fact, mail, user
from .worlds import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUYERS = 'events("order_completed").exists()'


async def two_people(world: World) -> tuple[str, str]:
    """Ann has bought and lives in Riyadh, Bob has not and lives in Berlin."""
    await world.ingest(
        fact("1", user("ann"), mail("ann"), event="order_completed", properties={"total": 50}),
        fact("2", user("ann"), traits={"city": "Riyadh"}),
        fact("3", user("bob"), traits={"city": "Berlin"}),
    )
    return await world.who(*user("ann")), await world.who(*user("bob"))


async def test_a_new_segment_has_its_members(world: World) -> None:
    """Everything accepted before the call counts when the call answers."""
    ann, bob = await two_people(world)
    created = await world.create("buyers", BUYERS, "have bought")
    assert (created.name, created.rule, created.description, created.size) == ("buyers", BUYERS, "have bought", 1)
    assert await world.members("buyers") == {ann}
    assert (await world.create("others", f"!{BUYERS}")).size == 1
    assert await world.members("others") == {bob}
    assert await world.get("buyers") == created


async def test_members_say_since_when(world: World) -> None:
    """Entries carry the instant of evaluation at which they came about."""
    await two_people(world)
    await world.create("buyers", BUYERS)
    page = await world.call("ListMembers", pb.ListMembersRequest(name="buyers"))
    assert [member.entered_at.ToDatetime(START.tzinfo) for member in page.members] == [START]


async def test_creating_again_changes_nothing(world: World) -> None:
    """The same segment may be created twice; another one of the same name is refused."""
    first = await world.create("buyers", BUYERS)
    assert await world.create("buyers", BUYERS) == first
    with pytest.raises(AlreadyExistsError):
        await world.create("buyers", "true")


async def test_another_rule_moves_the_members(world: World) -> None:
    """After an update the members are those of the new rule, and the feed says who came and went."""
    ann, bob = await two_people(world)
    before = await world.create("some", BUYERS, "old")
    after = await world.update("some", rule='traits.city == "Berlin"', description="new")
    assert (after.description, after.size) == ("new", 1)
    assert after.created_at == before.created_at
    assert await world.members("some") == {bob}
    assert [(change.profile_id, change.kind) for change in (await world.changes())[-2:]] in (
        [(ann, pb.MEMBERSHIP_CHANGE_KIND_LEFT), (bob, pb.MEMBERSHIP_CHANGE_KIND_ENTERED)],
        [(bob, pb.MEMBERSHIP_CHANGE_KIND_ENTERED), (ann, pb.MEMBERSHIP_CHANGE_KIND_LEFT)],
    )


async def test_an_update_changes_only_what_it_names(world: World) -> None:
    """The mask says which fields count."""
    await two_people(world)
    await world.create("some", BUYERS, "old")
    assert (await world.update("some", "description", description="new", rule="false")).rule == BUYERS
    changed = await world.update("some", "rule", rule="true", description="other")
    assert (changed.rule, changed.description, changed.size) == ("true", "new", 2)
    with pytest.raises(InvalidFieldsError) as refused:
        await world.update("some", "size")
    assert [violation.field for violation in refused.value.violations] == ["update_mask"]


async def test_updates_at_the_same_time_do_not_undo_one_another(world: World) -> None:
    """Each changes its own field only."""
    await world.create("some", BUYERS, "old")
    updates = world.update("some", "rule", rule="true"), world.update("some", "description", description="new")
    await asyncio.gather(*updates)
    changed = await world.get("some")
    assert (changed.rule, changed.description) == ("true", "new")


async def test_a_deleted_segment_has_no_members(world: World) -> None:
    """Its members leave, and its name can be used again."""
    ann, _ = await two_people(world)
    await world.create("buyers", BUYERS)
    await world.delete("buyers")
    assert await world.replayed() == {"buyers": set()}
    assert list((await world.memberships(*user("ann"))).memberships) == []
    with pytest.raises(NotFoundError):
        await world.members("buyers")
    await world.create("buyers", BUYERS)
    assert await world.members("buyers") == {ann}


async def test_a_segment_that_is_referred_to_stays(world: World) -> None:
    """It can be deleted only after those whose rules refer to it."""
    await world.create("buyers", BUYERS)
    await world.create("others", '!segment("buyers")')
    with pytest.raises(InUseError) as refused:
        await world.delete("buyers")
    assert refused.value.used_by == "others"
    await world.delete("others")
    await world.delete("buyers")


async def test_members_follow_through_references(world: World) -> None:
    """When a rule changes, so do the members of the segments that build on it."""
    ann, bob = await two_people(world)
    await world.create("base", BUYERS)
    await world.create("rest", '!segment("base")')
    await world.create("rest_in_berlin", 'segment("rest") && traits.city == "Berlin"')
    assert await world.members("rest_in_berlin") == {bob}
    await world.update("base", "rule", rule='traits.city == "Berlin"')
    assert (await world.members("base"), await world.members("rest")) == ({bob}, {ann})
    assert await world.members("rest_in_berlin") == set()


@pytest.mark.parametrize("rule", ['segment("a")', 'segment("b")', 'segment("nobody")'])
async def test_rules_cannot_run_in_circles(world: World, rule: str) -> None:
    """A rule that refers to itself, through others or to nothing is refused with its place."""
    await world.create("a", "true")
    await world.create("b", 'segment("a")')
    with pytest.raises(InvalidFieldsError) as refused:
        await world.update("a", "rule", rule=rule)
    assert [violation.field for violation in refused.value.violations] == ["segment.rule"]
    assert refused.value.violations[0].description.startswith("line 1, column ")
    assert (await world.get("a")).rule == "true"


@pytest.mark.parametrize("name", ["vip", "كبار_العملاء", "مشتریان‌ویژه", "हिन्दी", "a-1", "x" * 100])
async def test_names_of_any_script(world: World, name: str) -> None:
    """Letters of any script, digits, `_` and `-` make a name, in whatever way its letters are composed."""
    await world.create(name, "true")
    assert (await world.get(name)).name == name


async def test_bad_fields_are_all_told(world: World) -> None:
    """One answer names every bad field, and every problem of the rule."""
    with pytest.raises(InvalidFieldsError) as refused:
        await world.create("two words", 'traits.age > "x" && nonsense(', "d" * 3000)
    fields = [violation.field for violation in refused.value.violations]
    assert fields[:2] == ["segment.name", "segment.description"]
    assert set(fields[2:]) == {"segment.rule"}


async def test_a_description_that_cannot_be_stored_is_refused(world: World) -> None:
    """Nobody else waits because of it: the next call is answered."""
    for text in ("\0", "a\0b"):
        with pytest.raises(InvalidFieldsError) as refused:
            await world.create("some", "true", text)
        assert [violation.field for violation in refused.value.violations] == ["segment.description"]
    await world.create("some", "true", "a description")


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a/b", "x" * 101])
async def test_other_names_are_refused(world: World, name: str) -> None:
    """A name is nothing else."""
    with pytest.raises(InvalidFieldsError):
        await world.create(name, "true")


async def test_what_is_not_there_is_not_found(world: World) -> None:
    """Every call says so."""
    with pytest.raises(NotFoundError):
        await world.get("nobody")
    with pytest.raises(NotFoundError):
        await world.update("nobody", rule="true")
    with pytest.raises(NotFoundError):
        await world.delete("nobody")
    with pytest.raises(NotFoundError):
        await world.members("nobody")
    with pytest.raises(NotFoundError):
        await world.memberships(*user("nobody"))


async def test_a_preview_stores_nothing(world: World) -> None:
    """It tells the size and some of the people, of what was accepted before."""
    ann, bob = await two_people(world)
    shown = await world.preview(BUYERS)
    assert (shown.size, list(shown.sample_profile_ids), list(shown.problems)) == (1, [ann], [])
    everybody = await world.preview("true", sample_size=1)
    assert everybody.size == 2
    assert list(everybody.sample_profile_ids) == [min(ann, bob)]
    assert await world.changes() == []
    listed = await world.call("ListSegments", pb.ListSegmentsRequest())
    assert list(listed.segments) == []


async def test_a_preview_can_refer_to_segments(world: World) -> None:
    """A tried rule may build on segments that there are, and on no others."""
    _, bob = await two_people(world)
    await world.create("buyers", BUYERS)
    assert list((await world.preview('!segment("buyers")')).sample_profile_ids) == [bob]
    problems = (await world.preview('segment("buyer")')).problems
    assert [problem.suggestion for problem in problems] == ["buyers"]


async def test_problems_of_a_rule_are_an_answer(world: World) -> None:
    """A rule that does not compile is no failure of the preview: all problems come with their places."""
    problems = (await world.preview('traits.age >= 3 &&\n  event("x").exists() && consent(5)')).problems
    assert len(problems) >= 2
    assert {problem.line for problem in problems} == {2}
    assert all(problem.message and problem.column > 0 for problem in problems)


async def test_segments_are_listed_page_by_page(world: World) -> None:
    """By name, to the end, and a token is good for the same list only."""
    names = [f"s{number}" for number in range(5)]
    for name in reversed(names):
        await world.create(name, "false")
    first = await world.call("ListSegments", pb.ListSegmentsRequest(page_size=3))
    second = await world.call("ListSegments", pb.ListSegmentsRequest(page_size=3, page_token=first.next_page_token))
    assert [segment.name for segment in (*first.segments, *second.segments)] == names
    assert second.next_page_token == ""
    with pytest.raises(PageTokenError):
        await world.call("ListMembers", pb.ListMembersRequest(name="s1", page_token=first.next_page_token))


@pytest.mark.parametrize(
    ("method", "position"),
    [
        *(("ListSegments", position) for position in ([], [7], ["\0"], ["a", "b"])),
        *(("ListMembers", position) for position in ([], [7], ["no id"], ["ab"])),
    ],
)
async def test_a_place_in_no_list_is_no_token(world: World, method: str, position: list[Any]) -> None:
    """A token that was not given is the caller's mistake, whatever it says."""
    await world.create("all", "true")
    request = pb.ListSegmentsRequest() if method == "ListSegments" else pb.ListMembersRequest(name="all")
    request.page_token = next_page_token(position, request)
    with pytest.raises(PageTokenError):
        await world.call(method, request)


async def test_memberships_are_found_by_any_identifier(world: World) -> None:
    """By every identifier of a person and by the profile id, with the time of entry."""
    ann, _ = await two_people(world)
    await world.create("buyers", BUYERS)
    await world.create("all", "true")
    for found in (
        await world.memberships(*user("ann")),
        await world.memberships("email", "ANN@mail.example.com"),
        await world.call("GetMemberships", pb.GetMembershipsRequest(profile_id=ann)),
    ):
        assert found.profile_id == ann
        assert [membership.segment for membership in found.memberships] == ["all", "buyers"]
        assert found.memberships[0].entered_at.ToDatetime(START.tzinfo) == START
        assert found.as_of.ToDatetime(START.tzinfo) == START
    assert [each.segment for each in (await world.memberships(*user("bob"))).memberships] == ["all"]


async def test_an_identifier_without_normal_form_is_refused(world: World) -> None:
    """The answer names the field as the caller wrote it."""
    with pytest.raises(InvalidFieldsError) as refused:
        await world.memberships("email", "no address")
    assert refused.value.violations[0].field.startswith("identifier")
    with pytest.raises(InvalidFieldsError):
        await world.call("GetMemberships", pb.GetMembershipsRequest())


async def test_the_feed_can_be_narrowed_to_segments(world: World) -> None:
    """Only changes of the segments asked for come, and a cursor goes on behind what was read."""
    await two_people(world)
    await world.create("buyers", BUYERS)
    await world.create("all", "true")
    assert {change.segment for change in await world.changes(segments=["all"])} == {"all"}
    assert len(await world.changes(segments=["all", "buyers"])) == 3
    cursor = await world.cursor()
    assert await world.changes(cursor) == []
    await world.delete("buyers")
    assert len(await world.changes(cursor)) == 1


async def test_a_reader_of_a_segment_hears_of_its_end(world: World) -> None:
    """Who was away when it was deleted goes on with the same segments and learns that its members left."""
    await two_people(world)
    await world.create("buyers", BUYERS)
    cursor = await world.cursor()
    await world.delete("buyers")
    left = await world.changes(cursor, ["buyers"])
    assert [change.kind for change in left] == [pb.MEMBERSHIP_CHANGE_KIND_LEFT]


async def test_the_feed_of_a_segment_comes_however_its_name_is_composed(world: World) -> None:
    """Letters with accents may be written as one character or as two."""
    await two_people(world)
    await world.create("caf\u00e9", "true")
    assert len(await world.changes(segments=["cafe\u0301"])) == 2


async def test_the_feed_of_no_segment_is_refused(world: World) -> None:
    """A reader who misspelt a name does not wait for ever."""
    await world.create("buyers", BUYERS)
    with pytest.raises(NotFoundError):
        await world.changes(segments=["buyers", "byers"])
    with pytest.raises(InvalidFieldsError) as refused:
        await world.changes(segments=["buyers", "two words", ""])
    assert [violation.field for violation in refused.value.violations] == ["segments[1]", "segments[2]"]


async def test_workspaces_do_not_see_each_other(world: World, workspace: str) -> None:
    """Neither segments nor people nor changes of one workspace show in another."""
    await two_people(world)
    await world.create("buyers", BUYERS)
    other = replace(world, workspace=f"{workspace}-2")
    assert (await other.preview("true")).size == 0
    assert await other.changes() == []
    with pytest.raises(NotFoundError):
        await other.get("buyers")
    assert (await other.create("buyers", "false")).size == 0
    assert (await world.get("buyers")).size == 1
