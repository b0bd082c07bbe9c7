"""What cannot be taken is refused as a whole, with each field that is wrong and what was expected, never its value."""

from typing import Any

import pytest
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.errors import UNLISTED, ContradictionError, InvalidFieldsError, NotFoundError

from .conftest import Named, Replica, cookie, deciding, identifier, identifier_set, lookup_key, mail, together, user

#: A megabyte.
HUGE = "secret! " * (1 << 17)
ADA, EVE = identifier(mail("ada")), identifier(mail("eve"))
LARGE = Identifier(kind="user_id", value=HUGE)
UNKNOWN = Identifier(kind="shoe", value="secret")
CONTROL = Identifier(kind="user_id", value="secret\x1b[2J")
NO_KIND = Identifier(value="secret")
BAD = {
    "large": (LARGE, "value"),
    "unknown": (UNKNOWN, "kind"),
    "control": (CONTROL, "value"),
    "no kind": (NO_KIND, "kind"),
}
BY = deciding()


def policy(**rules: Any) -> pb.SetIdentityPolicyRequest:
    """A call that sets a policy."""
    return pb.SetIdentityPolicyRequest(policy=pb.IdentityPolicy(**rules), deciding=BY)


def naming(bad: Identifier) -> dict[str, tuple[str, Any]]:
    """All calls that name identifiers, with a bad one among them; each by the path of it."""
    seen = identifier_set(together(mail("ada")))
    seen.identifiers.append(bad)
    return {
        "sets[0].identifiers[1]": ("Resolve", pb.ResolveRequest(sets=[seen])),
        "keys[0].identifier": ("Lookup", pb.LookupRequest(keys=[pb.LookupKey(identifier=bad)])),
        "other": ("ExplainLink", pb.ExplainLinkRequest(identifier=ADA, other=bad)),
        "identifier": ("NeverLink", pb.NeverLinkRequest(identifier=bad, other=ADA, deciding=BY)),
        "others[0]": ("Split", pb.SplitRequest(identifiers=[ADA], others=[bad], deciding=BY)),
        "identifiers[1]": ("EraseIdentifiers", pb.EraseIdentifiersRequest(identifiers=[ADA, bad], deciding=BY)),
        "policy.blocked_values[0]": ("SetIdentityPolicy", policy(blocked_values=[bad])),
    }


async def refused(identity: Replica, workspace: str, rpc: str, request: Any) -> dict[str, str]:
    """What a call says is wrong, by field."""
    with pytest.raises(InvalidFieldsError) as raised:
        await identity.client.call(getattr(identity.stub, rpc), request, workspace=workspace)
    assert "secret" not in str(raised.value)
    return {violation.field: violation.description for violation in raised.value.violations}


@pytest.mark.parametrize("path", naming(ADA))
@pytest.mark.parametrize("bad", BAD)
async def test_an_identifier_that_is_none_is_named(identity: Replica, workspace: str, path: str, bad: str) -> None:
    """One of a megabyte, of an unknown kind, of none, or with control characters, wherever it stands."""
    given, field = BAD[bad]
    said = await refused(identity, workspace, *naming(given)[path])
    assert list(said) == [f"{path}.{field}"]
    assert "expected" in said[f"{path}.{field}"]
    assert await identity.changes(workspace) == []


BY_WHOM = {
    "actor": pb.Deciding(actor=HUGE, reason="r", request_id="1"),
    "reason": pb.Deciding(actor="a", reason=HUGE, request_id="1"),
    "request_id": pb.Deciding(actor="a", reason="r", request_id=HUGE),
}


@pytest.mark.parametrize(
    "rpc", ["NeverLink", "AlwaysLink", "Split", "Withdraw", "SetIdentityPolicy", "EraseIdentifiers"]
)
@pytest.mark.parametrize("field", BY_WHOM)
async def test_who_decides_and_why_is_said_shortly(identity: Replica, workspace: str, rpc: str, field: str) -> None:
    """A megabyte, control characters in a name, nothing but blanks, or nothing at all are refused."""
    requests: dict[str, Any] = {
        "NeverLink": pb.NeverLinkRequest(identifier=ADA, other=EVE),
        "AlwaysLink": pb.AlwaysLinkRequest(identifier=ADA, other=EVE),
        "Split": pb.SplitRequest(identifiers=[ADA], others=[EVE]),
        "WithdrawDecision": pb.WithdrawDecisionRequest(decision_id="0" * 32),
        "SetIdentityPolicy": pb.SetIdentityPolicyRequest(policy=pb.IdentityPolicy()),
        "EraseIdentifiers": pb.EraseIdentifiersRequest(identifiers=[ADA]),
    }
    rpc = "WithdrawDecision" if rpc == "Withdraw" else rpc
    blank = pb.Deciding(actor="   ", reason=" \u3000", request_id="\u00a0")
    for by in (BY_WHOM[field], pb.Deciding(actor="a\n", reason="r\0", request_id="1\n"), blank, pb.Deciding()):
        requests[rpc].deciding.CopyFrom(by)
        said = await refused(identity, workspace, rpc, requests[rpc])
        assert f"deciding.{field}" in said
        assert said[f"deciding.{field}"].startswith("expected a text that is not blank, at most")


MANY = [identifier(cookie(str(number))) for number in range(10_000)]
EMPTY_SET = identifier_set(together())
CROWDED_SET = identifier_set(together(*(cookie(str(number)) for number in range(10_000))))
OTHERS = {
    "an empty call": ("Resolve", pb.ResolveRequest(), "sets"),
    "an empty set": ("Resolve", pb.ResolveRequest(sets=[EMPTY_SET]), "sets[0].identifiers"),
    "a crowded set": ("Resolve", pb.ResolveRequest(sets=[CROWDED_SET]), "sets[0].identifiers"),
    "nobody to look up": ("Lookup", pb.LookupRequest(), "keys"),
    "a lookup of an id of a megabyte": ("Lookup", pb.LookupRequest(keys=[lookup_key(HUGE)]), "keys[0].profile_id"),
    "a split of nobody": ("Split", pb.SplitRequest(deciding=BY), "identifiers"),
    "a split of ten thousand": ("Split", pb.SplitRequest(identifiers=MANY, deciding=BY), "identifiers"),
    "nobody to erase": ("EraseIdentifiers", pb.EraseIdentifiersRequest(deciding=BY), "identifiers"),
    "ten thousand to erase": (
        "EraseIdentifiers", pb.EraseIdentifiersRequest(identifiers=MANY, deciding=BY), "identifiers",
    ),
    "a profile of a megabyte to erase": (
        "EraseIdentifiers", pb.EraseIdentifiersRequest(profile_id=HUGE, deciding=BY), "profile_id",
    ),
    "no policy": ("SetIdentityPolicy", pb.SetIdentityPolicyRequest(deciding=BY), "policy"),
    "a pattern of a megabyte": (
        "SetIdentityPolicy",
        policy(blocked_patterns=[pb.BlockedPattern(kind="email", pattern=HUGE)]),
        "policy.blocked_patterns[0].pattern",
    ),
    "an empty pattern": (
        "SetIdentityPolicy",
        policy(blocked_patterns=[pb.BlockedPattern(kind="email")]),
        "policy.blocked_patterns[0].pattern",
    ),
    "a pattern that grows without end": (
        "SetIdentityPolicy",
        policy(blocked_patterns=[pb.BlockedPattern(kind="email", pattern="((a{100}){100}){100}")]),
        "policy.blocked_patterns[0].pattern",
    ),
    "too many patterns": (
        "SetIdentityPolicy",
        policy(blocked_patterns=[pb.BlockedPattern(kind="email", pattern="a")] * 1_001),
        "policy.blocked_patterns",
    ),
    "too many blocked values": ("SetIdentityPolicy", policy(blocked_values=[ADA] * 10_001), "policy.blocked_values"),
    "somebody who is one with themselves": (
        "AlwaysLink", pb.AlwaysLinkRequest(identifier=ADA, other=ADA, deciding=BY), "other",
    ),
    "somebody who is not one with themselves": (
        "NeverLink", pb.NeverLinkRequest(identifier=ADA, other=ADA, deciding=BY), "other",
    ),
    "why somebody is themselves": ("ExplainLink", pb.ExplainLinkRequest(identifier=ADA, other=ADA), "other"),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
async def test_what_is_empty_too_much_or_makes_no_sense_is_named(identity: Replica, workspace: str, what: str) -> None:
    """The field, and what was expected."""
    rpc, request, field = OTHERS[what]
    said = await refused(identity, workspace, rpc, request)
    assert list(said) == [field]
    assert "expected" in said[field]
    assert await identity.changes(workspace) == []


async def test_good_sets_beside_bad_ones_are_not_recorded(identity: Replica, workspace: str) -> None:
    """A call is taken whole or not at all; of many bad sets as many are named as fit, and the rest is counted."""
    good, bad = identifier_set(together(mail("ada"))), identifier_set(together(Named("shoe", "secret")))
    said = await refused(identity, workspace, "Resolve", pb.ResolveRequest(sets=[good] + [bad] * 9_999))
    assert "sets[1].identifiers[0].kind" in said
    assert UNLISTED in said
    assert not (await identity.lookup(workspace, [mail("ada")]))[0].identifiers


async def test_a_decision_about_somebody_unseen_is_none(identity: Replica, workspace: str) -> None:
    """Neither is it kept for later: who is seen afterwards is nobody's decision."""
    await identity.resolve(workspace, [together(mail("ada"))])
    for call, field in (
        (identity.never(workspace, mail("ada"), mail("eve")), "other"),
        (identity.always(workspace, mail("eve"), mail("ada")), "identifier"),
        (identity.split(workspace, [mail("ada")], [mail("eve")]), "others[0]"),
        (identity.split(workspace, [mail("ada"), mail("ada"), mail("eve")]), "identifiers[2]"),
        (identity.explain(workspace, mail("ada"), mail("eve")), "other"),
    ):
        with pytest.raises(NotFoundError) as raised:
            await call
        assert (raised.value.resource, raised.value.name) == ("identifier", field)
    await identity.resolve(workspace, [together(mail("eve"))])
    assert not (await identity.decisions(workspace, mail("eve"))).decisions


async def test_a_decision_that_contradicts_itself_or_another_is_refused(identity: Replica, workspace: str) -> None:
    """On both sides of a split; and whatever pair of many the contrary was decided about, by whichever call."""
    named = [mail("ada"), user("ada"), mail("eve")]
    await identity.resolve(workspace, [together(one) for one in named])
    with pytest.raises(InvalidFieldsError, match="others: expected other identifiers"):
        await identity.split(workspace, named[:2], named[1:])
    made = await identity.always(workspace, user("ada"), mail("eve"))
    with pytest.raises(ContradictionError) as raised:
        await identity.split(workspace, named[:2], named[2:])
    assert raised.value.decision_id == made.decision.id
    assert len((await identity.decisions(workspace, mail("eve"))).decisions) == 1


async def test_decisions_in_longer_circles_have_the_same_end_in_any_order(identity: Replica, workspace: str) -> None:
    """A circle of those who are one is one person; with one pair that is not, the weakest link does not bind."""
    circle = [user("a"), mail("b"), mail("c"), cookie("d")]
    await identity.resolve(workspace, [together(one) for one in circle])
    links = list(zip(circle, circle[1:] + circle[:1], strict=True))
    for one, other in links:
        await identity.always(workspace, one, other)
    assert len(set((await identity.states(workspace, circle)).values())) == 1
    await identity.never(workspace, circle[0], circle[2])
    first = await identity.states(workspace, circle)
    again = f"{workspace}again"
    await identity.resolve(again, [together(one) for one in circle])
    await identity.never(again, circle[0], circle[2])
    for one, other in reversed(links):
        await identity.always(again, other, one)
    second = await identity.states(again, circle)
    assert first[circle[0]] != first[circle[2]]
    assert [first[one] == first[other] for one, other in links] == [
        second[one] == second[other] for one, other in links
    ]
