"""A workspace of the identity service, as benchmarks call it; people in it are known by number, as in `world`."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.clients import ServiceClient
from sima_sdk.identifiers import identifier_key

from benchmarks.ingest import BATCH
from benchmarks.loading import SOURCE
from benchmarks.stack import Stack

_DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Graph:
    """A workspace.

    Attributes:
        stack: What runs.
        workspace: Its name. Nobody but identity follows it, unless it is `main`.
        start: When everybody was seen first, in UTC, without zone.
    """

    stack: Stack
    workspace: str
    start: datetime

    async def resolve(self, request: pb.ResolveRequest, client: ServiceClient | None = None) -> Sequence[str]:
        """Resolve sets at a replica, by default the one of the stack, and return the profile of each."""
        replica = client or self.stack.identity
        response: pb.ResolveResponse = await self._call(replica, "Resolve", request)
        assert not any(result.pending for result in response.results)
        return [result.profile_id for result in response.results]

    async def ask(self, method: str, request: object) -> Any:  # noqa: ANN401 - the response of any method
        """Call a method of the contract by its name."""
        return await self._call(self.stack.identity, method, request)

    async def timed(self, method: str, request: object) -> float:
        """Call a method, and return the milliseconds that took."""
        began = time.perf_counter()
        await self.ask(method, request)
        return (time.perf_counter() - began) * 1000

    def seen(self, sets: Iterable[tuple[str, Sequence[Identifier]]]) -> pb.ResolveRequest:
        """Identifiers that messages showed together at the start, by the id of the message."""
        request, at = pb.ResolveRequest(), Timestamp()
        at.FromDatetime(self.start)
        for message_id, identifiers in sets:
            request.sets.add(identifiers=identifiers, observed_at=at, source=SOURCE, message_id=message_id)
        return request

    def people(self, numbers: Iterable[int]) -> pb.ResolveRequest:
        """What people said of themselves at the start: exactly what `loading` loads of a world."""
        return self.seen((f"said {number}", person(number)) for number in numbers)

    def keys(self, numbers: Iterable[int]) -> list[bytes]:
        """The keys of the identifiers of people."""
        return self.keys_of(one for number in numbers for one in person(number))

    def keys_of(self, known: Iterable[Identifier]) -> list[bytes]:
        """The keys of identifiers, whose values are normalised."""
        secret = self.stack.secret(self.workspace)
        return [identifier_key(secret, one.kind, one.value) for one in known]

    async def _call(self, client: ServiceClient, method: str, request: object) -> Any:  # noqa: ANN401 - see `ask`
        call = getattr(IdentityServiceStub(client.channel), method)
        return await client.call(call, request, workspace=self.workspace, deadline=_DEADLINE)


def person(number: int) -> Sequence[Identifier]:
    """By what a person is known."""
    return identifiers({"user_id": f"u{number}", "anonymous_id": f"browser-{number}"})


def identifiers(values: Mapping[str, str]) -> Sequence[Identifier]:
    """Identifiers with values by kind."""
    return [Identifier(kind=kind, value=value) for kind, value in values.items()]


def batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut numbers into batches."""
    return (numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH))
