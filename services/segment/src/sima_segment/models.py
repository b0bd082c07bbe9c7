"""The tables as the queries find them. Migrations make them; a test holds the two to each other.

Profile ids are `uuid`, 16 bytes each. Memberships and what changed in them are derived: both follow from the facts, and
from the position up to which the facts are worked off.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sima_runtime.columns import Xid8
from sqlalchemy import BigInteger, Index, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

# By bytes, so that the order of texts is the same in the database and in Python.
_BYTEWISE = Text(collation="C")
_TIME = TIMESTAMP(timezone=True)


class Base(SQLModel, registry=registry()):
    """A table of the segment service; each row belongs to a workspace."""

    workspace: str = Field(primary_key=True, sa_type=_BYTEWISE)


class Position(Base, table=True):
    """A workspace that is followed, and the state that its memberships show.

    Attributes:
        lineage: The projection that was read last; empty before the first.
        tick: How many states were stored; fences off a second writer.
    """

    __tablename__ = "positions"

    lineage: str = Field(sa_type=Text)
    tick: int = Field(sa_type=BigInteger)


class Segment(Base, table=True):
    """A segment; `size` is the number of its memberships."""

    __tablename__ = "segments"

    name: str = Field(primary_key=True, sa_type=_BYTEWISE)
    rule: str = Field(sa_type=Text)
    description: str = Field(sa_type=Text)
    size: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=_TIME)
    updated_at: datetime = Field(sa_type=_TIME)


class Membership(Base, table=True):
    """Somebody is in a segment, since an instant of evaluation."""

    __tablename__ = "memberships"
    __table_args__: ClassVar[tuple[Any, ...]] = (
        Index("memberships_by_profile", "workspace", "profile_id", postgresql_include=["segment"]),
    )

    segment: str = Field(primary_key=True, sa_type=_BYTEWISE)
    profile_id: UUID = Field(primary_key=True)
    entered_at: datetime = Field(sa_type=_TIME)


class MembershipChange(Base, table=True):
    """Somebody entered a segment or left it; readers of the feed are given these in the order of (epoch, xid, seq)."""

    __tablename__ = "membership_changes"

    segment: str = Field(sa_type=_BYTEWISE)
    profile_id: UUID
    entered: bool
    changed_at: datetime = Field(sa_type=_TIME)
    epoch: int = Field(primary_key=True)
    xid: int = Field(primary_key=True, sa_type=Xid8)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
