"""Decisions through the service: made, shown before, listed, taken back, and what refuses them."""

import asyncio

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.errors import (
    AlreadyExistsError,
    ContradictionError,
    InvalidFieldsError,
    NotFoundError,
    PageTokenError,
)

from .conftest import Named, Replica, StartReplica, cookie, device, mail, policy, together, user

ADA, EVE, CARD = mail("ada"), mail("eve"), Named("loyalty_card", "4711")


async def profiles(replica: Replica, workspace: str, *named: Named) -> list[str]:
    """The profile of each identifier."""
    return [result.profile_id for result in await replica.lookup(workspace, named)]


async def merged(replica: Replica, workspace: str) -> str:
    """Two people of whom a mistyped card made one; returns the profile that has both."""
    await replica.resolve(workspace, [together(ADA, user("ada"))])
    await replica.resolve(workspace, [together(EVE, user("eve"), cookie("e"))])
    await replica.resolve(workspace, [together(user("ada"), CARD), together(user("eve"), CARD)])
    [profile] = set(await profiles(replica, workspace, ADA, EVE))
    return profile


async def test_a_split_takes_a_wrong_merge_back(identity: Replica, workspace: str) -> None:
    """Who is named becomes somebody else again, with all that evidence gives them, and former ids resolve."""
    await identity.resolve(workspace, [together(ADA, user("ada"))])
    await identity.resolve(workspace, [together(EVE, user("eve"), cookie("e"))])
    before = await profiles(identity, workspace, ADA, EVE)
    profile = await merged(identity, workspace)
    outcome = await identity.split(workspace, [user("eve")], [user("ada"), CARD])
    assert {change.identifier.value for change in outcome.changes} == {EVE.value, "eve", "e"}
    assert {change.previous_profile_id for change in outcome.changes} == {profile}
    assert await profiles(identity, workspace, ADA, user("ada"), CARD) == [before[0]] * 3
    assert await profiles(identity, workspace, EVE, user("eve"), cookie("e")) == [before[1]] * 3
    assert await profiles_by_id(identity, workspace, *before) == before


async def profiles_by_id(replica: Replica, workspace: str, *ids: str) -> list[str]:
    """The profile of today behind each id."""
    return [result.profile_id for result in await replica.lookup(workspace, ids)]


async def test_a_split_needs_no_other_side(identity: Replica, workspace: str) -> None:
    """Without one, those named are apart from the strongest identifier of the profile that is not named."""
    await merged(identity, workspace)
    outcome = await identity.split(workspace, [user("eve"), EVE])
    [strongest] = outcome.decision.others
    assert (strongest.kind, strongest.value) == ("user_id", "ada")
    ada, eve, card = await profiles(identity, workspace, ADA, EVE, CARD)
    assert ada != eve
    assert card in {ada, eve}


async def test_new_evidence_does_not_join_what_was_split(identity: Replica, workspace: str) -> None:
    """Whatever comes later, and however often it is said."""
    await merged(identity, workspace)
    await identity.split(workspace, [user("eve")], [user("ada"), CARD])
    await identity.resolve(workspace, [together(ADA, EVE, minute=number) for number in range(3)])
    await identity.resolve(workspace, [together(user("ada"), user("eve"))])
    ada, eve = await profiles(identity, workspace, user("ada"), user("eve"))
    assert ada != eve


async def test_the_feed_says_who_moved_and_by_which_decision(identity: Replica, workspace: str) -> None:
    """A reader can tell a decision from evidence."""
    await merged(identity, workspace)
    outcome = await identity.split(workspace, [user("eve")], [user("ada"), CARD])
    moved = [change for change in await identity.changes(workspace) if change.decision_id]
    assert {change.decision_id for change in moved} == {outcome.decision.id}
    assert {change.cause for change in moved} == {pb.CHANGE_CAUSE_DECISION}
    assert len(moved) == len(outcome.changes) == 3
    listed = (await identity.list_changes(workspace, EVE)).changes
    assert [change.cause for change in listed][-1] == pb.CHANGE_CAUSE_DECISION


async def test_a_decision_can_be_seen_before_it_is_made(identity: Replica, workspace: str) -> None:
    """A preview shows the same changes, and nothing of it stays."""
    await merged(identity, workspace)
    before, feed = await profiles(identity, workspace, ADA, EVE), await identity.changes(workspace)
    shown = await identity.split(workspace, [user("eve")], [user("ada"), CARD], preview=True)
    assert (shown.decision.id, shown.decision.HasField("decided_at")) == ("", False)
    assert await profiles(identity, workspace, ADA, EVE) == before
    assert await identity.changes(workspace) == feed
    assert not (await identity.decisions(workspace, user("eve"))).decisions
    made = await identity.split(workspace, [user("eve")], [user("ada"), CARD])
    for change in made.changes:
        change.decision_id = ""
    assert list(made.changes) == list(shown.changes)


async def test_a_decision_is_kept_with_actor_reason_and_request(identity: Replica, workspace: str) -> None:
    """Whoever asks later learns who said so, and why."""
    await merged(identity, workspace)
    await identity.split(workspace, [EVE], [ADA], actor="ines", reason="two passports", request_id="ticket-7")
    [decision] = (await identity.decisions(workspace, EVE)).decisions
    assert (decision.actor, decision.reason, decision.request_id) == ("ines", "two passports", "ticket-7")
    assert decision.kind == pb.DECISION_KIND_SPLIT
    assert [one.value for one in decision.identifiers] == [EVE.value]
    assert [one.value for one in decision.others] == [ADA.value]
    assert decision.HasField("decided_at")
    assert not decision.HasField("withdrawn_at")


async def test_the_same_request_decides_once(identity: Replica, workspace: str) -> None:
    """A retry answers what was decided; the same id for something else is refused."""
    await merged(identity, workspace)
    first = await identity.never(workspace, ADA, EVE, request_id="r1")
    again = await identity.never(workspace, ADA, EVE, request_id="r1")
    assert again.decision == first.decision
    assert not again.changes
    with pytest.raises(AlreadyExistsError):
        await identity.always(workspace, ADA, EVE, request_id="r1")


async def test_the_same_request_takes_back_once(identity: Replica, workspace: str) -> None:
    """The id of a call that took one decision back does so with no other one, and makes none; nor the reverse."""
    await merged(identity, workspace)
    one = await identity.never(workspace, ADA, EVE, request_id="r1")
    other = await identity.never(workspace, ADA, user("eve"), request_id="r2")
    taken = await identity.withdraw(workspace, one.decision.id, request_id="w1")
    assert (await identity.withdraw(workspace, one.decision.id, request_id="w1")).decision == taken.decision
    for call in (
        identity.withdraw(workspace, other.decision.id, request_id="w1"),
        identity.withdraw(workspace, other.decision.id, request_id="r1"),
        identity.withdraw(workspace, other.decision.id, request_id="r2"),
        identity.never(workspace, CARD, EVE, request_id="w1"),
    ):
        with pytest.raises(AlreadyExistsError):
            await call
    held = {
        decision.id for decision in (await identity.decisions(workspace, ADA)).decisions if not decision.withdrawn_by
    }
    assert held == {other.decision.id}


async def test_who_decides_the_same_again_is_told_so(identity: Replica, workspace: str) -> None:
    """And who takes one of the two back, that the other holds."""
    await merged(identity, workspace)
    first = await identity.never(workspace, ADA, EVE)
    again = await identity.split(workspace, [EVE, user("eve")], [ADA], request_id="r2")
    retried = await identity.split(workspace, [EVE, user("eve")], [ADA], request_id="r2")
    assert (list(first.also_decided), list(again.also_decided)) == ([], [first.decision.id])
    assert retried.also_decided == again.also_decided
    back = await identity.withdraw(workspace, first.decision.id)
    assert (list(back.also_decided), list(back.changes)) == ([again.decision.id], [])
    assert list((await identity.withdraw(workspace, again.decision.id)).also_decided) == []


async def test_a_decision_that_is_taken_back_leaves_nothing_behind(identity: Replica, workspace: str) -> None:
    """The people are as if it had never been made; the decision is still listed, with who took it back."""
    await merged(identity, workspace)
    before = await identity.states(workspace, [ADA, EVE, CARD, cookie("e")])
    made = await identity.split(workspace, [user("eve")], [user("ada"), CARD])
    shown = await identity.withdraw(workspace, made.decision.id, preview=True)
    assert await identity.states(workspace, [ADA, EVE, CARD, cookie("e")]) != before
    outcome = await identity.withdraw(workspace, made.decision.id, actor="omar", reason="it was one after all")
    assert len(outcome.changes) == len(shown.changes) == 3
    assert await identity.states(workspace, [ADA, EVE, CARD, cookie("e")]) == before
    [listed] = (await identity.decisions(workspace, user("eve"))).decisions
    assert listed == outcome.decision
    assert (listed.withdrawn_by, listed.withdrawal_reason) == ("omar", "it was one after all")
    again = await identity.withdraw(workspace, made.decision.id, actor="somebody else")
    assert again.decision == listed
    assert not again.changes


async def test_a_decision_is_taken_back_once(start_replica: StartReplica, workspace: str) -> None:
    """Of several who do so at the same time, through two replicas, one is named, and all are told the same."""
    replicas = [await start_replica(), await start_replica()]
    await replicas[0].resolve(workspace, [together(ADA), together(EVE)])
    made = (await replicas[0].never(workspace, ADA, EVE)).decision.id  # which moves nobody, so that no row tells of it
    calls = (replicas[number % 2].withdraw(workspace, made, actor=f"actor {number}") for number in range(8))
    outcomes = await asyncio.gather(*calls)
    [listed] = (await replicas[0].decisions(workspace, EVE)).decisions
    assert {outcome.decision.withdrawn_by for outcome in outcomes} == {listed.withdrawn_by}


async def test_two_without_evidence_can_be_one(identity: Replica, workspace: str) -> None:
    """The older profile has both."""
    await identity.resolve(workspace, [together(ADA)])
    await identity.resolve(workspace, [together(EVE, cookie("e"))])
    older, younger = await profiles(identity, workspace, ADA, EVE)
    outcome = await identity.always(workspace, EVE, ADA)
    assert await profiles(identity, workspace, ADA, EVE, cookie("e")) == [older] * 3
    assert {change.previous_profile_id for change in outcome.changes} == {younger}
    await identity.withdraw(workspace, outcome.decision.id)
    assert await profiles(identity, workspace, ADA, EVE) == [older, younger]


async def test_a_family_tablet_can_be_given_to_one_of_them(identity: Replica, workspace: str) -> None:
    """Or taken from one of two, so that it is the other's."""
    await identity.resolve(workspace, [together(ADA, device("t")), together(EVE, device("t"))])
    assert (await identity.states(workspace, [device("t")]))[device("t")].shared
    given = await identity.always(workspace, device("t"), ADA)
    ada, eve, tablet = await profiles(identity, workspace, ADA, EVE, device("t"))
    assert (tablet, ada != eve) == (ada, True)
    await identity.withdraw(workspace, given.decision.id)
    await identity.never(workspace, device("t"), ADA)
    ada, eve, tablet = await profiles(identity, workspace, ADA, EVE, device("t"))
    assert (tablet, ada != eve) == (eve, True)


async def test_the_contrary_of_what_holds_is_refused(identity: Replica, workspace: str) -> None:
    """The error names the decision; once it is withdrawn, the other can be made."""
    await identity.resolve(workspace, [together(ADA), together(EVE)])
    made = await identity.always(workspace, ADA, EVE)
    with pytest.raises(ContradictionError) as refused:
        await identity.never(workspace, EVE, ADA)
    assert refused.value.decision_id == made.decision.id
    await identity.withdraw(workspace, made.decision.id)
    await identity.never(workspace, EVE, ADA)
    with pytest.raises(ContradictionError):
        await identity.always(workspace, ADA, EVE)


async def test_decisions_in_a_circle_have_a_defined_end(identity: Replica, workspace: str) -> None:
    """Two are one, and two are one, but the ends are not: one of the two decisions does not bind."""
    await identity.resolve(workspace, [together(user("a")), together(mail("b")), together(CARD)])
    await identity.never(workspace, user("a"), CARD)
    await identity.always(workspace, user("a"), mail("b"))
    await identity.always(workspace, mail("b"), CARD)
    one, between, other = await profiles(identity, workspace, user("a"), mail("b"), CARD)
    assert one != other
    assert between == one  # a user id and an address bind before an address and a card


async def test_large_neighbourhoods_follow_a_decision_beside_the_call(
    start_replica: StartReplica, workspace: str
) -> None:
    """The answer says that it is pending, and the feed names the decision."""
    identity = await start_replica(neighbourhood_limit=3, settle_seconds=0.01)
    await identity.resolve(workspace, [together(ADA, *(cookie(f"c{number}") for number in range(5)))])
    await identity.resolve(workspace, [together(ADA, EVE)])
    await until_people(identity, workspace, 1)
    outcome = await identity.never(workspace, ADA, EVE)
    assert outcome.pending
    await until_people(identity, workspace, 2)
    moved = [change for change in await identity.changes(workspace) if change.cause == pb.CHANGE_CAUSE_DECISION]
    assert {change.decision_id for change in moved} == {outcome.decision.id}


async def until_people(replica: Replica, workspace: str, count: int) -> None:
    """Wait until Ada and Eve are so many people."""
    async with asyncio.timeout(60):
        while len(set(await profiles(replica, workspace, ADA, EVE))) != count:  # noqa: ASYNC110  # the background gets there
            await asyncio.sleep(0.01)


async def test_decisions_are_listed_page_by_page(identity: Replica, workspace: str) -> None:
    """Newest first, by an identifier or by any of its profile's; a token is good for its own list only."""
    others = [mail(f"other{number}") for number in range(3)]
    await identity.resolve(workspace, [together(ADA, cookie("a")), *(together(other) for other in others)])
    made = [(await identity.never(workspace, ADA, other)).decision.id for other in others]
    page = await identity.decisions(workspace, ADA, page_size=2)
    rest = await identity.decisions(workspace, ADA, page_size=2, page_token=page.next_page_token)
    assert [decision.id for decision in (*page.decisions, *rest.decisions)] == made[::-1]
    assert rest.next_page_token == ""
    [profile] = await profiles(identity, workspace, cookie("a"))
    assert len((await identity.decisions(workspace, profile)).decisions) == 3
    with pytest.raises(PageTokenError):
        await identity.decisions(workspace, cookie("a"), page_token=page.next_page_token)


async def test_what_cannot_be_decided_is_told(identity: Replica, start_replica: StartReplica, workspace: str) -> None:
    """Each error names the field, and says what was expected."""
    await merged(identity, workspace)
    await identity.resolve(workspace, [together(mail("else")), together(Named("email", "test@test.com"))])
    with pytest.raises(NotFoundError):
        await identity.never(workspace, ADA, mail("nobody"))
    with pytest.raises(NotFoundError):
        await identity.withdraw(workspace, "00" * 16)
    for refused, expected in (
        (identity.never(workspace, ADA, ADA), "other: expected another identifier"),
        (identity.never(workspace, ADA, Named("email", "test@test.com")), "blocked"),
        (identity.split(workspace, []), "identifiers: expected 1 to"),
        (identity.split(workspace, [ADA], [ADA]), "others: expected other identifiers"),
        (identity.split(workspace, [ADA, mail("else")]), "identifiers: expected identifiers of one profile"),
        (identity.split(workspace, [mail("else")]), "identifiers: expected not all"),
        (identity.split(workspace, [ADA], [Named("email", "nonsense")]), r"others\[0\].value: email"),
        (identity.never(workspace, ADA, EVE, actor="", reason=""), "deciding.actor: .*deciding.reason: "),
        (identity.withdraw(workspace, "nonsense"), "decision_id: expected the id"),
    ):
        with pytest.raises(InvalidFieldsError, match=expected):
            await refused
    crowded = await start_replica(policy(phone={"shared_above": 1}))
    number = Named("phone", "+966551000001")
    await crowded.resolve(workspace, [together(number, mail("x")), together(number, mail("y"))])
    with pytest.raises(InvalidFieldsError, match="seen with too many"):
        await crowded.always(workspace, number, mail("x"))


async def test_a_huge_split_is_refused(identity: Replica, workspace: str) -> None:
    """More pairs than a call can carry."""
    sides = [[Identifier(kind="email", value=f"{side}{n}@mail.example.com") for n in range(101)] for side in "ab"]
    request = pb.SplitRequest(identifiers=sides[0], others=sides[1])
    with pytest.raises(InvalidFieldsError, match="at most 10000 pairs"):
        await identity.client.call(identity.stub.Split, request, workspace=workspace)
