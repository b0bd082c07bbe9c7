"""How people name a person on the command line: `email:ada@example.com`, or a profile id."""

from uuid import UUID

from sima.profile.v1.profile_service_pb2 import ProfileKey
from sima.segment.v1.segment_service_pb2 import GetMembershipsRequest
from sima.type.v1.identifier_pb2 import Identifier

from sima_cli.errors import RefusedError

KEY_HELP = (
    "KIND:VALUE, for example email:ada@example.com or phone:'+49 151 27046318', or a profile id. "
    "A phone number without country code needs --region."
)
REGION_HELP = "Two-letter region in which a phone number without country code is read, for example SA."


def profile_key(text: str, region: str | None) -> ProfileKey:
    """Return the key of a profile from what a person wrote.

    Raises:
        RefusedError: It is neither KIND:VALUE nor a profile id.
    """
    kind, colon, value = text.partition(":")
    if colon and kind and value:
        return ProfileKey(identifier=Identifier(kind=kind, value=value), default_region=region or "")
    if is_profile_id(text):
        return ProfileKey(profile_id=UUID(text).hex)
    raise RefusedError(f"{text!r} names nobody; expected {KEY_HELP}")


def named_identifier(text: str) -> Identifier:
    """Return an identifier from what a person wrote.

    Raises:
        RefusedError: It is not KIND:VALUE.
    """
    kind, colon, value = text.partition(":")
    if not (colon and kind and value):
        raise RefusedError(f"{text!r} is no identifier; expected KIND:VALUE, for example email:ada@example.com")
    return Identifier(kind=kind, value=value)


def memberships_request(text: str, region: str | None) -> GetMembershipsRequest:
    """Return the question for the segments of a person; raises as `profile_key` does."""
    key = profile_key(text, region)
    if key.HasField("identifier"):
        return GetMembershipsRequest(identifier=key.identifier, default_region=key.default_region)
    return GetMembershipsRequest(profile_id=key.profile_id)


def lacks_region(text: str, region: str | None) -> bool:
    """Return whether a text names a phone number that can be read only in a region, and none was given."""
    kind, _, value = text.partition(":")
    return kind == "phone" and "+" not in value and not region


def is_profile_id(text: str) -> bool:
    """Return whether a text is written like the id of a profile."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
