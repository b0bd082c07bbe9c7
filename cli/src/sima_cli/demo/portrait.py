"""Chooses the person whose profile the demo shows: somebody whom many channels know and not all see alike."""

from sima.profile.v1.profile_service_pb2 import BatchGetProfilesRequest, Profile, ProfileKey
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1.segment_service_pb2 import GetMembershipsRequest
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1.identifier_pb2 import Identifier

from sima_cli.connection import Connection
from sima_cli.errors import CommandError
from sima_cli.sample.people import Person

_LOOKED_AT = 40


async def choose_portrait(connection: Connection, people: tuple[Person, ...]) -> tuple[Profile, list[str]]:
    """Return a profile with many sides, and the segments it is in.

    Raises:
        CommandError: Nobody of the sample is known.
    """
    known = sorted((person for person in people if person.email), key=_channels, reverse=True)[:_LOOKED_AT]
    request = BatchGetProfilesRequest(keys=[ProfileKey(identifier=_email(person)) for person in known])
    async with connection.calls("profile", ProfileServiceStub) as service:
        answer = await service.call(service.stub.BatchGetProfiles, request)
    profiles = [result.profile for result in answer.results if result.HasField("profile")]
    if not profiles:
        raise CommandError("Nobody of the sample is known to Sima.")
    chosen = max(profiles, key=_sides)
    return chosen, await _segments(connection, chosen)


def _email(person: Person) -> Identifier:
    return Identifier(kind="email", value=person.email or "")


def _channels(person: Person) -> int:
    return sum(map(bool, (person.customer_id, person.card, person.contact_id, person.instagram, person.facebook_id)))


def _sides(profile: Profile) -> tuple[int, int]:
    return sum(len(trait.alternatives) for trait in profile.traits), len(profile.identifiers)


async def _segments(connection: Connection, profile: Profile) -> list[str]:
    request = GetMembershipsRequest(profile_id=profile.profile_id)
    async with connection.calls("segment", SegmentServiceStub) as service:
        answer = await service.call(service.stub.GetMemberships, request)
    return [membership.segment for membership in answer.memberships]
