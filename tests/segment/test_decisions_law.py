"""Decisions and policies hold for the whole of Sima, not for the graph alone, and for every fact before and after them.

Three installations are told the same: in one a decision comes before all facts, in one behind them, and in one nobody
decides. The first two must end the same; and once the decision is taken back, as the third. So with policies. And who
is erased is, for all others, as if nobody had ever told of them.
"""

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as identity_pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.service import assembled as identity_assembled
from sima_identity.settings import IdentitySettings
from sima_profile.service import assembled as profile_assembled
from sima_profile.settings import ProfileSettings
from sima_runtime.clients import ServiceClient
from sima_runtime.errors import NotFoundError
from sima_runtime.migrations import migrate
from sima_runtime.settings import ClientSettings

from tests.identity.conftest import Named
from tests.identity.policies import policies

from .builders import device, fact, mail, user
from .test_service_law import PLAIN, Said
from .worlds import Clock, Upstream, World, eventually, segment_database, serve, started

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRONG = [user("1"), user("2"), mail("1"), mail("2"), mail("3")]
IDENTIFIERS = [*STRONG, device("1"), device("2")]
FACTS = st.lists(
    st.builds(
        Said,
        st.integers(0, 40),
        st.lists(st.sampled_from(IDENTIFIERS), min_size=1, max_size=3, unique=True),
        st.integers(-30, 0),
        st.sampled_from(["order", "Riyadh", "Berlin", "grant", "deny"]),
    ),
    min_size=2,
    max_size=12,
    unique_by=lambda said: said.number,
)
PAIRS = st.lists(st.sampled_from(IDENTIFIERS), min_size=2, max_size=2, unique=True)
KINDS = st.sampled_from(["NeverLink", "AlwaysLink", "Split"])
#: No example is told smaller: each takes seconds.
LAW = settings(
    max_examples=int(os.environ.get("SIMA_RACES", "4")),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Decision(NamedTuple):
    """What somebody decides about two identifiers."""

    kind: str
    one: tuple[str, str]
    other: tuple[str, str]

    def request(self) -> Any:
        """The message."""
        one, other = (Identifier(kind=kind, value=value) for kind, value in (self.one, self.other))
        by = identity_pb.Deciding(actor="ops", reason="so it is", request_id="the only one")
        if self.kind == "Split":
            return identity_pb.SplitRequest(identifiers=[one], others=[other], deciding=by)
        kinds = {"NeverLink": identity_pb.NeverLinkRequest, "AlwaysLink": identity_pb.AlwaysLinkRequest}
        return kinds[self.kind](identifier=one, other=other, deciding=by)


class Told(NamedTuple):
    """A Sima of its own, which is told facts and decisions in a workspace."""

    world: World
    identity: ServiceClient

    def of(self, workspace: str) -> "Told":
        """The same in another workspace."""
        return Told(replace(self.world, workspace=workspace), self.identity)

    async def begin(self, without: Collection[tuple[str, str]] = ()) -> None:
        """Create the segments, and let every identifier be seen, alone."""
        for number, rule in enumerate(PLAIN):
            await self.world.create(f"s{number}", rule)
        await self.world.ingest(*(fact(f"known {each}", each) for each in IDENTIFIERS if each not in without))

    async def decide(self, decision: Decision) -> str:
        """Have something decided; returns its id."""
        method = getattr(IdentityServiceStub(self.identity.channel), decision.kind)
        response = await self.identity.call(method, decision.request(), workspace=self.world.workspace, deadline=60)
        return str(response.outcome.decision.id)

    async def withdraw(self, decision_id: str) -> None:
        """Take it back."""
        by = identity_pb.Deciding(actor="ops", reason="it is not so", request_id="taken back")
        request = identity_pb.WithdrawDecisionRequest(decision_id=decision_id, deciding=by)
        method = IdentityServiceStub(self.identity.channel).WithdrawDecision
        await self.identity.call(method, request, workspace=self.world.workspace, deadline=60)

    async def rule(self, policy: identity_pb.IdentityPolicy) -> None:
        """Set a policy, and wait until all is grouped under it."""
        stub = IdentityServiceStub(self.identity.channel)
        by = identity_pb.Deciding(actor="ops", reason="so it is", request_id=uuid4().hex)
        call = partial(self.identity.call, workspace=self.world.workspace, deadline=60)
        await call(stub.SetIdentityPolicy, identity_pb.SetIdentityPolicyRequest(policy=policy, deciding=by))

        async def applied() -> bool:
            stated = await call(stub.GetIdentityPolicy, identity_pb.GetIdentityPolicyRequest())
            return bool(stated.policy.HasField("applied_at"))

        await eventually(applied)

    async def erase(self, erased: Sequence[tuple[str, str]]) -> None:
        """Have identifiers erased."""
        identifiers = [Identifier(kind=kind, value=value) for kind, value in erased]
        by = identity_pb.Deciding(actor="ops", reason="they asked for it", request_id="erased")
        request = identity_pb.EraseIdentifiersRequest(identifiers=identifiers, deciding=by)
        method = IdentityServiceStub(self.identity.channel).EraseIdentifiers
        await self.identity.call(method, request, workspace=self.world.workspace, deadline=60)

    async def story(self) -> dict[str, Any]:
        """What there is to know about everybody, by identifier: with whom they are one, what they are and did."""
        await self.world.settle()
        return {f"{kind}:{value}": await self._about(kind, value) for kind, value in IDENTIFIERS}

    async def _about(self, kind: str, value: str) -> dict[str, Any]:
        stub = ProfileServiceStub(self.world.profile.channel)
        key = profile_pb.ProfileKey(identifier=Identifier(kind=kind, value=value))
        call = partial(self.world.profile.call, workspace=self.world.workspace, deadline=60)
        try:
            profile = (await call(stub.GetProfile, profile_pb.GetProfileRequest(key=key))).profile
        except NotFoundError:  # blocked or erased
            return {}
        listed = await call(stub.ListEvents, profile_pb.ListEventsRequest(key=key))
        return {
            "identifiers": sorted((each.kind, each.value) for each in profile.identifiers),
            "traits": [(trait.trait, [one.value.text for one in trait.values]) for trait in profile.traits],
            "alternatives": [sorted(each.value.text for each in trait.alternatives) for trait in profile.traits],
            "consents": [(each.purpose, each.status) for each in profile.consents],
            "events": [each.occurred_at.seconds for each in listed.events],
            "segments": [each.segment for each in (await self.world.memberships(kind, value)).memberships],
        }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installations(
    postgres_server: str, workspace_key_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[Told]]:
    """Three of them, with the same secrets, so that every tie is decided alike."""
    async with AsyncExitStack() as stack:
        yield [
            await started_alone(stack, postgres_server, workspace_key_file, tmp_path_factory.mktemp("segment"))
            for _ in range(3)
        ]


async def started_alone(stack: AsyncExitStack, server: str, key_file: Path, directory: Path) -> Told:
    """All three services over a database of their own."""
    url = stack.enter_context(segment_database(server))
    for package in ("sima_identity", "sima_profile"):
        migrate(url, package)
    common: dict[str, Any] = {"database_url": url, "workspace_key_file": key_file}
    identity = IdentitySettings(**common)
    identity_address = await serve(stack, identity, identity_assembled(identity))
    profile = ProfileSettings(**common, identity_address=identity_address)
    profile_address = await serve(stack, profile, profile_assembled(profile))
    clients = [
        ServiceClient(name, address, ClientSettings(client_timeout_seconds=60))
        for name, address in (("identity", identity_address), ("profile", profile_address))
    ]
    for client in clients:
        stack.push_async_callback(client.close)
    upstream = Upstream(identity_address, profile_address, clients[1])
    running = started(upstream, Clock(), "", database_url=url, data_dir=directory)
    return Told(await stack.enter_async_context(running), clients[0])


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=FACTS, kind=KINDS, pair=PAIRS)
async def test_a_decision_holds_for_all_facts_before_and_after_it(
    installations: list[Told], said: Sequence[Said], kind: str, pair: Sequence[tuple[str, str]]
) -> None:
    """First or last, profiles, timelines, consents and segments are the same; taken back, it leaves no trace."""
    decision, workspace = Decision(kind, *pair), f"w{uuid4().hex}"
    first, last, never = (each.of(workspace) for each in installations)
    facts = [each.fact() for each in said]
    for told in (first, last, never):
        await told.begin()
    await first.decide(decision)
    for told in (first, last, never):
        await told.world.ingest(*facts)
    await assert_the_same_story(last, never)
    decided = await last.decide(decision)
    await assert_the_same_story(last, first)
    await last.withdraw(decided)
    await assert_the_same_story(last, never)


@LAW
@given(said=FACTS, policy=policies([Named(*each) for each in IDENTIFIERS]))
async def test_a_policy_holds_for_all_facts_before_and_after_it(
    installations: list[Told], said: Sequence[Said], policy: identity_pb.IdentityPolicy
) -> None:
    """First or last, profiles, timelines, consents and segments are the same; set back, it leaves no trace."""
    workspace = f"w{uuid4().hex}"
    first, last, never = (each.of(workspace) for each in installations)
    facts = [each.fact() for each in said]
    for told in (first, last, never):
        await told.begin()
    await first.rule(policy)
    for told in (first, last, never):
        await told.world.ingest(*facts)
    await assert_the_same_story(last, never)
    await last.rule(policy)
    await assert_the_same_story(last, first)
    await last.rule(identity_pb.IdentityPolicy())
    await assert_the_same_story(last, never)


#: The stronger kinds first.
STRENGTH = ["user_id", "email", "device_id"]


def beneath(said: Said, erased: Collection[tuple[str, str]]) -> Said:
    """A fact that is owned by nobody who is erased, unless it is about nobody else."""
    others = [STRENGTH.index(kind) for kind, value in said.identifiers if (kind, value) not in erased]
    own = min(others, default=-1)
    left = [each for each in said.identifiers if each not in erased or STRENGTH.index(each[0]) > own]
    return said._replace(identifiers=left)


def without(said: Said, erased: Collection[tuple[str, str]]) -> Said:
    """A fact that does not name some identifiers."""
    return said._replace(identifiers=[each for each in said.identifiers if each not in erased])


@LAW
@given(said=FACTS, erased=st.lists(st.sampled_from(IDENTIFIERS), min_size=1, max_size=2, unique=True))
async def test_who_is_erased_is_for_all_others_as_if_never_told(
    installations: list[Told], said: Sequence[Said], erased: Sequence[tuple[str, str]]
) -> None:
    """Profiles, timelines, consents and segments of all others are as if no fact had named the erased.

    This is what identity can promise alone: facts that only the erased had are nobody's, and of facts that others own
    nothing changes. A fact that the erased own, and which names others as well, is nobody's until the profile service
    erases facts itself; such facts are not told here.
    """
    workspace = f"w{uuid4().hex}"
    last, never, _ = (each.of(workspace) for each in installations)
    told = [beneath(each, erased) for each in said]
    await last.begin()
    await last.world.ingest(*(each.fact() for each in told))
    await never.begin(without=erased)
    if left := [each.fact() for each in (without(each, erased) for each in told) if each.identifiers]:
        await never.world.ingest(*left)
    await last.story()
    await last.erase(erased)
    await assert_the_same_story(last, never)


async def assert_the_same_story(one: Told, other: Told) -> None:
    """Two workspaces end the same; the owners of facts of what became shared follow beside all calls."""
    stories: list[dict[str, Any]] = []

    async def equal() -> bool:
        stories[:] = [await one.story(), await other.story()]
        return stories[0] == stories[1]

    with suppress(TimeoutError):
        await eventually(equal)
    for one_known, other_known in zip(*(story.items() for story in stories), strict=True):
        assert one_known == other_known
