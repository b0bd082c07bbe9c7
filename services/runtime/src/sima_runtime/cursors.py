"""Places in a feed, and the opaque tokens by which readers name them."""

import base64
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace

from sima_runtime.errors import CursorExpiredError, InvalidFieldsError, Violation

_PLACE = struct.Struct(">iiQq")  # as PostgreSQL has them: twice integer, xid8, bigint
_CHECKSUM = struct.Struct(">I")


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """Place of a row in its feed; for a reader, the place behind which it goes on."""

    epoch: int
    xid: int
    seq: int


START = Cursor(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Horizon:
    """Which rows are final: those before (epoch, xid).

    Attributes:
        epoch: The epoch in force.
        xid: The oldest transaction that was running.
        newest: The first transaction id that had not been given out.
        taken_at: When, in `time.monotonic()`.
    """

    epoch: int
    xid: int
    newest: int
    taken_at: float = 0.0

    def before(self, xid: int) -> "Horizon":
        """Return the horizon of only those rows that transactions before this one wrote."""
        return replace(self, xid=min(self.xid, xid))


def token(cursor: Cursor, epoch: int, feed: str, workspace: str) -> str:
    """Return the token of a place in a feed of a workspace, given out in `epoch`.

    The epoch in force is part of it because a place may be of an earlier one: the last row of before a restore. With
    the token of another feed or workspace a reader would miss rows and not know; so it ends with a checksum of these.
    """
    place = _PLACE.pack(epoch, cursor.epoch, cursor.xid, cursor.seq)
    return base64.urlsafe_b64encode(place + _checksum(place, feed, workspace)).decode()


def parse_token(text: str, horizon: Horizon, feed: str, workspace: str) -> Cursor:
    """Return the place that a token names; the start for the empty one.

    Raises:
        InvalidFieldsError: It is no token of this feed and workspace.
        CursorExpiredError: It was given out in another epoch, or lies ahead of all that there is (the database is an
            older copy of the one that gave it out).
    """
    if not text:
        return START
    epoch, cursor = _unpacked(text, feed, workspace)
    if epoch != horizon.epoch or (cursor.epoch, cursor.xid) >= (horizon.epoch, horizon.xid):
        raise CursorExpiredError(feed)
    return cursor


def _unpacked(text: str, feed: str, workspace: str) -> tuple[int, Cursor]:
    with suppress(ValueError, struct.error):
        found = base64.b64decode(text, altchars=b"-_", validate=True)
        place, checksum = found[: _PLACE.size], found[_PLACE.size :]
        epoch, *numbers = _PLACE.unpack(place)
        if checksum == _checksum(place, feed, workspace) and min(epoch, *numbers) >= 0:
            return epoch, Cursor(*numbers)
    raise InvalidFieldsError([Violation("cursor", "must be a cursor that this feed gave out")])


def _checksum(place: bytes, feed: str, workspace: str) -> bytes:
    return _CHECKSUM.pack(zlib.crc32(f"{feed} {workspace}".encode(), zlib.crc32(place)))
