"""What people decided, and how the grouping heeds it, as a pure function."""

from collections.abc import Iterable

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Clustering, Decisions, Edge, Pair, Refusal
from sima_sdk.identifiers import BUILT_IN_KINDS

from .graphs import (
    BLOCKED,
    EDGES,
    TIGHT,
    UNIVERSE,
    cluster,
    connected,
    groups,
    key,
    kind,
    linked,
    name,
    nodes,
    people,
    policy,
    reasons,
)

PAIRS = st.frozensets(
    st.lists(st.sampled_from(UNIVERSE), min_size=2, max_size=2, unique=True).map(lambda ends: linked(" ".join(ends))),
    max_size=5,
)
DECISIONS = st.builds(Decisions, always=PAIRS, never=PAIRS)
STRONG = [end for end in UNIVERSE if BUILT_IN_KINDS[kind(end)].strong]


def test_what_was_split_stays_apart_whatever_joins_it() -> None:
    """The rest follows by evidence: each side keeps what hangs on it."""
    links = ["mail-a phone-a", "phone-a card-b", "card-b mail-b", "mail-a cookie-a", "mail-b cookie-b"]
    assert people(cluster(*links, never=["phone-a card-b"])) == groups(
        "mail-a phone-a cookie-a", "mail-b card-b cookie-b"
    )
    assert reasons(cluster(*links, never=["phone-a card-b"])) == {"card-b phone-a": Refusal.NEVER_LINK}


def test_no_way_around_leads_together_what_is_apart() -> None:
    """Of a chain between two who are not one person, the weakest evidence is refused."""
    result = cluster("card-a mail-x", "mail-x card-b", "phone-x mail-x", never=["card-a card-b"])
    assert people(result) == groups("card-a mail-x phone-x", "card-b")
    assert reasons(result) == {"card-b mail-x": Refusal.NEVER_LINK}


def test_a_tablet_that_is_not_hers_is_his() -> None:
    """A shared device belongs to whoever is left once somebody says whose it is not."""
    links = ["mail-a device-1", "mail-b device-1"]
    assert people(cluster(*links)) == groups("mail-a", "mail-b", "device-1")
    assert people(cluster(*links, never=["mail-a device-1"])) == groups("mail-a", "mail-b device-1")


def test_what_is_decided_to_be_one_person_is_one_without_evidence() -> None:
    """Two addresses that nothing showed together."""
    assert people(cluster("mail-a cookie-a", always=["mail-a mail-b"])) == groups("mail-a mail-b cookie-a")


def test_a_cookie_can_be_given_to_a_person() -> None:
    """It is that person's then, whoever else was seen with it, and does not join the two."""
    links = ["mail-a cookie-1", "mail-b cookie-1", "cookie-1 device-1"]
    result = cluster(*links, always=["mail-a cookie-1"])
    assert people(result) == groups("mail-a cookie-1 device-1", "mail-b")
    assert reasons(result) == {"cookie-1 mail-b": Refusal.SEVERAL_PEOPLE}


def test_between_always_and_never_there_is_never() -> None:
    """It refuses one way and nothing else; a pair of which both were said is not one person."""
    assert people(cluster(always=["mail-a mail-b"], never=["mail-a mail-b"])) == groups("mail-a", "mail-b")
    circle = cluster(always=["card-a mail-b", "mail-b phone-c"], never=["card-a phone-c"])
    assert people(circle) == groups("card-a mail-b", "phone-c")
    assert reasons(circle) == {"mail-b phone-c": Refusal.NEVER_LINK}


def test_limits_hold_for_decisions_too() -> None:
    """Nobody has three national ids, whoever says so."""
    limited = policy(national_id={"most_per_profile": 2})
    result = cluster(always=["id-a id-b", "id-b id-c"], policy=limited)
    assert sorted(map(len, result.clusters)) == [1, 2]
    assert set(reasons(result).values()) == {Refusal.KIND_LIMIT}


def test_junk_cannot_be_anybodys() -> None:
    """A decision about a value that names nobody binds nothing."""
    result = cluster("mail-a cookie-a", always=["mail-a phone-0"], blocked=["phone-0"])
    assert people(result) == groups("mail-a cookie-a")


def test_a_hub_stays_one_whatever_is_decided() -> None:
    """It counts what was seen; a decision about one of many tells nothing of the others."""
    links = [f"card-{number} mail-a" for number in range(4)]
    crowded = policy(email={"shared_above": 3})
    result = cluster(*links, policy=crowded, never=["card-3 mail-a"])
    assert result.shared == {key("mail-a"): Refusal.HUB}
    assert set(reasons(result).values()) == {Refusal.HUB}


@settings(max_examples=500)
@given(EDGES, DECISIONS, st.randoms(use_true_random=False))
def test_order_changes_nothing(edges: list[Edge], decisions: Decisions, random: object) -> None:
    """Decisions, too, count by what they say alone."""
    shuffled_nodes, shuffled_edges = nodes() * 2, [*edges, *edges[::2]]
    random.shuffle(shuffled_nodes)  # type: ignore[attr-defined]
    random.shuffle(shuffled_edges)  # type: ignore[attr-defined]
    one = cluster_identifiers(nodes(), edges, TIGHT, decisions)
    other = cluster_identifiers(shuffled_nodes, shuffled_edges, TIGHT, decisions)
    assert outcome(one) == outcome(other)


@settings(max_examples=500)
@given(EDGES, DECISIONS)
def test_never_is_never_and_all_else_binds_or_says_why_not(edges: list[Edge], decisions: Decisions) -> None:
    """No profile has both of a pair that is apart; every other decision and edge binds or has a reason."""
    result = cluster_identifiers(nodes(), edges, TIGHT, decisions)
    home = {member: number for number, members in enumerate(result.clusters) for member in members}
    for low, high in decisions.never:
        assert home.get(low, -1) != home.get(high, -2)
    seen = {(edge.low, edge.high) for edge in edges}
    for low, high in seen | (decisions.always - decisions.never):
        assert ((low, high) in result.refused) == (home.get(low, -1) != home.get(high, -2))
    assert result.refused.keys() <= seen | decisions.always
    binding = (seen | decisions.always) - result.refused.keys() - decisions.never
    assert connected(home, binding) == {frozenset(members) for members in result.clusters}


@settings(max_examples=500)
@given(EDGES, DECISIONS)
def test_people_hang_together_by_strong_evidence_and_decisions(edges: list[Edge], decisions: Decisions) -> None:
    """Weak evidence never joins two of them, whatever was decided, and limits hold."""
    result = cluster_identifiers(nodes(), edges, TIGHT, decisions)
    bound = {(edge.low, edge.high) for edge in edges} | decisions.always
    strong = {ends for ends in bound if all(BUILT_IN_KINDS[kind(name(end))].strong for end in ends)}
    making = (strong | decisions.always) - result.refused.keys() - decisions.never
    for members in result.clusters:
        assert len(members) <= TIGHT.most_identifiers
        named = {member for member in members if name(member) in STRONG}
        joined = [component & named for component in connected(members, making) if component & named]
        assert len(joined) <= 1


@settings(max_examples=500)
@given(EDGES, st.lists(st.sampled_from(STRONG), min_size=2, max_size=2, unique=True), st.integers(0, 3))
def test_split_after_merge_is_never_merged(edges: list[Edge], ends: list[str], minute: int) -> None:
    """Wrong evidence between two who are not one person, once they are split, is as if it had never been."""
    wrong = linked(" ".join(ends))
    assume(wrong not in {(edge.low, edge.high) for edge in edges})
    before = cluster_identifiers(nodes(), edges, TIGHT)
    assume(not any(set(wrong) <= set(members) for members in before.clusters))
    after = cluster_identifiers(nodes(), [*edges, Edge(*wrong, minute)], TIGHT, Decisions(never=frozenset({wrong})))
    assume(hubs(before) == hubs(after))
    assert outcome(before, {wrong}) == outcome(after, {wrong})


@settings(max_examples=500)
@given(EDGES, DECISIONS)
def test_components_can_be_grouped_one_by_one(edges: list[Edge], decisions: Decisions) -> None:
    """What does not hang together by evidence or decisions does not depend on each other."""
    whole = cluster_identifiers(nodes(), edges, TIGHT, decisions)
    inside = {key(end) for end in UNIVERSE} - hubs(whole) - {key(end) for end in BLOCKED}
    links = {(edge.low, edge.high) for edge in edges} | decisions.always
    found: set[tuple[bytes, ...]] = set()
    for component in connected(inside, links):
        own = [edge for edge in edges if edge.low in component or edge.high in component]
        ends = {end for edge in own for end in edge[:2]} | component
        known = [
            node._replace(closed=Refusal.HUB) if node.key in hubs(whole) else node
            for node in nodes()
            if node.key in ends
        ]
        part = cluster_identifiers(known, own, TIGHT, decisions)
        found |= {tuple(members) for members in part.clusters if members[0] in component}
    assert found == {tuple(members) for members in whole.clusters if members[0] not in hubs(whole)}


def hubs(clustering: Clustering) -> set[bytes]:
    """Who was seen with too many."""
    return {hub for hub, reason in clustering.shared.items() if reason is Refusal.HUB}


def outcome(clustering: Clustering, but: Iterable[Pair] = ()) -> tuple[object, ...]:
    """All that a grouping says, in no order, but for what it says of some pairs."""
    refused = {ends: reason for ends, reason in clustering.refused.items() if ends not in set(but)}
    return {tuple(members) for members in clustering.clusters}, clustering.shared, refused
