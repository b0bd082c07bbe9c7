"""What the profile service asks identity, in terms of its own domain."""

import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import Violation
from sima_runtime.wire import KeyedIdentifier, identifier_to_proto

from sima_profile.facts import CheckedFact
from sima_profile.owners import Standing

KeyOrProfile = KeyedIdentifier | str


class Belonging(NamedTuple):
    """Whom a fact belongs to, as identity sees it.

    Attributes:
        keys: Keys of the fact's identifiers, the strongest first.
        owner: The key that owns it, if any.
        profile_id: The owner's profile; empty if there is none.
        erased: One of its identifiers was erased after the fact was observed.
    """

    keys: list[bytes]
    owner: bytes
    profile_id: str
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """A profile as identity knows it: its id, and its identifiers with the strongest first."""

    profile_id: str
    identifiers: tuple[KeyedIdentifier, ...]


class Changes(NamedTuple):
    """A page of identity's feed.

    Attributes:
        standings: What the last change on the page says about each identifier.
        cursor: Where to go on.
    """

    standings: dict[bytes, Standing]
    cursor: str


class Identity:
    """Identity's contract, as far as profiles need it. Every method raises what `ServiceClient.call` raises."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._stub = IdentityServiceStub(client.channel)

    async def resolve(self, facts: Iterable[CheckedFact], times: Iterable[int]) -> list[Belonging]:
        """Record that identifiers of facts were seen together at their times, and say whom each fact belongs to."""
        request = pb.ResolveRequest()
        for fact, at in zip(facts, times, strict=True):
            together = request.sets.add(source=fact.source, message_id=fact.message_id)
            observed_at = together.observed_at
            observed_at.seconds, rest = divmod(at, 1_000_000)
            observed_at.nanos = rest * 1000
            add_identifier = together.identifiers.add
            for kind, value, key in fact.identifiers:
                add_identifier(kind=kind, value=value, key=key)
        response = await self._client.call(self._stub.Resolve, request)
        return [
            Belonging(list(found.keys), found.owner_key, found.profile_id, found.erased) for found in response.results
        ]

    async def lookup(self, wanted: Sequence[KeyOrProfile]) -> list[Person | None]:
        """Return the person behind each identifier or profile id; None if nobody is known so."""
        request = pb.LookupRequest(keys=[_lookup_key(key) for key in wanted])
        response = await self._client.call(self._stub.Lookup, request)
        return [_person(result) for result in response.results]

    async def changes(self, workspace: str, cursor: str, *, until_now: bool = False) -> AsyncGenerator[Changes, None]:
        """Yield which identifiers became or ceased to be shared or blocked, behind a cursor."""
        request = pb.WatchProfileChangesRequest(cursor=cursor, until_now=until_now, standings_only=True)
        pages = self._client.stream(self._stub.WatchProfileChanges, request, workspace=workspace)
        async with aclosing(pages):
            async for page in pages:
                yield Changes({change.identifier.key: _standing(change) for change in page.changes}, page.cursor)


def by_item(violations: Iterable[Violation], field: str) -> dict[int, tuple[Violation, ...]]:
    """Group what identity finds wrong with items of a list, by their number; paths begin at the item."""
    found: defaultdict[int, list[Violation]] = defaultdict(list)
    for violation in violations:
        if match := re.fullmatch(rf"{field}\[(\d+)\]\.(.+)", violation.field):
            found[int(match[1])].append(Violation(match[2], violation.description))
    return {number: tuple(items) for number, items in found.items()}


def _lookup_key(key: KeyOrProfile) -> pb.LookupKey:
    if isinstance(key, str):
        return pb.LookupKey(profile_id=key)
    return pb.LookupKey(identifier=identifier_to_proto(key))


def _person(result: pb.LookupResult) -> Person | None:
    if not result.profile_id:
        return None
    known = [item.identifier for item in result.identifiers]
    return Person(result.profile_id, tuple(KeyedIdentifier(item.kind, item.value or None, item.key) for item in known))


def _standing(change: pb.ProfileChange) -> Standing:
    return Standing(change.shared, change.blocked)
