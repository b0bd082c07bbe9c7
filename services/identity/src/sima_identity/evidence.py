"""What the grouping is made from and what comes out of it, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Refusal(StrEnum):
    """Why an edge binds nobody."""

    BLOCKED = "blocked"  # an end is a value that names nobody
    HUB = "hub"  # an end was seen with more identifiers than its kind allows
    NEVER_LINK = "never_link"  # somebody decided that what it would join is not one person
    SEVERAL_PEOPLE = "several_people"  # an end is weak and leads to several people
    KIND_LIMIT = "kind_limit"  # the profile would have more identifiers of one kind than the kind allows
    PERIOD_LIMIT = "period_limit"  # the profile would have more of one kind that were seen first within a period
    SIZE_LIMIT = "size_limit"  # the profile would have too many identifiers
    PENDING = "pending"  # the neighbourhood is large and has not been looked at yet


class Node(NamedTuple):
    """An identifier as the grouping sees it; if it is known to be closed, its edges bind nobody, for that reason.

    `first_at` is when it was seen first, in microseconds since 1970; it counts where a kind has a limit per period.
    """

    key: bytes
    kind: str
    closed: Refusal | None = None
    first_at: int = 0


class Edge(NamedTuple):
    """Two identifiers were seen together, first at that time, in microseconds since 1970; `low` is the smaller key."""

    low: bytes
    high: bytes
    first_at: int


Pair = tuple[bytes, bytes]


def pair(one: bytes, other: bytes) -> Pair:
    """Return two keys in the order in which an edge has them."""
    return (one, other) if one < other else (other, one)


class Verdict(StrEnum):
    """What a decision says about a pair of identifiers."""

    ALWAYS = "always"  # they are one person
    NEVER = "never"  # they are not


@dataclass(frozen=True, slots=True)
class Decisions:
    """What people decided about pairs of identifiers, whatever was seen.

    Attributes:
        always: Pairs that are one person, unless something stands against it that binds a decision, too.
        never: Pairs that are not. No profile has both of one.
    """

    always: frozenset[Pair] = frozenset()
    never: frozenset[Pair] = frozenset()


@dataclass(frozen=True, slots=True)
class Clustering:
    """Who is one person.

    Attributes:
        clusters: The keys of each profile, strongest first. Every identifier is in exactly one, a shared one alone;
            those that were given as blocked or pending are in none.
        shared: Identifiers that belong to nobody alone, and why: HUB or SEVERAL_PEOPLE.
        refused: Edges that bind nobody, and why. All others join what is in one cluster.
    """

    clusters: list[list[bytes]]
    shared: Mapping[bytes, Refusal]
    refused: Mapping[Pair, Refusal]
