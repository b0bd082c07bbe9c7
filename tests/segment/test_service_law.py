"""The law of the whole service: whatever happens, members, feed and profiles tell one story, and a new start too."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1 import segment_service_pb2 as segment_pb
from sima.type.v1.fact_pb2 import CONSENT_STATUS_GRANTED, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.errors import InUseError

from .builders import START, device, fact, mail, user
from .worlds import Clock, Upstream, World, segment_database, started

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A small world, so that everybody meets everybody; the last address names nobody.
IDENTIFIERS = [
    user("1"),
    user("2"),
    user("3"),
    mail("1"),
    mail("2"),
    mail("3"),
    device("1"),
    ("email", "test@test.com"),
]


class Person(NamedTuple):
    """What the rules of this law ask about somebody, as the profile service tells it."""

    city: str | None
    mailable: bool
    orders: list[datetime]

    def bought(self, now: datetime, minutes: float = float("inf")) -> int:
        """How many orders there are, of the last minutes."""
        return sum(timedelta() <= now - at < timedelta(minutes=min(minutes, 1e6)) for at in self.orders)


#: Rules, and what they mean for somebody at an instant.
PLAIN: Mapping[str, Callable[[Person, datetime], bool]] = {
    'traits.city == "Riyadh"': lambda who, _: who.city == "Riyadh",
    'consent("mail")': lambda who, _: who.mailable,
    'events("order").count() >= 2': lambda who, now: who.bought(now) >= 2,
    'events("order").within("30m").exists()': lambda who, now: who.bought(now, 30) > 0,
    '!events("order").within("20m").exists()': lambda who, now: not who.bought(now, 20),
}
#: Rules that build on the segment `base`, and what they mean for those in it and those who are not.
BUILT: Mapping[str, Callable[[bool, Person, datetime], bool]] = {
    '!segment("base")': lambda base, _, __: not base,
    'segment("base") && !events("order").within("15m").exists()': lambda base, who, now: (
        base and not who.bought(now, 15)
    ),
    'segment("base") || consent("mail")': lambda base, who, _: base or who.mailable,
}


class Said(NamedTuple):
    """A fact; with the number of one that was said before, it is the same message with perhaps another content."""

    number: int
    identifiers: list[tuple[str, str]]
    minute: int
    content: str

    def fact(self) -> Fact:
        """As a channel sends it."""
        at = START + timedelta(minutes=self.minute)
        match self.content:
            case "order":
                return fact(f"{self.number}", *self.identifiers, at=at, event="order")
            case "grant" | "deny":
                return fact(f"{self.number}", *self.identifiers, at=at, consents={"mail": self.content == "grant"})
            case city:
                return fact(f"{self.number}", *self.identifiers, at=at, traits={"city": city})


class Ingested(NamedTuple):
    """Facts are accepted."""

    facts: list[Said]


class Passed(NamedTuple):
    """Time passes."""

    minutes: int


class Defined(NamedTuple):
    """A segment is created, or gets another rule."""

    name: str
    rule: str


class Deleted(NamedTuple):
    """A segment is deleted, unless another builds on it."""

    name: str


class Restarted(NamedTuple):
    """The service starts again, perhaps twice in a row, perhaps without the file of its projection."""

    twice: bool
    lost: bool


Deed = Ingested | Passed | Defined | Deleted | Restarted

# Around the clock of the tests, so that windows open and close while it moves.
MINUTES = st.integers(-30, 15)
CONTENTS = st.sampled_from(["order", "order", "order", "Riyadh", "Berlin", "grant", "deny"])
ALONE = st.builds(Said, st.integers(0, 60), st.sampled_from(IDENTIFIERS).map(lambda one: [one]), MINUTES, CONTENTS)
TOGETHER = st.builds(
    Said,
    st.integers(0, 60),
    st.lists(st.sampled_from(IDENTIFIERS), min_size=2, max_size=3, unique=True),
    MINUTES,
    CONTENTS,
)
ARRIVAL = st.builds(Ingested, st.lists(ALONE, min_size=1, max_size=4))
MEETING = st.builds(Ingested, st.lists(TOGETHER, min_size=1, max_size=2))
PASSING = st.builds(Passed, st.sampled_from([10, 20, 30]))
DEFINED = st.builds(Defined, st.sampled_from(["base", "other"]), st.sampled_from(sorted(PLAIN)))
BUILT_ON = st.builds(Defined, st.just("built"), st.sampled_from(sorted(BUILT)))
DELETED = st.builds(Deleted, st.sampled_from(["base", "other", "built"]))
RESTARTED = st.builds(Restarted, st.booleans(), st.booleans())
# People who are known a while before they meet, in segments that they will leave by the passing of time.
BEGINNINGS = st.tuples(
    st.just(Defined("base", 'events("order").within("30m").exists()')),
    BUILT_ON,
    st.builds(Ingested, st.lists(ALONE, min_size=4, max_size=8)),
)
#: What happens in one step happens without waiting for the memberships to show it.
STEPS = (
    PASSING.map(lambda passed: (passed,))
    | MEETING.map(lambda met: (met,))
    | st.tuples(ARRIVAL | MEETING, PASSING | DEFINED | BUILT_ON | DELETED | RESTARTED)
    | st.tuples(PASSING | DEFINED | DELETED | RESTARTED, ARRIVAL | MEETING)
)
HISTORIES = st.tuples(BEGINNINGS, st.lists(STEPS, min_size=3, max_size=5)).map(lambda parts: [parts[0], *parts[1]])


class Play:
    """Plays histories in a workspace of its own, and knows what the segments must be."""

    def __init__(self, upstream: Upstream, database_url: str, directory: Path) -> None:
        self.clock = Clock()
        self.rules: dict[str, str] = {}
        self._upstream = upstream
        self._given = {"database_url": database_url, "data_dir": directory, "tick_seconds": 0.2, "step_seconds": 0.0}
        self._directory = directory
        self._workspace = directory.name
        self._running = AsyncExitStack()

    async def __aenter__(self) -> "Play":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    async def start(self, *, lost: bool = False) -> None:
        """Start the service, which is stopped before if it runs."""
        await self._running.aclose()
        if lost:
            for file in self._directory.iterdir():
                file.unlink()
        service = started(self._upstream, self.clock, self._workspace, **self._given)
        self.world: World = await self._running.enter_async_context(service)

    async def happen(self, deed: Deed) -> None:
        """Let something happen."""
        match deed:
            case Ingested(facts):
                await self.world.ingest(*(said.fact() for said in facts))
            case Passed(minutes):
                self.clock.pass_by(minutes=minutes)
            case Defined(name, rule):
                await self._define(name, rule)
            case Deleted(name):
                await self._delete(name)
            case Restarted(twice, lost):
                for _ in range(1 + twice):
                    await self.start(lost=lost)

    async def members(self) -> dict[str, set[str]]:
        """The members of each segment, once they show everything that happened."""
        await self.world.settle()
        return {name: await self.world.members(name) for name in self.rules}

    async def meant(self) -> dict[str, set[str]]:
        """Who must be in each segment, by the profiles."""
        people, now = await everybody(self.world), self.clock.instant
        return {name: {each for each, who in people.items() if self._holds(name, who, now)} for name in self.rules}

    def _holds(self, name: str, who: Person, now: datetime) -> bool:
        rule = self.rules[name]
        return PLAIN[rule](who, now) if rule in PLAIN else BUILT[rule](self._holds("base", who, now), who, now)

    async def _define(self, name: str, rule: str) -> None:
        if name in self.rules:
            await self.world.update(name, rule=rule)
        elif rule in PLAIN or "base" in self.rules:
            await self.world.create(name, rule)
        else:
            return
        self.rules[name] = rule

    async def _delete(self, name: str) -> None:
        if name == "base" and "built" in self.rules:
            with pytest.raises(InUseError):
                await self.world.delete(name)
        elif self.rules.pop(name, None):
            await self.world.delete(name)


async def everybody(world: World) -> dict[str, Person]:
    """Whom the profile service knows, by profile id."""
    stub = ProfileServiceStub(world.profile.channel)
    keys = [profile_pb.ProfileKey(identifier=Identifier(kind=kind, value=value)) for kind, value in IDENTIFIERS]
    request = profile_pb.BatchGetProfilesRequest(keys=keys)
    results = (await world.profile.call(stub.BatchGetProfiles, request, workspace=world.workspace)).results
    profiles = {each.profile.profile_id: each.profile for each in results if each.HasField("profile")}
    return {person: await told(world, profile) for person, profile in profiles.items()}


async def told(world: World, profile: profile_pb.Profile) -> Person:
    """Somebody as profile and timeline show them."""
    key = profile_pb.ProfileKey(profile_id=profile.profile_id)
    request = profile_pb.ListEventsRequest(key=key, page_size=1_000)
    stub = ProfileServiceStub(world.profile.channel)
    events = (await world.profile.call(stub.ListEvents, request, workspace=world.workspace)).events
    return Person(
        city=next((trait.values[0].value.text for trait in profile.traits), None),
        mailable=any(consent.status == CONSENT_STATUS_GRANTED for consent in profile.consents),
        orders=[event.occurred_at.ToDatetime(UTC) for event in events],
    )


async def held_by_person(world: World) -> dict[str, set[str]]:
    """The members of each segment that has any, as each person's memberships show them."""
    found: dict[str, set[str]] = {}
    for person in await everybody(world):
        request = segment_pb.GetMembershipsRequest(profile_id=person)
        for membership in (await world.call("GetMemberships", request)).memberships:
            found.setdefault(membership.segment, set()).add(person)
    return found


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES)
async def test_all_tell_one_story(
    postgres_server: str, upstream: Upstream, tmp_path: Path, history: list[tuple[Deed, ...]]
) -> None:
    """At every step members are those whom the profiles make so; feed, people and a service that knew nothing agree."""
    with segment_database(postgres_server) as database_url:
        async with Play(upstream, database_url, tmp_path / f"w{uuid4().hex}") as play:
            for step in history:
                for deed in step:
                    await play.happen(deed)
                members = await play.members()
                assert members == await play.meant(), step
            told_in_pieces = {name: found for name, found in members.items() if found}
            assert {name: found for name, found in (await play.world.replayed()).items() if found} == told_in_pieces
            assert await held_by_person(play.world) == told_in_pieces
            changes = await play.world.changes()
            await play.start(lost=True)
            assert await play.members() == members
            assert await play.world.changes() == changes
