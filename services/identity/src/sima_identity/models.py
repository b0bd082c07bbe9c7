"""The tables as the queries find them. Migrations make them; a test holds the two to each other.

Keys and ids are `uuid`, 16 bytes each. Evidence is append-only: an edge only ever becomes earlier, or is refused for
another reason; whom an identifier belongs to is derived from all edges and can be built again.
"""

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sima_runtime.columns import Xid8
from sqlalchemy import BigInteger, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

# By bytes, so that the order of texts is the same in the database and in Python.
_BYTEWISE = Text(collation="C")
_TIME = TIMESTAMP(timezone=True)


class Base(SQLModel, registry=registry()):
    """A table of the identity service; each row belongs to a workspace."""


class Identifier(Base, table=True):
    """An identifier, and whom it belongs to.

    Attributes:
        workspace: Whose it is.
        key: Its keyed hash.
        kind: Its kind.
        value: Its normal form; null for protected kinds.
        profile_id: The profile that it belongs to; null if it is blocked.
        founded_id: The profile id that was made from this key, if one was ...
        founded_seq: ... and how old that is; a profile has the oldest id that one of its identifiers founded.
        shared: It belongs to nobody alone, and binds nobody.
        hub: It is shared because of the number of its own edges, whatever becomes of its neighbours.
        blocked: Its value names nobody.
        first_seen_at: Earliest time of a message that showed it.
        changed_epoch: Where in the feed its last change is ...
        changed_xid: ... which nobody who began earlier may precede.
        policy_version: The version of the policy under which it was grouped last; negative if something that was seen
            with it was erased since, and it is to be looked at again.
    """

    __tablename__ = "identifiers"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("identifiers_by_profile", "profile_id", "workspace"),
        Index("identifiers_by_founded", "founded_id", "workspace", postgresql_where=text("founded_id IS NOT NULL")),
        Index("identifiers_shared", "workspace", "hub", "key", postgresql_where=text("shared")),
        Index("identifiers_stale_again", "workspace", "key", postgresql_where=text("policy_version < 0")),
    )

    key: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    kind: str = Field(sa_type=_BYTEWISE)
    value: str | None = Field(sa_type=_BYTEWISE)
    profile_id: UUID | None
    founded_id: UUID | None
    founded_seq: int | None = Field(sa_type=BigInteger)
    shared: bool
    hub: bool
    blocked: bool
    first_seen_at: datetime = Field(sa_type=_TIME)
    changed_epoch: int
    changed_xid: int = Field(sa_type=Xid8)
    policy_version: int = Field(sa_column_kwargs={"server_default": text("0")})


class Edge(Base, table=True):
    """Two identifiers that a source showed together.

    Attributes:
        low: The smaller key.
        high: The larger key.
        workspace: Whose they are.
        evidence: What kind of evidence it is.
        source: The source.
        message_id: The source's id of a message that showed it first; null if it has none.
        first_at: Earliest time of a message that showed it.
        refusal: Why it binds nobody; null if it binds.
    """

    __tablename__ = "edges"
    __table_args__: ClassVar[tuple[Any, ...]] = (Index("edges_by_high", "high", "low", "workspace"),)

    low: UUID = Field(primary_key=True)
    high: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    evidence: str = Field(primary_key=True, sa_type=_BYTEWISE)
    source: str = Field(primary_key=True, sa_type=_BYTEWISE)
    message_id: str | None = Field(sa_type=_BYTEWISE)
    first_at: datetime = Field(sa_type=_TIME)
    refusal: str | None = Field(sa_type=_BYTEWISE)


class Affiliation(Base, table=True):
    """A person and a company that a source showed together: so the person belongs to the company.

    Attributes:
        person: An identifier of the person.
        account: One of the company.
        workspace: Whose they are.
        source: The source.
        message_id: The source's id of a message that showed it first; null if it has none.
        first_at: Earliest time of a message that showed it.
    """

    __tablename__ = "affiliations"
    __table_args__: ClassVar[tuple[Any, ...]] = (Index("affiliations_by_account", "account", "person", "workspace"),)

    person: UUID = Field(primary_key=True)
    account: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    source: str = Field(primary_key=True, sa_type=_BYTEWISE)
    message_id: str | None = Field(sa_type=_BYTEWISE)
    first_at: datetime = Field(sa_type=_TIME)


class Pending(Base, table=True):
    """An identifier whose neighbourhood is to be looked at in the background.

    For a decision, or because others were erased; without both, for evidence.
    """

    __tablename__ = "pending"

    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    key: UUID = Field(primary_key=True)
    decision_id: UUID | None
    erasure_id: UUID | None


class Decision(Base, table=True):
    """What somebody decided, and perhaps took back. The pairs that it is about stand in `decided_pairs`.

    Attributes:
        workspace: Whose it is.
        id: Its id, made from the id of the request.
        kind: What kind of decision it is.
        actor: Who decided.
        reason: Why.
        request_id: The call that decided it.
        decided_at: When.
        withdrawn_at: When it was taken back; null if it holds ...
        withdrawn_by: ... by whom ...
        withdrawal_reason: ... why ...
        withdrawal_id: ... and in which call, by an id made from that of the request; null in those of older versions.
    """

    __tablename__ = "decisions"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("decisions_by_withdrawal", "withdrawal_id", postgresql_where=text("withdrawal_id IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    kind: str = Field(sa_type=_BYTEWISE)
    actor: str = Field(sa_type=_BYTEWISE)
    reason: str = Field(sa_type=_BYTEWISE)
    request_id: str = Field(sa_type=_BYTEWISE)
    decided_at: datetime = Field(sa_type=_TIME)
    withdrawn_at: datetime | None = Field(sa_type=_TIME)
    withdrawn_by: str | None = Field(sa_type=_BYTEWISE)
    withdrawal_reason: str | None = Field(sa_type=_BYTEWISE)
    withdrawal_id: UUID | None


class DecidedPair(Base, table=True):
    """A pair of identifiers that a decision is about.

    Attributes:
        low: The smaller key.
        high: The larger key.
        workspace: Whose they are.
        decision_id: The decision.
        verdict: What it says of them.
        reversed: Whether the larger key is of the decision's first side.
        holds: Whether the decision has not been taken back.
        refusal: Why a pair that is always one person is not; null if it is, and if they never are.
    """

    __tablename__ = "decided_pairs"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("decided_pairs_by_high", "high", "low", "workspace"),
        Index("decided_pairs_by_decision", "decision_id", "workspace"),
    )

    low: UUID = Field(primary_key=True)
    high: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    decision_id: UUID = Field(primary_key=True)
    verdict: str = Field(sa_type=_BYTEWISE)
    reversed: bool
    holds: bool
    refusal: str | None = Field(sa_type=_BYTEWISE)


class Erasure(Base, table=True):
    """That somebody had identifiers erased.

    Attributes:
        workspace: Whose they were.
        id: Its id, made from the id of the request.
        actor: Who asked for it ...
        reason: ... why ...
        request_id: ... in which call ...
        erased_at: ... and when.
        identifiers: How many were known.
        asked: A keyed hash of what the call asked for; null in those of older versions.
    """

    __tablename__ = "erasures"

    id: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    actor: str = Field(sa_type=_BYTEWISE)
    reason: str = Field(sa_type=_BYTEWISE)
    request_id: str = Field(sa_type=_BYTEWISE)
    erased_at: datetime = Field(sa_type=_TIME)
    identifiers: int
    asked: UUID | None


class Tombstone(Base, table=True):
    """All that is left of an erased identifier.

    Attributes:
        workspace: Whose it was.
        key: Its keyed hash.
        until: What was observed up to then is refused.
        barrier: Who may not have known of it is older than this transaction; null: not looked yet.
        checked: None of them is left, nor anything that they may have written.
    """

    __tablename__ = "tombstones"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("tombstones_to_check", "workspace", postgresql_where=text("NOT checked")),
    )

    key: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    until: datetime = Field(sa_type=_TIME)
    barrier: int | None = Field(sa_type=Xid8)
    checked: bool = Field(sa_column_kwargs={"server_default": text("false")})


class ProfileChange(Base, table=True):
    """An identifier moved, or began or ceased to be shared. Its value stands with the identifier, and nowhere else.

    `standing_changed` says that it became or ceased to be shared or blocked. All changes of a transaction have the same
    time, which is later than that of every transaction that it builds upon.
    """

    __tablename__ = "profile_changes"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index(
            "profile_changes_of_standing",
            "workspace",
            "epoch",
            "xid",
            "seq",
            postgresql_where=text("standing_changed"),
        ),
        Index("profile_changes_by_key", "key"),
        Index("profile_changes_by_profile", "profile_id"),
        Index(
            "profile_changes_by_previous",
            "previous_profile_id",
            postgresql_where=text("previous_profile_id IS NOT NULL"),
        ),
    )

    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    epoch: int = Field(primary_key=True)
    xid: int = Field(primary_key=True, sa_type=Xid8)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    key: UUID
    kind: str = Field(sa_type=_BYTEWISE)
    previous_profile_id: UUID | None
    profile_id: UUID | None
    shared: bool
    blocked: bool
    changed_at: datetime = Field(sa_type=_TIME)
    standing_changed: bool
    cause: str = Field(sa_type=_BYTEWISE)
    decision_id: UUID | None
    erasure_id: UUID | None
    policy_version: int | None
    previously_shared: bool
    previously_blocked: bool


class StatedPolicy(Base, table=True):
    """What a workspace says about its policy; the highest version is in force.

    Attributes:
        workspace: Whose it is.
        version: Counts up. 0: nothing is said.
        rules: What is said, as JSON.
        actor: Who said so ...
        reason: ... why ...
        request_id: ... in which call ...
        set_at: ... and when.
        applied_at: Since when everything stored is grouped under this version; null: not yet.
        place: How far that is; null: at the beginning.
        barrier: All transactions that knew only an earlier version are older than this one; null: not looked yet.
        applied_before: Everything was grouped under it before; since then only what an erasure marked is not.
    """

    __tablename__ = "policies"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("policies_to_apply", "workspace", postgresql_where=text("applied_at IS NULL")),
    )

    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    version: int = Field(primary_key=True)
    rules: str = Field(sa_type=_BYTEWISE)
    actor: str = Field(sa_type=_BYTEWISE)
    reason: str = Field(sa_type=_BYTEWISE)
    request_id: str = Field(sa_type=_BYTEWISE)
    set_at: datetime = Field(sa_type=_TIME)
    applied_at: datetime | None = Field(sa_type=_TIME)
    place: UUID | None
    barrier: int | None = Field(sa_type=Xid8)
    applied_before: bool = Field(sa_column_kwargs={"server_default": text("false")})


class Recount(Base, table=True):
    """Something that is to be counted anew: an identifier by its key, or a profile by its id."""

    __tablename__ = "recounts"
    __table_args__: ClassVar[tuple[Any, ...]] = (Index("recounts_by_workspace", "workspace", "id"),)

    id: int = Field(primary_key=True, sa_type=BigInteger)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    subject: UUID
    is_profile: bool


class Degree(Base, table=True):
    """With how many others an identifier was seen; there is one of each that is shared, or was seen with many.

    Attributes:
        key: The identifier.
        workspace: Whose it is.
        identifiers: Distinct identifiers that were seen with it, junk apart.
        strong: Those of them that are strong.
        most: With more strong ones than this it is a hub.
        profiles: Distinct profiles that they belong to, those of shared ones apart.
        kinds: How many there are of each kind.
        day_identifiers: Those that were first seen with it within 24 hours before it was counted ...
        day_profiles: ... and the profiles to which it did not lead before.
        week_identifiers: The same of seven days ...
        week_profiles: ... and of their profiles.
        crowded: It is a hub, or `strong` is at least half of `most`.
        counted_at: When it was counted.
    """

    __tablename__ = "degrees"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("degrees_by_size", "workspace", "identifiers", "key", postgresql_where=text("crowded")),
        Index("degrees_by_age", "workspace", "counted_at"),
    )

    key: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    identifiers: int = Field(sa_type=BigInteger)
    strong: int = Field(sa_type=BigInteger)
    most: int = Field(sa_type=BigInteger)
    profiles: int = Field(sa_type=BigInteger)
    kinds: dict[str, int] = Field(sa_type=JSONB)
    day_identifiers: int = Field(sa_type=BigInteger)
    day_profiles: int = Field(sa_type=BigInteger)
    week_identifiers: int = Field(sa_type=BigInteger)
    week_profiles: int = Field(sa_type=BigInteger)
    crowded: bool
    counted_at: datetime = Field(sa_type=_TIME)


class Growth(Base, table=True):
    """That an identifier (by its key) or a profile (by its id) gained more than `most` identifiers within 24 hours.

    There is one a day; `gained` is the largest number of that day.
    """

    __tablename__ = "growth"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("growth_by_time", "workspace", "noticed_at", "subject"),
        Index("growth_by_age", "noticed_at"),
    )

    subject: UUID = Field(primary_key=True)
    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)
    day: date = Field(primary_key=True)
    is_profile: bool
    gained: int = Field(sa_type=BigInteger)
    most: int = Field(sa_type=BigInteger)
    noticed_at: datetime = Field(sa_type=_TIME)
