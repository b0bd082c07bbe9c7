"""What is stored, as the store reads and writes it. Times are in microseconds since 1970."""

from typing import NamedTuple

from sima_identity.evidence import Pair, Refusal, Verdict


class Stored(NamedTuple):
    """An identifier as it is stored.

    `profile_id` is None if it is blocked. `founded_seq` is the age of the profile id that was made from its key; None
    if none was. `hub` says that it is shared for good, whatever becomes of its neighbours.
    """

    key: bytes
    kind: str
    profile_id: bytes | None
    founded_seq: int | None
    shared: bool
    hub: bool
    blocked: bool
    first_seen_at: int


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
    """Whom an identifier belongs to; nobody if it is blocked."""

    profile_id: bytes | None
    shared: bool
    blocked: bool


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
    """A row to be rewritten, and what goes into the log if its state changed: its standing, or only its profile."""

    key: bytes
    kind: str
    previous_profile_id: bytes | None
    profile_id: bytes | None
    founds: bool
    shared: bool
    hub: bool
    blocked: bool
    first_seen_at: int
    state_changed: bool
    standing_changed: bool
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
