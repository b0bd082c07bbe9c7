"""Pages of lists: how many items, and an opaque token that says where the next page begins."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from sima_runtime.errors import InvalidFieldsError, PageTokenError, Violation

DEFAULT_PAGE_SIZE = 100
LARGEST_PAGE_SIZE = 1000

_DIGEST_BYTES = 9


def page_size(requested: int, default: int = DEFAULT_PAGE_SIZE, largest: int = LARGEST_PAGE_SIZE) -> int:
    """Return how many items to answer: absent is the default, more than the largest is the largest.

    Raises:
        InvalidFieldsError: It is negative.
    """
    if requested < 0:
        raise InvalidFieldsError([Violation("page_size", "must not be negative")])
    return min(requested or default, largest)


def next_page_token(position: Sequence[Any], request: Message) -> str:
    """Return the token of the page behind `position`.

    Args:
        position: What the query goes on behind, as JSON values; nothing secret or personal, for it can be decoded.
        request: The list request; the token is only good for the same one (page size aside).
    """
    content = json.dumps([_digest(request), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def page_position(request: Message) -> list[Any] | None:
    """Return the position in a request's `page_token`; None for the first page.

    Raises:
        PageTokenError: The token was not given for this request.
    """
    token: str = getattr(request, "page_token")  # noqa: B009  # every list request has it, by name only
    if not token:
        return None
    try:
        digest, *position = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise PageTokenError from None
    if digest != _digest(request):
        raise PageTokenError
    return list(position)


def _digest(request: Message) -> str:
    """Digest what makes a list the same list: all fields but those that walk through it."""
    same = type(request)()
    same.CopyFrom(request)
    for field in ("page_token", "page_size"):
        same.ClearField(field)
    content = type(request).DESCRIPTOR.full_name.encode() + b"\0" + same.SerializeToString(deterministic=True)
    return base64.b64encode(hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()).decode()
