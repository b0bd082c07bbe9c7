"""The tables as the queries find them. Migrations make them; a test holds the two to each other.

Keys and ids are `uuid`, 16 bytes each. Facts are append-only: only the owner columns of a row ever change, or the whole
row when another content of its message counts.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sima_runtime.columns import Xid8
from sqlalchemy import BigInteger, Float, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as UUID_TYPE
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

Arguments = tuple[Any, ...]

# By bytes, so that the order of texts is the same in the database and in Python.
_BYTEWISE = Text(collation="C")
_KEYS = ARRAY(UUID_TYPE())
_TIME = TIMESTAMP(timezone=True)


def _gin(name: str, **options: Any) -> Index:  # noqa: ANN401  # what SQLAlchemy's dialect takes
    return Index(name, "keys", postgresql_using="gin", postgresql_with={"fastupdate": "off"}, **options)


class Base(SQLModel, registry=registry()):
    """A table of the profile service; each row belongs to a workspace."""

    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)


class FeedRow(Base):
    """A row that readers of the feed are given, in the order of (epoch, xid, seq)."""

    epoch: int
    xid: int = Field(sa_type=Xid8)
    seq: int = Field(sa_type=BigInteger)


class Workspace(Base, table=True):
    """A workspace that ever sent a fact, and how far its owners follow identity."""

    __tablename__ = "workspaces"

    identity_cursor: str = Field(sa_type=Text)
    owners_version: int = Field(sa_type=BigInteger)


class NonOwner(Base, table=True):
    """An identifier that does not own facts as others do; with both flags false it does again.

    `rewritten_at` and `rewritten_to` are time and id of the last fact that has its owner by this standing; null: all
    have.
    """

    __tablename__ = "non_owners"
    __table_args__: ClassVar[Arguments] = (
        Index("non_owners_by_version", "workspace", "version"),
        Index(
            "non_owners_unfinished",
            *("workspace", "rewritten_at", "rewritten_to"),
            postgresql_where=text("rewritten_to IS NOT NULL"),
        ),
    )

    key: UUID = Field(primary_key=True)
    shared: bool
    blocked: bool
    version: int = Field(sa_type=BigInteger)
    rewritten_at: datetime | None = Field(sa_type=_TIME)
    rewritten_to: UUID | None


class MessageTime(Base, table=True):
    """When a message that states no time was first received, and when last."""

    __tablename__ = "message_times"
    __table_args__: ClassVar[Arguments] = (Index("message_times_by_time", "last_received_at"),)

    message: UUID = Field(primary_key=True)
    received_at: datetime = Field(sa_type=_TIME)
    last_received_at: datetime = Field(sa_type=_TIME, sa_column_kwargs={"server_default": text("now()")})


class Fact(FeedRow, table=True):
    """A message. The first 48 bits of its id are its time, so ranges of ids are months: these are the partitions.

    `name` and `properties` are null if it reports no event. `contested` says that its first key is shared or blocked.
    """

    __tablename__ = "facts"
    __table_args__: ClassVar[Arguments] = (
        Index("facts_by_owner", "workspace", "owner", "occurred_at", "id", postgresql_include=["name"]),
        _gin("facts_contested", postgresql_where=text("contested")),
        Index("facts_feed", "workspace", "epoch", "xid", "seq", postgresql_where=text("name IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: UUID = Field(primary_key=True)
    occurred_at: datetime = Field(sa_type=_TIME)
    received_at: datetime = Field(sa_type=_TIME)
    source: str = Field(sa_type=_BYTEWISE)
    keys: list[UUID] = Field(sa_type=_KEYS)
    owner: UUID | None
    contested: bool
    name: str | None = Field(sa_type=_BYTEWISE)
    properties: bytes | None = Field(sa_type=LargeBinary)
    content: UUID


class FactPart(FeedRow):
    """Something that a message says, at a position among its like."""

    fact_id: UUID = Field(primary_key=True)
    position: int = Field(primary_key=True, sa_type=SmallInteger)
    id: UUID
    keys: list[UUID] = Field(sa_type=_KEYS)
    source: str = Field(sa_type=_BYTEWISE)
    received_at: datetime = Field(sa_type=_TIME)


class Observation(FactPart, table=True):
    """What a message says about a trait; the value is JSON text."""

    __tablename__ = "observations"
    __table_args__: ClassVar[Arguments] = (
        Index("observations_by_owner", "workspace", "owner", "trait", "source", "method", text("observed_at DESC")),
        Index("observations_feed", "workspace", "epoch", "xid", "seq"),
    )

    owner: UUID | None
    trait: str = Field(sa_type=_BYTEWISE)
    type: str = Field(sa_type=_BYTEWISE)
    value: str = Field(sa_type=_BYTEWISE)
    method: str = Field(sa_type=_BYTEWISE)
    observed_at: datetime = Field(sa_type=_TIME)
    confidence: float = Field(sa_type=Float)


class Consent(FactPart, table=True):
    """What a message says about a purpose; it holds for every key of the message, whoever owns the message."""

    __tablename__ = "consents"
    __table_args__: ClassVar[Arguments] = (
        _gin("consents_by_key"),
        Index("consents_feed", "workspace", "epoch", "xid", "seq"),
    )

    purpose: str = Field(sa_type=_BYTEWISE)
    granted: bool
    stated_at: datetime = Field(sa_type=_TIME)


class Retraction(Base, table=True):
    """A row that readers of the feed were given and that no longer holds."""

    __tablename__ = "retractions"

    id: UUID
    relation: str = Field(sa_type=_BYTEWISE)
    occurred_at: datetime = Field(sa_type=_TIME)
    epoch: int = Field(primary_key=True)
    xid: int = Field(primary_key=True, sa_type=Xid8)
    seq: int = Field(primary_key=True, sa_type=BigInteger)


class Conflict(Base, table=True):
    """A content of a message that lost against a smaller one."""

    __tablename__ = "conflicts"

    fact_id: UUID = Field(primary_key=True)
    content: UUID = Field(primary_key=True)
    occurred_at: datetime = Field(sa_type=_TIME)
    received_at: datetime = Field(sa_type=_TIME)
    source: str = Field(sa_type=_BYTEWISE)
    keys: list[UUID] = Field(sa_type=_KEYS)
    name: str | None = Field(sa_type=_BYTEWISE)
    properties: bytes | None = Field(sa_type=LargeBinary)
    traits: list[Any] = Field(sa_type=JSONB)
    consents: list[Any] = Field(sa_type=JSONB)
