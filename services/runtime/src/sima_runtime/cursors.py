"""Places in a feed, and the opaque tokens by which readers name them."""

import base64
import binascii
import struct
from dataclasses import dataclass, replace

from sima_runtime.errors import CursorExpiredError, InvalidFieldsError, Violation

_TOKEN = struct.Struct(">IIQQ")


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


def token(cursor: Cursor, epoch: int) -> str:
    """Return the token of a place, given out in `epoch`.

    The epoch in force is part of it because a place may be of an earlier one: the last row of before a restore.
    """
    return base64.urlsafe_b64encode(_TOKEN.pack(epoch, cursor.epoch, cursor.xid, cursor.seq)).decode()


def parse_token(text: str, horizon: Horizon, feed: str) -> Cursor:
    """Return the place that a token names; the start for the empty one.

    Raises:
        InvalidFieldsError: It is no token.
        CursorExpiredError: It was given out in another epoch, or lies ahead of all that there is (the database is an
            older copy of the one that gave it out).
    """
    if not text:
        return START
    try:
        epoch, *place = _TOKEN.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
    except (binascii.Error, struct.error, ValueError):
        raise InvalidFieldsError([Violation("cursor", "must be a cursor that this feed gave out")]) from None
    cursor = Cursor(*place)
    if epoch != horizon.epoch or (cursor.epoch, cursor.xid) >= (horizon.epoch, horizon.xid):
        raise CursorExpiredError(feed)
    return cursor
