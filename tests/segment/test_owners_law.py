"""The law of owners: profile and segment give each fact to whom identity names, whatever becomes of its identifiers."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.type.v1.fact_pb2 import Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import ContradictionError, NotFoundError
from sima_runtime.settings import ClientSettings

from .builders import device, fact, mail, user
from .worlds import Clock, StartSegment, Upstream, World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

Pair = tuple[str, str]
ANN, BOB, TABLET, COOKIE = user("ann"), mail("bob"), device("tablet"), ("anonymous_id", "c")
OFFICE, ACME, FREE = ("email", "info@example.com"), ("domain", "acme.example.com"), ("domain", "gmail.com")
NAMED = [ANN, BOB, TABLET, COOKIE, OFFICE, ACME, FREE]
FEW = st.lists(st.sampled_from(NAMED), min_size=1, max_size=3, unique=True)
DEEDS: st.SearchStrategy[tuple[str, list[Pair]]] = st.one_of(
    st.tuples(st.just("told"), FEW),
    st.tuples(st.just("told"), FEW),
    st.tuples(st.just("erased"), st.sampled_from(NAMED).map(lambda one: [one])),
    st.sampled_from(
        [("AlwaysLink", [ANN, BOB]), ("NeverLink", [ANN, BOB]), ("erased", [OFFICE]), ("erased", [TABLET])]
    ),
)
#: A tablet of two people, an office, two companies of which one is none, and what was told of each with others.
BEGINNING: list[tuple[str, list[Pair]]] = [
    ("told", named)
    for named in ([TABLET, ANN], [TABLET, BOB], [TABLET, COOKIE], [OFFICE, COOKIE], [ACME], [FREE], [TABLET, FREE])
]


class Standing(NamedTuple):
    """What identity says, or said last, of an identifier."""

    key: bytes
    person: str = ""
    shared: bool = False
    blocked: bool = False


@dataclass
class Play:
    """Plays deeds in a workspace of its own, and knows what was told and who was erased.

    Attributes:
        world: The services.
        identity: A client of identity.
        facts: What was told.
        keys: Of each fact, its keys, the strongest first.
        erased: What identity said last of who was erased.
    """

    world: World
    identity: ServiceClient
    facts: list[Fact] = field(default_factory=list)
    keys: list[list[bytes]] = field(default_factory=list)
    erased: dict[bytes, Standing] = field(default_factory=dict)

    async def do(self, what: str, named: list[Pair]) -> None:
        """Do one of the deeds, unless there is a reason not to."""
        by = pb.Deciding(actor="ops", reason="seen to be so", request_id=uuid4().hex)
        given = [Identifier(kind=kind, value=value) for kind, value in named]
        match what:
            case "told":
                number = len(self.facts)
                self.facts.append(fact(f"{number}", *named, at=datetime.now(UTC), event=f"e{number}"))
                await self.world.ingest(self.facts[-1])
                self.keys.append(list((await self.resolved())[-1].keys))
            case "erased":
                self.erased |= {one.key: one._replace(person="") for one in await self.standings(named)}
                await self._ask("EraseIdentifiers", pb.EraseIdentifiersRequest(identifiers=given, deciding=by))
            case _:
                asked = pb.AlwaysLinkRequest if what == "AlwaysLink" else pb.NeverLinkRequest
                with suppress(ContradictionError, NotFoundError):
                    await self._ask(what, asked(identifier=given[0], other=given[1], deciding=by))

    async def resolved(self) -> Sequence[pb.ResolvedSet]:
        """What identity answers today about each fact."""
        sets = [
            pb.IdentifierSet(
                identifiers=each.identifiers,
                observed_at=each.occurred_at,
                source=each.source,
                message_id=each.message_id,
            )
            for each in self.facts
        ]
        answer: pb.ResolveResponse = await self._ask("Resolve", pb.ResolveRequest(sets=sets))
        return answer.results

    async def standings(self, named: list[Pair]) -> list[Standing]:
        """What identity says of identifiers; who is unknown is absent. Companies are no people."""
        keys = [pb.LookupKey(identifier=Identifier(kind=kind, value=value)) for kind, value in named]
        answer: pb.LookupResponse = await self._ask("Lookup", pb.LookupRequest(keys=keys))
        return [
            Standing(known.identifier.key, "" if result.account else result.profile_id, known.shared, known.blocked)
            for pair, result in zip(named, answer.results, strict=True)
            for known in result.identifiers
            if (known.identifier.kind, known.identifier.value) == pair
        ]

    async def meant(self) -> dict[str, str]:
        """Whose each fact must be, by its event; absent if it is nobody's."""
        said = self.erased | {one.key: one for one in await self.standings(NAMED)}
        owners = [owner([said[key] for key in keys]) for keys in self.keys]
        for answer, own in zip(await self.resolved(), owners, strict=True):
            assert answer.erased or answer.owner_key == (own.key if own else b"")
        whose = zip(self.facts, owners, strict=True)
        return {each.event.name: own.person for each, own in whose if own and own.person}

    async def by_profile(self) -> dict[str, str]:
        """Whose each fact is for the profile service."""
        stub = ProfileServiceStub(self.world.profile.channel)
        found: dict[str, str] = {}
        for person in {one.person for one in await self.standings(NAMED)} - {""}:
            request = profile_pb.ListEventsRequest(key=profile_pb.ProfileKey(profile_id=person), page_size=1_000)
            answer = await self.world.profile.call(stub.ListEvents, request, workspace=self.world.workspace)
            found |= {event.event.name: person for event in answer.events}
        return found

    async def by_segment(self) -> dict[str, str]:
        """Whose each fact is for the segment service."""
        found: dict[str, str] = {}
        for name in (each.event.name for each in self.facts):
            shown = await self.world.preview(f'events("{name}").exists()', sample_size=2)
            found |= dict.fromkeys([name][: shown.size], ",".join(shown.sample_profile_ids))
        return found

    async def _ask(self, method: str, request: Any) -> Any:
        rpc = getattr(IdentityServiceStub(self.identity.channel), method)
        return await self.identity.call(rpc, request, workspace=self.world.workspace, deadline=60)


def owner(keys: Sequence[Standing]) -> Standing | None:
    """Who owns a fact with these keys, the strongest first: what was erased is as it was."""
    plain = [each for each in keys if not (each.shared or each.blocked)]
    return next(iter(plain or [each for each in keys if not each.blocked]), None)


@pytest_asyncio.fixture(loop_scope="session")
async def play(start_segment: StartSegment, upstream: Upstream, clock: Clock) -> AsyncIterator[Callable[[], Play]]:
    """Gives a play in a workspace of its own; what is told happened before the clock of segments."""
    clock.instant = datetime.now(UTC) + timedelta(days=1)
    client = ServiceClient("identity", upstream.identity_address, ClientSettings(client_timeout_seconds=60))
    async with start_segment() as world:
        yield lambda: Play(replace(world, workspace=f"w{uuid4().hex}"), client)
    await client.close()


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(deeds=st.lists(DEEDS, min_size=2, max_size=7))
async def test_all_agree_on_who_owns_a_fact(play: Callable[[], Play], deeds: list[tuple[str, list[Pair]]]) -> None:
    """Shared, blocked, companies', erased and come back: what `Resolve` answers is so in timelines and in segments."""
    playing = play()
    for deed in [*BEGINNING, *deeds]:
        await playing.do(*deed)

    async def agreed() -> bool:
        return await playing.by_profile() == await playing.meant()

    await eventually(agreed)
    assert await playing.by_segment() == await playing.meant()
