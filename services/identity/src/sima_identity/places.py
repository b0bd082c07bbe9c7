"""Where a page of a list begins: the place that its token names. Who reads one raises PageTokenError if it is none."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from sima.identity.v1 import identity_service_pb2 as pb
from sima_runtime.cursors import Cursor
from sima_runtime.errors import PageTokenError
from sima_runtime.paging import next_page_token, page_position
from sima_runtime.wire import datetime_to_micros

#: Numbers that a place may have.
BIT, BIGINT = range(2), range(1 << 63)
_INTEGER, _XID = range(1 << 31), range(1 << 64)
#: The first instant that no date can tell.
YEAR_10000 = 253_402_300_800_000_000  # microseconds since 1970
#: An id as text.
ID = re.compile("[0-9a-f]{32}")


def place_before(request: pb.ListProfileChangesRequest) -> Cursor | None:
    """Return the place in the feed behind which the page begins."""
    match page_position(request):
        case None:
            return None
        case [int() as epoch, int() as xid, int() as seq] if epoch in _INTEGER and xid in _XID and seq in BIGINT:
            return Cursor(epoch, xid, seq)
    raise PageTokenError


def time_and_id_before(
    request: pb.ListDecisionsRequest | pb.ListErasuresRequest | pb.ListGrowthRequest,
) -> tuple[datetime, bytes] | None:
    """Return the time and the id behind which it begins."""
    if (before := number_and_id_before(request, range(YEAR_10000))) is None:
        return None
    micros, own = before
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros), own


def token_behind(at: datetime, own: bytes, request: Message) -> str:
    """Return the token of a page that begins behind a time and an id."""
    return next_page_token((datetime_to_micros(at), own.hex()), request)


def two_ids_before(request: pb.ListAffiliationsRequest) -> tuple[bytes, bytes] | None:
    """Return the two ids behind which it begins."""
    match page_position(request):
        case None:
            return None
        case [str() as one, str() as other] if ID.fullmatch(one) and ID.fullmatch(other):
            return bytes.fromhex(one), bytes.fromhex(other)
    raise PageTokenError


def number_and_id_before(request: Message, numbers: range) -> tuple[int, bytes] | None:
    """Return the number, one of `numbers`, and the id behind which it begins."""
    match page_position(request):
        case None:
            return None
        case [int() as number, str() as own] if number in numbers and ID.fullmatch(own):
            return number, bytes.fromhex(own)
    raise PageTokenError
