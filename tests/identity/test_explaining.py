"""Why two identifiers are one person, or what keeps them apart."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from sima.identity.v1 import identity_service_pb2 as pb
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Decisions, Edge, Refusal, Verdict
from sima_identity.explaining import Link, chain, remedy
from sima_identity.guards import Member, Surroundings
from sima_identity.records import StoredEdge
from sima_identity.store import decisions, links
from sima_runtime.database import Database, execute
from sima_runtime.errors import InvalidFieldsError, NotFoundError

from .conftest import Named, Replica, Sighted, StartReplica, cookie, device, mail, policy, together, user
from .graphs import EDGES, TIGHT, UNIVERSE, connected, key, nodes
from .test_decided_clustering import DECISIONS
from .test_hubs import until_counted

ADA, EVE = mail("ada"), mail("eve")


def way(response: pb.ExplainLinkResponse) -> list[set[str]]:
    """The values of each link of a chain."""
    return [{link.identifier.value, link.other.value} for link in response.chain]


async def test_the_shortest_way_shows_source_message_and_time(identity: Replica, workspace: str) -> None:
    """Whoever asks can look the messages up."""
    card = Named("loyalty_card", "4711")
    sets = [
        Sighted([ADA, card], 3, "till", "receipt-9"),
        Sighted([ADA, card], 2, "shop", "order-1"),
        Sighted([card, user("a")], 5, "crm", "contact-3"),
        Sighted([ADA, cookie("c")]),
        Sighted([cookie("c"), cookie("d")]),
    ]
    await identity.resolve(workspace, sets)
    response = await identity.explain(workspace, ADA, user("a"))
    assert (response.linked, response.partial) == (True, False)
    assert way(response) == [{ADA.value, "4711"}, {"4711", "a"}]
    first, second = response.chain
    assert [(one.source, one.message_id) for one in first.evidence] == [("shop", "order-1"), ("till", "receipt-9")]
    assert [one.message_id for one in second.evidence] == ["contact-3"]
    assert first.evidence[0].first_seen_at.seconds - first.evidence[1].first_seen_at.seconds == -60
    assert {link.refusal for link in response.chain} == {pb.LINK_REFUSAL_UNSPECIFIED}
    assert {link.remedy for link in response.chain} == {""}


async def test_what_keeps_two_apart_is_named_with_what_would_have_to_change(
    start_replica: StartReplica, workspace: str
) -> None:
    """Each guard by its reason: a family's tablet, a limit, junk, a hub, a decision."""
    identity = await start_replica(policy(national_id={"most_per_profile": 1}, phone={"shared_above": 2}))
    junk, number = Named("email", "test@test.com"), Named("phone", "+966551000001")
    passes = [Named("national_id", str(number)) for number in (1001, 1002)]
    await identity.resolve(workspace, [together(ADA, device("t")), together(EVE, device("t"))])
    await identity.resolve(workspace, [together(passes[0], user("p")), together(user("p"), passes[1], minute=1)])
    await identity.resolve(workspace, [together(user("j"), junk), together(user("k"), junk)])
    await identity.resolve(workspace, [together(number, user(f"h{each}")) for each in range(3)])
    await identity.resolve(workspace, [together(user("n"), user("m"))])
    decided = await identity.never(workspace, user("n"), user("m"))
    for one, other, refusal in (
        (ADA, EVE, pb.LINK_REFUSAL_SEVERAL_PEOPLE),
        (passes[0], passes[1], pb.LINK_REFUSAL_KIND_LIMIT),
        (user("j"), user("k"), pb.LINK_REFUSAL_BLOCKED),
        (user("h0"), user("h2"), pb.LINK_REFUSAL_HUB),
        (user("n"), user("m"), pb.LINK_REFUSAL_NEVER_LINK),
    ):
        response = await identity.explain(workspace, one, other)
        refused = [link for link in response.chain if link.refusal]
        assert not response.linked
        assert {link.refusal for link in refused} == {refusal}
        assert all(link.remedy for link in refused)
    assert list(refused[0].decision_ids) == list(refused[0].kept_apart_by) == [decided.decision.id]


async def test_a_limit_is_told_with_its_numbers(
    start_replica: StartReplica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """What the policy allows, and what there would be: nobody has to count by hand what would have to change."""
    limits = {
        "national_id": {"most_per_profile": 1},
        "phone": {"shared_above": 2},
        "loyalty_card": {"most_per_period": 2},
    }
    identity = await start_replica(policy(**limits, most_identifiers=8), count_seconds=0.1)
    number, passes = Named("phone", "+966551000001"), [Named("national_id", str(each)) for each in (1001, 1002)]
    cards = [Named("loyalty_card", f"47{each}") for each in range(11, 14)]
    crowd = [user(f"s{each}") for each in range(9)]
    await identity.resolve(workspace, [together(passes[0], user("p")), together(user("p"), passes[1], minute=1)])
    await identity.resolve(workspace, [together(number, user(f"h{each}")) for each in range(3)])
    await identity.resolve(workspace, [together(card, user("c"), minute=each) for each, card in enumerate(cards)])
    await identity.resolve(workspace, [together(*pair, minute=each) for each, pair in enumerate(pairwise(crowd))])
    await until_counted(open_database("identity"), workspace)
    for one, other, told, text in (
        (
            passes[0],
            passes[1],
            ("most_per_profile", "national_id", 1, 2),
            "have 2, and most_per_profile of national_id is 1",
        ),
        (user("h0"), user("h2"), ("shared_above", "phone", 2, 3), "seen with 3 strong identifiers"),
        (
            cards[0],
            cards[2],
            ("most_per_period", "loyalty_card", 2, 3),
            "have 3 that were first seen within one period",
        ),
        (crowd[0], crowd[8], ("most_identifiers", "", 8, 9), "most_identifiers is 8"),
    ):
        response = await identity.explain(workspace, one, other)
        for link in (link for link in response.chain if link.refusal):
            assert [(each.rule, each.kind, each.limit, each.found) for each in link.broken_rules] == [told]
            assert text in link.remedy


async def test_a_decision_about_others_is_named_where_it_stands_in_the_way(identity: Replica, workspace: str) -> None:
    """Two sisters were parted, and a card that came later leads from one's side to the other's."""
    card = Named("loyalty_card", "4711")
    await identity.resolve(workspace, [together(ADA, user("a")), together(EVE, card)])
    decided = await identity.never(workspace, ADA, EVE)
    await identity.resolve(workspace, [together(user("a"), card, minute=1)])
    response = await identity.explain(workspace, ADA, EVE)
    [link] = [link for link in response.chain if link.refusal]
    assert (list(link.decision_ids), list(link.kept_apart_by)) == ([], [decided.decision.id])
    assert f"decision {decided.decision.id} about two" in link.remedy


async def test_a_decision_about_two_whom_nothing_joins_is_told(identity: Replica, workspace: str) -> None:
    """It is the reason why they will not be one, whatever comes."""
    await identity.resolve(workspace, [together(ADA), together(EVE)])
    decided = await identity.never(workspace, ADA, EVE)
    [link] = (await identity.explain(workspace, ADA, EVE)).chain
    assert (link.refusal, list(link.decision_ids)) == (pb.LINK_REFUSAL_NEVER_LINK, [decided.decision.id])


async def test_an_explanation_is_of_one_moment(
    identity: Replica, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody decides between two of its queries: it tells of before."""
    await identity.resolve(workspace, [together(ADA, EVE)])
    members, pairs_of = decisions.members, links.pairs_of

    async def split_first(*given: Any) -> Any:
        monkeypatch.setattr(decisions, "members", members)
        made.append((await identity.never(workspace, ADA, EVE)).decision.id)
        return await members(*given)

    async def split_first_of_all(*given: Any) -> Any:
        monkeypatch.setattr(links, "pairs_of", pairs_of)
        await identity.never(workspace, ADA, EVE)
        return await pairs_of(*given)

    made: list[str] = []
    monkeypatch.setattr(decisions, "members", split_first)
    answer = await identity.explain(workspace, ADA, EVE)
    assert (answer.linked, [link.refusal for link in answer.chain]) == (True, [pb.LINK_REFUSAL_UNSPECIFIED])
    await identity.withdraw(workspace, made[0])
    monkeypatch.setattr(links, "pairs_of", split_first_of_all)
    graph = await identity.graph(workspace, ADA)
    assert (len(graph.identifiers), [link.refusal for link in graph.links]) == (2, [pb.LINK_REFUSAL_UNSPECIFIED])


async def test_nothing_leads_from_one_to_the_other(identity: Replica, workspace: str) -> None:
    """Then there is no chain, and nothing stands in the way."""
    await identity.resolve(workspace, [together(ADA), together(EVE)])
    response = await identity.explain(workspace, ADA, EVE)
    assert (response.linked, list(response.chain), response.partial) == (False, [], False)


async def test_only_a_part_of_a_huge_neighbourhood_is_searched(start_replica: StartReplica, workspace: str) -> None:
    """The answer says so, about two who are not one person."""
    identity = await start_replica(neighbourhood_limit=3)
    cookies = [cookie(f"c{number}") for number in range(20)]
    await identity.resolve(workspace, [together(*pair) for pair in pairwise([ADA, *cookies, EVE])])
    response = await identity.explain(workspace, ADA, EVE)
    assert (response.linked, response.partial) == (False, True)


async def test_the_way_through_a_person_is_found_whole_however_long_it_is(
    start_replica: StartReplica, workspace: str
) -> None:
    """It lies within the person, so nothing around needs to be searched."""
    identity = await start_replica(neighbourhood_limit=3)
    links = [ADA, *(cookie(f"c{number}") for number in range(20))]
    await identity.resolve(workspace, [together(*pair) for pair in pairwise(links)])
    response = await identity.explain(workspace, ADA, links[-1])
    assert (response.linked, response.partial) == (True, False)
    assert way(response) == [{one.value, other.value} for one, other in pairwise(links)]


async def test_a_graph_has_all_that_lies_within_and_around_a_profile(identity: Replica, workspace: str) -> None:
    """Identifiers, strongest first, links that bind and those that do not, and decisions."""
    await identity.resolve(workspace, [together(ADA, user("a"), cookie("c")), together(EVE, device("t"))])
    await identity.resolve(workspace, [together(ADA, device("t")), together(Named("phone", "+966551000001"))])
    decided = await identity.always(workspace, ADA, Named("phone", "+966551000001"))
    [looked_up] = await identity.lookup(workspace, [ADA])
    graph = await identity.graph(workspace, cookie("c"))
    assert graph == await identity.graph(workspace, looked_up.profile_id)
    assert (graph.profile_id, list(graph.identifiers)) == (looked_up.profile_id, list(looked_up.identifiers))
    links = {
        frozenset((link.identifier.kind, link.other.kind)): (link.refusal, len(link.evidence), len(link.decision_ids))
        for link in graph.links
    }
    assert links == {
        frozenset(("email", "user_id")): (pb.LINK_REFUSAL_UNSPECIFIED, 1, 0),
        frozenset(("email", "anonymous_id")): (pb.LINK_REFUSAL_UNSPECIFIED, 1, 0),
        frozenset(("user_id", "anonymous_id")): (pb.LINK_REFUSAL_UNSPECIFIED, 1, 0),
        frozenset(("email", "device_id")): (pb.LINK_REFUSAL_SEVERAL_PEOPLE, 1, 0),
        frozenset(("email", "phone")): (pb.LINK_REFUSAL_UNSPECIFIED, 0, 1),
    }
    assert [decision.id for decision in graph.decisions] == [decided.decision.id]
    assert not graph.partial


async def test_who_was_never_seen_cannot_be_explained(identity: Replica, workspace: str) -> None:
    """The error says what is unknown, and which field is wrong."""
    await identity.resolve(workspace, [together(ADA)])
    with pytest.raises(NotFoundError):
        await identity.explain(workspace, ADA, EVE)
    with pytest.raises(NotFoundError):
        await identity.graph(workspace, EVE)
    with pytest.raises(InvalidFieldsError, match="other: expected another"):
        await identity.explain(workspace, ADA, ADA)


@settings(max_examples=300)
@given(EDGES, DECISIONS)
def test_a_way_is_whole_exactly_between_those_who_are_one(edges: list[Edge], decisions: Decisions) -> None:
    """Between two of one person all binds; between others something on every way is refused, or there is none."""
    result = cluster_identifiers(nodes(), edges, TIGHT, decisions)
    stored = [StoredEdge(*edge, result.refused.get(edge[:2])) for edge in edges]
    stored += [
        StoredEdge(*ends, 0, result.refused.get(ends), Verdict.ALWAYS) for ends in decisions.always - decisions.never
    ]
    stored += [StoredEdge(*ends, 0, None, Verdict.NEVER) for ends in decisions.never]
    refused = result.refused.keys()
    home = {member: number for number, members in enumerate(result.clusters) for member in members}
    reachable = connected(map(key, UNIVERSE), {edge.pair for edge in stored if edge.verdict is not Verdict.NEVER})
    for one in UNIVERSE[::3]:
        for other in UNIVERSE[1::4]:
            found = chain(stored, key(one), key(other))
            if key(one) in home and home.get(key(one)) == home.get(key(other)):
                assert not refused & set(found)
                own = set(result.clusters[home[key(one)]])
                assert found == chain([edge for edge in stored if own & set(edge.pair)], key(one), key(other))
            else:
                is_way = any({key(one), key(other)} <= component for component in reachable)
                assert bool(found) == bool(refused & set(found)) == is_way


async def test_between_what_binds_nobody_the_way_is_shown(start_replica: StartReplica, workspace: str) -> None:
    """A switchboard's number and an office's address: the link between them, and the way from a customer over both."""
    identity = await start_replica(policy(phone={"shared_above": 1}))
    phone, office = Named("phone", "+4930901820"), Named("email", "info@mail.example.com")
    await identity.resolve(workspace, [together(ADA, phone), together(EVE, phone), together(phone, office)])
    [link] = (await identity.explain(workspace, phone, office)).chain
    assert link.refusal == pb.LINK_REFUSAL_BLOCKED
    answer = await identity.explain(workspace, ADA, office)
    assert [link.refusal for link in answer.chain] == [pb.LINK_REFUSAL_HUB, pb.LINK_REFUSAL_BLOCKED]


async def test_evidence_about_who_is_gone_is_no_way(
    identity: Replica, open_database: Callable[[str], Database], workspace: str
) -> None:
    """Somebody who did not know that a hub was erased may have written edges to it; the answer leaves them out."""
    await identity.resolve(workspace, [together(mail("ada")), together(mail("eve"))])
    async with open_database("identity").statement() as connection:
        await execute(connection, _DANGLING, {"workspace": workspace, "gone": UUID(int=1 << 127)})
    answer = await identity.explain(workspace, mail("ada"), mail("eve"))
    assert (answer.linked, list(answer.chain), answer.partial) == (False, [], True)


_DANGLING = """INSERT INTO edges (workspace, low, high, evidence, source, first_at, refusal)
    SELECT workspace, least(key, %(gone)s), greatest(key, %(gone)s), 'seen_together', 'shop', now(), 'hub'
    FROM identifiers WHERE workspace = %(workspace)s"""


def test_every_reason_has_a_remedy() -> None:
    """Nobody is told why not without being told what would help."""
    assert all(remedy(Link((key("a"), key("b")), (), (), refusal)) for refusal in Refusal)


@settings(max_examples=300)
@given(EDGES, DECISIONS)
def test_whatever_a_limit_or_a_decision_refuses_is_told_exactly(edges: list[Edge], decisions: Decisions) -> None:
    """For every refused link there is a rule that it breaks, or a decision about two whom it would join."""
    kinds = {node.key: node for node in nodes()}
    result = cluster_identifiers(kinds.values(), edges, TIGHT, decisions)
    homes = {member: bytes([number]) * 16 for number, members in enumerate(result.clusters) for member in members}
    around = Surroundings(
        ends={own: (kinds[own].kind, home) for own, home in homes.items()},
        members=[Member(home, own, kinds[own].kind, kinds[own].first_at) for own, home in homes.items()],
        apart=[(ends, bytes(ends[0])) for ends in decisions.never],
        degrees={},
    )
    for ends, refusal in result.refused.items():
        if refusal is Refusal.NEVER_LINK:
            assert around.kept_apart_by(ends)
        if refusal in {Refusal.KIND_LIMIT, Refusal.PERIOD_LIMIT, Refusal.SIZE_LIMIT}:
            assert around.broken(ends, refusal, TIGHT)
