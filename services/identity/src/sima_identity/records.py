"""What is stored, as the store reads and writes it. Times are in microseconds since 1970."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sima_identity.evidence import Pair, Refusal, Verdict

Records = NDArray[np.void]

#: An identifier, packed. `kind` is its place among the kinds that were asked for, from 1 on, 0 for others;
#: `founded_seq` is 0 if it founded no profile; `profile` is zero if it is blocked.
IDENTIFIER = np.dtype(
    [
        ("key", "S16"),
        ("profile", "S16"),
        ("first_at", ">i8"),
        ("founded_seq", ">i8"),
        ("policy_version", ">i4"),
        ("kind", ">i2"),
        ("shared", ">i2"),
        ("blocked", ">i2"),
    ]
)
#: Two identifiers that were seen together, and when first, packed.
EDGE = np.dtype([("low", "S16"), ("high", "S16"), ("first_at", ">i8")])


class Cause(StrEnum):
    """Why something moved, as the log has it."""

    EVIDENCE = "evidence"
    DECISION = "decision"  # somebody decided something, or took it back
    POLICY = "policy"  # the policy changed
    ERASURE = "erasure"  # it was erased itself
    OTHERS_ERASED = "others_erased"  # something that was seen with it, or with what was, was erased


class Because(NamedTuple):
    """For what something is grouped anew: a decision, or an erasure of others; without both, for evidence."""

    decision: bytes | None = None
    erasure: bytes | None = None

    @property
    def cause(self) -> Cause:
        """What the log tells."""
        if self.decision is not None:
            return Cause.DECISION
        return Cause.EVIDENCE if self.erasure is None else Cause.OTHERS_ERASED


FOR_EVIDENCE = Because()


class Stored(NamedTuple):
    """An identifier as it is stored.

    `profile_id` is None if it is blocked. `founded_seq` is the age of the profile id that was made from its key; None
    if none was. `hub` says that it is shared because of its own edges, whatever becomes of its neighbours.
    `policy_version` is that of the policy under which it was grouped.
    """

    key: bytes
    kind: str
    profile_id: bytes | None
    founded_seq: int | None
    shared: bool
    hub: bool
    blocked: bool
    first_seen_at: int
    policy_version: int

    @property
    def closed(self) -> bool:
        """Whether it binds nobody under the policy under which it was grouped."""
        return self.blocked or self.hub

    @property
    def state(self) -> "State":
        """Whom it belongs to."""
        return State(self.profile_id, self.shared, self.blocked, self.policy_version)


class StoredEdge(NamedTuple):
    """An edge of one source as it is stored, or what was decided about a pair; without refusal it binds."""

    low: bytes
    high: bytes
    first_at: int
    refusal: Refusal | None
    verdict: Verdict | None = None

    @property
    def pair(self) -> Pair:
        """Its two ends."""
        return self.low, self.high


class State(NamedTuple):
    """Whom an identifier belongs to; nobody if it is blocked. It was grouped so under a version of the policy."""

    profile_id: bytes | None
    shared: bool
    blocked: bool
    policy_version: int


class Neighbour(NamedTuple):
    """What an identifier was seen with, as it is stored: whether it is blocked was said under that policy's version."""

    of: bytes
    key: bytes
    kind: str
    value: str | None
    blocked: bool
    policy_version: int


def shown_version(policy_version: int) -> int:
    """Return the version of a policy under which an identifier was grouped, also of one that is to be grouped anew."""
    return policy_version if policy_version >= 0 else -policy_version - 1


class NewIdentifier(NamedTuple):
    """A row to be inserted. `founds`: its profile id is made from its own key, now."""

    key: bytes
    kind: str
    value: str | None
    profile_id: bytes | None
    founds: bool
    shared: bool
    hub: bool
    blocked: bool
    first_seen_at: int


class ChangedIdentifier(NamedTuple):
    """A row to be rewritten, and what goes into the log if its state changed: its standing, or only its profile.

    `own_cause` is why, if not for what the whole is grouped anew: another policy, or that its neighbours were erased.
    """

    key: bytes
    kind: str
    previous_profile_id: bytes | None
    profile_id: bytes | None
    founds: bool
    shared: bool
    hub: bool
    blocked: bool
    first_seen_at: int
    policy_version: int
    state_changed: bool
    standing_changed: bool
    own_cause: Cause | None
    previously_shared: bool
    previously_blocked: bool


class WrittenEdge(NamedTuple):
    """An edge of one source to be inserted, or to be made earlier."""

    low: bytes
    high: bytes
    source: str
    message_id: str
    first_at: int
    refusal: Refusal | None


class RefusedPair(NamedTuple):
    """The refusal of all edges between two identifiers, to be rewritten; None: they bind now."""

    low: bytes
    high: bytes
    refusal: Refusal | None


class Wanted(NamedTuple):
    """What is asked for, an identifier by its key or a profile by its id; the other is None."""

    key: bytes | None
    profile_id: bytes | None


class Subject(NamedTuple):
    """What is counted: an identifier by its key, or a profile by its id."""

    id: bytes
    is_profile: bool
