"""Small graphs with readable names, for tests of the grouping as a pure function."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Clustering, Decisions, Edge, Node, Pair, Refusal, pair
from sima_identity.policy import Policy
from sima_sdk.identifiers import BUILT_IN_KINDS

PREFIXES = {
    "user": "user_id", "id": "national_id", "card": "loyalty_card", "mail": "email", "phone": "phone",
    "device": "device_id", "cookie": "anonymous_id",
}  # fmt: skip


def policy(most_identifiers: int = 5000, **limits: Mapping[str, Any]) -> Policy:
    """The default policy, with other limits for some kinds."""
    kinds = {name: replace(kind, **limits.get(name, {})) for name, kind in BUILT_IN_KINDS.items()}
    return Policy(kinds=kinds, most_identifiers=most_identifiers)


def key(name: str) -> bytes:
    """A readable key; its kind is the name's prefix."""
    return name.encode().ljust(16)


def name(key: bytes) -> str:
    """The name of a readable key."""
    return key.decode().rstrip()


def kind(name: str) -> str:
    """The kind of a readable name such as `mail-a`."""
    return PREFIXES[name.split("-", maxsplit=1)[0]]


def decided(always: Iterable[str] = (), never: Iterable[str] = ()) -> Decisions:
    """Decisions written as links."""
    return Decisions(frozenset(map(linked, always)), frozenset(map(linked, never)))


def linked(link: str) -> Pair:
    """The pair that a link such as `mail-a device-1` names."""
    one, other = link.split()
    return pair(key(one), key(other))


def cluster(
    *links: str,
    policy: Policy | None = None,
    blocked: Iterable[str] = (),
    always: Iterable[str] = (),
    never: Iterable[str] = (),
) -> Clustering:
    """Group what links such as `mail-a device-1` show, each seen a minute later than the one before."""
    names = {end for link in (*links, *always, *never) for end in link.split()} | set(blocked)
    nodes = [Node(key(end), kind(end), Refusal.BLOCKED if end in blocked else None) for end in names]
    edges = [
        Edge(*pair(key(one), key(other)), minute)
        for minute, link in enumerate(links)
        for one, other in itertools.combinations(link.split(), 2)
    ]
    return cluster_identifiers(nodes, edges, policy or Policy(), decided(always, never))


def people(clustering: Clustering) -> set[frozenset[str]]:
    """The clusters by names."""
    return {frozenset(map(name, members)) for members in clustering.clusters}


def groups(*texts: str) -> set[frozenset[str]]:
    """Clusters written as texts."""
    return {frozenset(text.split()) for text in texts}


def reasons(clustering: Clustering) -> dict[str, Refusal]:
    """The refused edges, written as links."""
    return {f"{name(low)} {name(high)}": reason for (low, high), reason in clustering.refused.items()}


UNIVERSE = [f"{prefix}-{number}" for prefix in ("id", "mail", "phone", "device", "cookie") for number in range(4)]
BLOCKED = {"mail-3", "cookie-3"}
TIGHT = policy(
    most_identifiers=7,
    national_id={"most_per_profile": 1},
    email={"most_per_profile": 2, "shared_above": 4},
    phone={"shared_above": 3},
    device_id={"most_per_profile": 2, "shared_above": 3},
    anonymous_id={"most_per_profile": 2, "shared_above": 3},
)
EDGES = st.lists(
    st.builds(
        lambda ends, minute: Edge(*pair(*map(key, ends)), minute),
        st.lists(st.sampled_from(UNIVERSE), min_size=2, max_size=2, unique=True),
        st.integers(0, 3),
    ),
    max_size=30,
)


def nodes(names: Iterable[str] = UNIVERSE) -> list[Node]:
    """The identifiers of the universe."""
    return [Node(key(end), kind(end), Refusal.BLOCKED if end in BLOCKED else None) for end in names]


def connected(members: Iterable[bytes], links: Iterable[tuple[bytes, bytes]]) -> set[frozenset[bytes]]:
    """Connected components, computed the slow and plain way."""
    components = [{member} for member in members]
    for low, high in links:
        touched = [component for component in components if low in component or high in component]
        if sum(len(component & {low, high}) for component in touched) == 2:
            components = [component for component in components if component not in touched]
            components.append(set().union(*touched))
    return {frozenset(component) for component in components}
