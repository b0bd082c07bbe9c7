"""What Sima says at the end: read from its own feeds, like any other reader of them would."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from sima.identity.v1.identity_service_pb2 import ProfileChange, WatchProfileChangesRequest
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1.profile_service_pb2 import WatchFactsRequest, WatchFactsResponse
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub

from sima_cli.connection import Connection
from sima_cli.sample.truth import Known

#: What a stored fact can be, by the name of its field in a page.
RELATIONS = ("events", "observations", "consents")
_PAGE_ROWS = 50_000

#: By source, how many rows of each relation.
Facts = Mapping[str, Mapping[str, int]]


@dataclass(slots=True)
class Grouping:
    """Who is one person, as the feed of identity tells it.

    Attributes:
        profiles: The profile of each identifier now.
        nobodys: Identifiers that are shared or junk.
        given_out: Every profile that ever had an identifier.
    """

    profiles: dict[Known, str] = field(default_factory=dict)
    nobodys: set[Known] = field(default_factory=set)
    given_out: set[str] = field(default_factory=set)

    def apply(self, change: ProfileChange) -> None:
        """Follow one change."""
        known = Known(change.identifier.kind, change.identifier.value or change.identifier.key.hex())
        (self.nobodys.add if change.shared or change.blocked else self.nobodys.discard)(known)
        if change.profile_id:
            self.profiles[known] = change.profile_id
            self.given_out.add(change.profile_id)
        else:
            self.profiles.pop(known, None)

    @property
    def people(self) -> int:
        """How many profiles have an identifier that is somebody's."""
        return len({profile for known, profile in self.profiles.items() if known not in self.nobodys})

    @property
    def merges(self) -> int:
        """How many profiles became part of another."""
        return len(self.given_out - set(self.profiles.values()))


async def read_grouping(connection: Connection) -> Grouping:
    """Return the grouping now."""
    grouping = Grouping()
    request = WatchProfileChangesRequest(until_now=True)
    async with connection.calls("identity", IdentityServiceStub) as service:
        async for page in service.stream(service.stub.WatchProfileChanges, request):
            for change in page.changes:
                grouping.apply(change)
    return grouping


async def read_facts(connection: Connection) -> Facts:
    """Return how many facts are stored, by source and relation."""
    counts: dict[str, Counter[str]] = {}
    request = WatchFactsRequest(until_now=True, page_size=_PAGE_ROWS)
    async with connection.calls("profile", ProfileServiceStub) as service:
        async for page in service.stream(service.stub.WatchFacts, request):
            _count(page, counts)
    return counts


def _count(page: WatchFactsResponse, counts: dict[str, Counter[str]]) -> None:
    for relation in RELATIONS:
        content: bytes = getattr(page, relation)
        if content:
            sources = pa.ipc.open_stream(content).read_all().column("source")
            for row in pc.value_counts(sources).to_pylist():
                counts.setdefault(row["values"], Counter())[relation] += row["counts"]
