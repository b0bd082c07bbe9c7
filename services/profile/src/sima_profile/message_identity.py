"""Which messages are the same message, and which ids their parts get. Pure.

A retry must fall on the row that it made the first time, also when its lists are in another order or its JSON is
spaced differently, so everything here is a function of content alone.
"""

from hashlib import blake2b

import orjson
from sima_runtime.wire import KeyedIdentifier

from sima_profile.facts import CheckedConsent, CheckedTrait

HASH_BYTES = 16
_TIME_BYTES = 6
_LATEST = (1 << 8 * _TIME_BYTES) - 1
_MICROSECONDS = 1000


def content_hash(
    identifiers: tuple[KeyedIdentifier, ...],
    stated_at: int | None,
    *,
    event: str | None,
    properties: bytes | None,
    traits: tuple[CheckedTrait, ...],
    consents: tuple[CheckedConsent, ...],
) -> bytes:
    """Return the hash of all that a message says; traits and consents must be in their canonical order."""
    # Each part ends itself, or it was said before how long it is, so no two contents look alike: names hold no control
    # characters, and the properties are the rest.
    head = f"{len(identifiers)} {stated_at} {event}\n".encode()
    parts = orjson.dumps((traits, consents), default=tuple) if traits or consents else b""
    keys = sorted([identifier.key for identifier in identifiers])
    return blake2b(b"".join((head, parts, *keys, properties or b"")), digest_size=HASH_BYTES).digest()


def message_hash(workspace: str, source: str, message_id: str, content: bytes) -> bytes:
    """Return what names a message: its source's id of it or, if it has none, the hash of its content."""
    return blake2b(
        f"{workspace}\x1f{source}\x1f{message_id or content.hex()}".encode(), digest_size=HASH_BYTES
    ).digest()


def fact_id(message: bytes, occurred_at: int) -> bytes:
    """Return the id of a message: 48 bits of its time in milliseconds, so that inserts stay in time order, and hash.

    Args:
        message: Result of `message_hash`.
        occurred_at: When it happened; before 1970 counts as 1970.
    """
    return time_prefix(occurred_at) + message[: HASH_BYTES - _TIME_BYTES]


def time_prefix(at: int) -> bytes:
    """Return the first bytes of the ids of facts that happened at that time."""
    return min(max(at // _MICROSECONDS, 0), _LATEST).to_bytes(_TIME_BYTES)


def least_of_its_time(fact: bytes) -> bytes:
    """Return the least id that a fact of the same time can have."""
    return fact[:_TIME_BYTES].ljust(HASH_BYTES, b"\0")


def part_id(fact: bytes, relation: str, position: int) -> bytes:
    """Return the id of the observation or consent at `position` of a fact; it sorts where the fact sorts."""
    path = fact + f"{relation}[{position}]".encode()
    return fact[:_TIME_BYTES] + blake2b(path, digest_size=HASH_BYTES - _TIME_BYTES).digest()
