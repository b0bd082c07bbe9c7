"""The grouping as a pure function: what it must always hold, and the cases it was made for."""

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Edge, Node, Refusal
from sima_identity.policy import Policy
from sima_sdk.errors import FixConfigurationError
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
    name,
    nodes,
    people,
    policy,
    reasons,
)

# The cases that the rules were made for.


def test_strong_identifiers_seen_together_are_one_person() -> None:
    """An address, a number and a card that messages show pairwise belong to one."""
    result = cluster("mail-a phone-a", "phone-a card-a", "mail-b phone-b")
    assert people(result) == groups("mail-a phone-a card-a", "mail-b phone-b")
    assert not result.refused


def test_a_profile_lists_its_strongest_identifier_first() -> None:
    """Kind priority decides, then the key."""
    result = cluster("cookie-a mail-b", "mail-b user-a", "mail-a user-a")
    assert [list(map(name, members)) for members in result.clusters] == [["user-a", "mail-a", "mail-b", "cookie-a"]]


def test_a_cookie_follows_the_only_person_it_leads_to() -> None:
    """What somebody did before signing in becomes theirs, also over several steps."""
    result = cluster("cookie-1 device-1", "device-1 cookie-2", "cookie-2 mail-a")
    assert people(result) == groups("cookie-1 device-1 cookie-2 mail-a")


def test_people_who_are_known_by_nothing_strong_are_kept_together() -> None:
    """An anonymous visitor has one profile over cookie and device."""
    assert people(cluster("cookie-1 device-1", "cookie-2")) == groups("cookie-1 device-1", "cookie-2")


def test_a_family_tablet_joins_nobody() -> None:
    """A device on which three people sign in is shared, and everybody keeps their own."""
    result = cluster("mail-a device-1", "mail-b device-1", "mail-c device-1", "mail-a phone-a")
    assert people(result) == groups("mail-a phone-a", "mail-b", "mail-c", "device-1")
    assert result.shared == {key("device-1"): Refusal.SEVERAL_PEOPLE}


def test_a_family_of_two_is_enough_to_share_a_tablet() -> None:
    """No count has to be reached: two people are two people."""
    result = cluster("mail-a device-1 cookie-a", "mail-b device-1 cookie-b")
    assert people(result) == groups("mail-a cookie-a", "mail-b cookie-b", "device-1")


def test_a_chain_of_weak_identifiers_joins_nobody() -> None:
    """Two signed-in cookies on one device share the device and stay apart."""
    result = cluster("mail-a cookie-a", "cookie-a device-1", "device-1 cookie-b", "cookie-b mail-b")
    assert people(result) == groups("mail-a cookie-a", "mail-b cookie-b", "device-1")
    assert reasons(result) == dict.fromkeys(("cookie-a device-1", "cookie-b device-1"), Refusal.SEVERAL_PEOPLE)


def test_two_weak_identifiers_that_contradict_each_other_are_both_shared() -> None:
    """If this is one person's and that another's and they were seen together, neither can be trusted."""
    result = cluster("mail-a device-1", "mail-b cookie-b", "device-1 cookie-b")
    assert people(result) == groups("mail-a", "mail-b", "device-1", "cookie-b")


def test_what_lies_behind_a_shared_device_follows_nobody() -> None:
    """A cookie that is known only from the family tablet is nobody's in particular."""
    result = cluster("mail-a device-1", "mail-b device-1", "device-1 cookie-x")
    assert people(result) == groups("mail-a", "mail-b", "device-1", "cookie-x")


def test_strong_evidence_makes_the_tablet_theirs_again() -> None:
    """Once a message shows that both addresses are one person, the device is not shared any more."""
    result = cluster("mail-a device-1", "mail-b device-1", "mail-a mail-b")
    assert people(result) == groups("mail-a mail-b device-1")


def test_a_kiosk_is_a_hub() -> None:
    """A device on which more people sign in than its kind allows binds nobody and is told apart from a family's."""
    links = [f"mail-{number} device-1" for number in range(4)]
    result = cluster(*links, "device-1 cookie-1", policy=policy(device_id={"shared_above": 3}))
    assert people(result) == groups(*(f"mail-{number}" for number in range(4)), "device-1", "cookie-1")
    assert result.shared == {key("device-1"): Refusal.HUB}


def test_a_shops_telephone_is_a_hub_though_it_is_strong() -> None:
    """A number that was given for more people than its kind allows joins none of them."""
    links = [f"card-{number} phone-1" for number in range(4)]
    result = cluster(*links, policy=policy(phone={"shared_above": 3}))
    assert people(result) == groups(*(f"card-{number}" for number in range(4)), "phone-1")


def test_a_hub_is_counted_by_identifiers_of_people_not_by_cookies() -> None:
    """An address with many cookies is somebody who clears them."""
    links = [f"mail-a cookie-{number}" for number in range(30)]
    assert len(cluster(*links, policy=policy(email={"shared_above": 3})).clusters) == 1


def test_an_identifier_seen_with_more_than_a_profile_can_hold_is_a_hub() -> None:
    """A kiosk on which nobody ever signs in is found as well."""
    result = cluster(*(f"device-1 cookie-{number}" for number in range(5)), policy=policy(most_identifiers=4))
    assert result.shared == {key("device-1"): Refusal.HUB}


def test_junk_joins_nobody() -> None:
    """A blocked value is in no profile, and what was seen with it stays apart."""
    result = cluster("mail-a phone-0", "mail-b phone-0", blocked=["phone-0"])
    assert people(result) == groups("mail-a", "mail-b")
    assert set(reasons(result).values()) == {Refusal.BLOCKED}


def test_junk_makes_no_hub() -> None:
    """What was seen with many blocked values is not thereby shared."""
    links = [f"mail-{number} device-1" for number in range(4)]
    blocked = [f"mail-{number}" for number in range(1, 4)]
    result = cluster(*links, blocked=blocked, policy=policy(device_id={"shared_above": 3}))
    assert people(result) == groups("mail-0 device-1")


def test_a_limit_of_a_kind_keeps_people_apart() -> None:
    """Nobody has three national ids: the evidence seen last is refused, and keeps its reason."""
    limited = policy(national_id={"most_per_profile": 2})
    result = cluster("id-a mail-a", "id-b mail-a", "id-c mail-a", policy=limited)
    assert people(result) == groups("id-a id-b mail-a", "id-c")
    assert reasons(result) == {"id-c mail-a": Refusal.KIND_LIMIT}


def test_stronger_kinds_are_heard_before_earlier_times() -> None:
    """Under a limit a card counts more than a telephone, whatever was seen first."""
    limited = policy(email={"most_per_profile": 1})
    result = cluster("phone-a mail-b", "card-a phone-a", "card-a mail-a", policy=limited)
    assert people(result) == groups("card-a mail-a phone-a", "mail-b")


def test_a_profile_does_not_outgrow_its_size() -> None:
    """The nearest stay with the person, the rest stays outside."""
    result = cluster("mail-a cookie-1", "cookie-1 cookie-2", "cookie-2 cookie-3", policy=policy(most_identifiers=3))
    assert people(result) == groups("mail-a cookie-1 cookie-2", "cookie-3")
    assert reasons(result) == {"cookie-2 cookie-3": Refusal.SIZE_LIMIT}


def test_a_limit_does_not_hand_a_cookie_to_somebody_else() -> None:
    """A cookie that a full profile refuses still leads there: with another person behind it, it is shared."""
    limited = policy(anonymous_id={"most_per_profile": 1})
    result = cluster("mail-a cookie-1", "mail-a cookie-2", "cookie-2 device-1", "device-1 mail-b", policy=limited)
    assert people(result) == groups("mail-a cookie-1", "mail-b", "cookie-2", "device-1")


# What holds for everything.


@settings(max_examples=500)
@given(EDGES, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(edges: list[Edge], random: Random) -> None:
    """The same identifiers and edges in any order, any number of times, give the same result."""
    shuffled_nodes, shuffled_edges = nodes() * 2, [*edges, *edges[::2]]
    random.shuffle(shuffled_nodes)
    random.shuffle(shuffled_edges)
    one = cluster_identifiers(nodes(), edges, TIGHT)
    other = cluster_identifiers(shuffled_nodes, shuffled_edges, TIGHT)
    assert {tuple(members) for members in one.clusters} == {tuple(members) for members in other.clusters}
    assert (one.shared, one.refused) == (other.shared, other.refused)


@settings(max_examples=500)
@given(EDGES)
def test_limits_hold_and_weak_evidence_joins_no_two_people(edges: list[Edge]) -> None:
    """Every profile is within its limits, and its strong identifiers hang together by strong evidence alone."""
    result = cluster_identifiers(nodes(), edges, TIGHT)
    bound = {(edge.low, edge.high) for edge in edges} - set(result.refused)
    strong_only = {ends for ends in bound if all(BUILT_IN_KINDS[kind(name(end))].strong for end in ends)}
    for members in result.clusters:
        counts = Counter(kind(name(member)) for member in members)
        assert len(members) <= TIGHT.most_identifiers
        assert all(count <= TIGHT.kind(each).most_per_profile for each, count in counts.items())
        strong = {member for member in members if BUILT_IN_KINDS[kind(name(member))].strong}
        assert len(connected(strong, strong_only)) <= 1


@settings(max_examples=500)
@given(EDGES)
def test_every_edge_binds_or_says_why_not(edges: list[Edge]) -> None:
    """An edge lies within a profile or has a reason, never both; every identifier has one place."""
    result = cluster_identifiers(nodes(), edges, TIGHT)
    home = {member: number for number, members in enumerate(result.clusters) for member in members}
    assert len(home) == sum(map(len, result.clusters)) == len(UNIVERSE) - len(BLOCKED)
    for low, high, _ in edges:
        assert ((low, high) in result.refused) == (home.get(low, -1) != home.get(high, -2))
    assert {len(members) for members in result.clusters if members[0] in result.shared} <= {1}
    assert connected(set(home), {edge[:2] for edge in edges} - set(result.refused)) == {
        frozenset(members) for members in result.clusters
    }


@settings(max_examples=500)
@given(EDGES)
def test_components_can_be_clustered_one_by_one(edges: list[Edge]) -> None:
    """Hubs and blocked values end a neighbourhood: what lies behind them changes nothing on this side."""
    whole = cluster_identifiers(nodes(), edges, TIGHT)
    hubs = {hub for hub, reason in whole.shared.items() if reason is Refusal.HUB}
    closed = hubs | {key(end) for end in BLOCKED}
    inside = {key(end) for end in UNIVERSE} - closed
    found: set[tuple[bytes, ...]] = set()
    for component in connected(inside, {edge[:2] for edge in edges}):
        own = [edge for edge in edges if edge.low in component or edge.high in component]
        ends = {end for edge in own for end in edge[:2]} | component
        known = [
            Node(node.key, node.kind, Refusal.HUB if node.key in hubs else node.closed)
            for node in nodes()
            if node.key in ends
        ]
        part = cluster_identifiers(known, own, TIGHT)
        found |= {tuple(members) for members in part.clusters if members[0] in component}
        assert {end: reason for end, reason in part.shared.items() if end in component} == {
            end: reason for end, reason in whole.shared.items() if end in component
        }
        assert part.refused == {ends: whole.refused[ends] for ends in part.refused}
    assert found == {tuple(members) for members in whole.clusters if members[0] not in hubs}


@pytest.mark.parametrize("size", [0, 10_001])
def test_a_profile_size_that_no_answer_could_hold_is_refused(size: int) -> None:
    """A wrong policy is a configuration error at start, not a surprise later."""
    with pytest.raises(FixConfigurationError, match="most_identifiers"):
        Policy(most_identifiers=size)


@pytest.mark.parametrize("kind", ["mail", "passport"])
def test_patterns_for_values_that_are_never_seen_are_refused(kind: str) -> None:
    """A pattern for an unknown or protected kind would block nobody, in silence."""
    with pytest.raises(FixConfigurationError, match=rf"blocked: .*{kind}"):
        Policy(blocked={kind: [re.compile(".*")]})
