"""What people decide about identifiers, as plain data."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from itertools import product
from typing import NamedTuple

from sima_identity.evidence import Pair, Verdict, pair
from sima_identity.records import ChangedIdentifier


class DecisionKind(StrEnum):
    """What kind of decision it is."""

    SPLIT = "split"
    NEVER_LINK = "never_link"
    ALWAYS_LINK = "always_link"

    @property
    def verdict(self) -> Verdict:
        """What it says of each of its pairs."""
        return Verdict.ALWAYS if self is DecisionKind.ALWAYS_LINK else Verdict.NEVER


class Deciding(NamedTuple):
    """Who decides, why, in which call, and whether only to show what would come of it."""

    actor: str
    reason: str
    request_id: str
    preview: bool


class Proposal(NamedTuple):
    """Something about each pair of a key of one side and one of the other; `others` of a split may be empty.

    `fields` says for errors by which field of the call each key was given.
    """

    kind: DecisionKind
    keys: Sequence[bytes]
    others: Sequence[bytes]
    fields: Mapping[bytes, str]

    def pairs(self) -> Iterator[Pair]:
        """The pairs that it is about."""
        return _pairs(self.keys, self.others)


class Decision(NamedTuple):
    """A decision as it is stored; the times are None in a preview, and the last three while it holds."""

    id: bytes
    kind: DecisionKind
    keys: Sequence[bytes]
    others: Sequence[bytes]
    actor: str
    reason: str
    request_id: str
    decided_at: datetime | None
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None
    withdrawal_reason: str | None = None

    def pairs(self) -> Iterator[Pair]:
        """The pairs that it is about."""
        return _pairs(self.keys, self.others)


class Outcome(NamedTuple):
    """What came of a decision: the identifiers that it moved; `pending` if some neighbourhood is grouped later.

    `also` has other decisions that hold and say the same about one of its pairs.
    """

    decision: Decision
    changes: Sequence[ChangedIdentifier] = ()
    pending: bool = False
    also: Sequence[bytes] = ()


def call_id(secret: bytes, request_id: str) -> bytes:
    """Return the id (16 bytes) of a call, which is that of the decision that it makes; `secret` is the workspace's."""
    return blake2b(request_id.encode(), digest_size=16, key=secret, person=b"decision").digest()


def _pairs(keys: Sequence[bytes], others: Sequence[bytes]) -> Iterator[Pair]:
    return (pair(one, other) for one, other in product(keys, others))
