"""Which id a profile has. The grouping does not depend on the order of arrival; the ids may, and are kept for ever.

A profile id is made from the key of one identifier, its founder, and stands for whoever that identifier belongs to: so
it can never come to mean somebody else's people, and an id that was merged into another is followed by asking for the
founder's profile of today. A profile has the oldest id that any of its identifiers founded. If none did, its strongest
identifier founds one: a device that later turns out to be shared then leaves without taking the person's id along.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from sima_identity.records import Stored


def founded_id(secret: bytes, key: bytes) -> bytes:
    """Return the profile id (16 bytes) that an identifier founds; `secret` is the workspace's."""
    return blake2b(key, digest_size=16, key=secret, person=b"profile").digest()


def founder(members: Sequence[bytes], stored: Mapping[bytes, Stored]) -> tuple[bytes, bool]:
    """Return whose id a profile has, and whether that identifier founds it now.

    Args:
        members: The profile's identifiers, strongest first.
        stored: What is stored of those that are.
    """
    if not stored:
        return members[0], True
    ages = [(age, key) for key in members if (row := stored.get(key)) and (age := row.founded_seq) is not None]
    return (min(ages)[1], False) if ages else (members[0], True)
