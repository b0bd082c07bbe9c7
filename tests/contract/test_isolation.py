"""One workspace sees nothing of another, through any RPC of any service, whatever its caller asks for."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as identity_pb
from sima.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.segment.v1 import segment_service_pb2 as segment_pb
from sima.segment.v1.segment_service_pb2_grpc import SegmentServiceStub
from sima.type.v1.fact_pb2 import CONSENT_STATUS_GRANTED, METHOD_DECLARED, Fact
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.policy import Policy
from sima_identity.service import assembled as identity_assembled
from sima_identity.settings import IdentitySettings
from sima_profile.service import assembled as profile_assembled
from sima_profile.settings import ProfileSettings
from sima_runtime.clients import open_channel
from sima_runtime.settings import ClientSettings
from sima_sdk.identifiers import BUILT_IN_KINDS
from sima_segment.service import assembled as segment_assembled
from sima_segment.settings import SegmentSettings

from tests.segment.worlds import segment_database, serve

STUBS = {"Identity": IdentityServiceStub, "Profile": ProfileServiceStub, "Segment": SegmentServiceStub}
FILES = {"Identity": identity_pb, "Profile": profile_pb, "Segment": segment_pb}
#: Every method of every contract: one that is added later is asked for here.
RPCS = [
    f"{name}.{method.name}"
    for name, file in FILES.items()
    for method in file.DESCRIPTOR.services_by_name[f"{name}Service"].methods
]
OWN, OTHER = "castle", "village"
EMAIL = Identifier(kind="email", value="ada@castle.example")
PHONE = Identifier(kind="phone", value="+4915127046318")
CARD = Identifier(kind="loyalty_card", value="4711")
COMPANY = Identifier(kind="domain", value="moat.example.org")
KIOSK = Identifier(kind="device_id", value="court-jester")
AT = Timestamp(seconds=1_790_000_000)
RULES = identity_pb.IdentityPolicy(blocked_values=[EMAIL])
LATER = Timestamp(seconds=99_990_000_000)
#: Three people make a hub of a device.
SOON_A_HUB = Policy({**BUILT_IN_KINDS, "device_id": replace(BUILT_IN_KINDS["device_id"], shared_above=2)})
#: What only one workspace knows.
VALUES = [
    PHONE.value,
    KIOSK.value,
    COMPANY.value,
    "crown-jewels",
    "throne_ascended",
    "hidden-chamber",
    "those who rule",
    "rulers",
]
#: How somebody is told that there is nothing for them; any other error would only mean that the call went wrong.
NOTHING_THERE = ("NOT_FOUND", "INVALID_ARGUMENT", "OUT_OF_RANGE")


class Known(NamedTuple):
    """What somebody has learned of the workspace that is not theirs."""

    profile_id: str
    decision_id: str
    keys: list[bytes]
    cursors: dict[str, str]
    page_tokens: dict[str, str]


def fact() -> Fact:
    """What one workspace is told."""
    told = Fact(source="shop", message_id="m1", identifiers=[EMAIL, PHONE, COMPANY], occurred_at=AT)
    told.event.name = "throne_ascended"
    told.event.properties = b'{"with": "crown-jewels"}'
    told.traits.add(trait="place", method=METHOD_DECLARED).value.text = "hidden-chamber"
    told.consents.add(purpose="letters", status=CONSENT_STATUS_GRANTED)
    return told


def resolving(identifiers: Iterable[Identifier]) -> identity_pb.ResolveRequest:
    """Report that identifiers were seen together."""
    one = identity_pb.IdentifierSet(identifiers=identifiers, source="shop", observed_at=AT)
    return identity_pb.ResolveRequest(sets=[one])


def deciding(request_id: str) -> identity_pb.Deciding:
    """Somebody who says that they may decide."""
    return identity_pb.Deciding(actor="mallory", reason="curious", request_id=request_id)


#: How somebody asks each RPC for what is not theirs; several requests where there are several ways.
ASKING: dict[str, Callable[[Known], list[Message]]] = {
    "Identity.Resolve": lambda _: [resolving([EMAIL])],
    "Identity.Lookup": lambda known: [
        identity_pb.LookupRequest(
            keys=[identity_pb.LookupKey(identifier=EMAIL), identity_pb.LookupKey(profile_id=known.profile_id)]
        )
    ],
    "Identity.LookupAsKnown": lambda known: [
        identity_pb.LookupAsKnownRequest(
            keys=[identity_pb.LookupKey(identifier=EMAIL), identity_pb.LookupKey(profile_id=known.profile_id)],
            known_at=LATER,
        )
    ],
    "Identity.LookupAsOf": lambda known: [
        identity_pb.LookupAsOfRequest(
            keys=[identity_pb.LookupKey(identifier=EMAIL), identity_pb.LookupKey(profile_id=known.profile_id)],
            as_of=LATER,
        )
    ],
    "Identity.ListProfileChanges": lambda known: [
        identity_pb.ListProfileChangesRequest(identifier=EMAIL),
        identity_pb.ListProfileChangesRequest(profile_id=known.profile_id),
        identity_pb.ListProfileChangesRequest(
            profile_id=known.profile_id, page_size=1, page_token=known.page_tokens["changes"]
        ),
    ],
    "Identity.EraseIdentifiers": lambda known: [
        identity_pb.EraseIdentifiersRequest(identifiers=[PHONE], deciding=deciding("e1")),
        identity_pb.EraseIdentifiersRequest(profile_id=known.profile_id, deciding=deciding("e2")),
    ],
    "Identity.ListErasures": lambda _: [
        identity_pb.ListErasuresRequest(),
        identity_pb.ListErasuresRequest(page_size=1),
    ],
    "Identity.GetIdentityPolicy": lambda _: [identity_pb.GetIdentityPolicyRequest()],
    "Identity.SetIdentityPolicy": lambda _: [
        identity_pb.SetIdentityPolicyRequest(policy=RULES, deciding=deciding("p1"))
    ],
    "Identity.PreviewIdentityPolicy": lambda _: [identity_pb.PreviewIdentityPolicyRequest(policy=RULES)],
    "Identity.Split": lambda known: [identity_pb.SplitRequest(identifiers=[EMAIL], deciding=deciding("r1"))],
    "Identity.NeverLink": lambda _: [
        identity_pb.NeverLinkRequest(
            identifier=EMAIL, other=Identifier(kind="phone", value="+4930901820"), deciding=deciding("r2")
        )
    ],
    "Identity.AlwaysLink": lambda _: [
        identity_pb.AlwaysLinkRequest(
            identifier=EMAIL, other=Identifier(kind="phone", value="+4930901820"), deciding=deciding("r3")
        )
    ],
    "Identity.WithdrawDecision": lambda known: [
        identity_pb.WithdrawDecisionRequest(decision_id=known.decision_id, deciding=deciding("r4"))
    ],
    "Identity.ListDecisions": lambda known: [
        identity_pb.ListDecisionsRequest(identifier=EMAIL),
        identity_pb.ListDecisionsRequest(profile_id=known.profile_id),
    ],
    "Identity.ExplainLink": lambda _: [identity_pb.ExplainLinkRequest(identifier=EMAIL, other=PHONE)],
    "Identity.GetProfileGraph": lambda known: [
        identity_pb.GetProfileGraphRequest(identifier=EMAIL),
        identity_pb.GetProfileGraphRequest(profile_id=known.profile_id),
    ],
    "Identity.ListShared": lambda _: [
        identity_pb.ListSharedRequest(),
        identity_pb.ListSharedRequest(reason=identity_pb.SHARED_REASON_HUB, page_size=1),
    ],
    "Identity.ListHubs": lambda _: [identity_pb.ListHubsRequest()],
    "Identity.ListAffiliations": lambda known: [
        identity_pb.ListAffiliationsRequest(identifier=EMAIL),
        identity_pb.ListAffiliationsRequest(identifier=COMPANY),
        identity_pb.ListAffiliationsRequest(profile_id=known.profile_id),
    ],
    "Identity.ListGrowth": lambda _: [identity_pb.ListGrowthRequest()],
    "Identity.WatchProfileChanges": lambda known: [
        identity_pb.WatchProfileChangesRequest(until_now=True),
        identity_pb.WatchProfileChangesRequest(until_now=True, cursor=known.cursors["Identity"]),
    ],
    "Profile.Ingest": lambda _: [
        profile_pb.IngestRequest(facts=[Fact(source="x", message_id="m1", identifiers=[EMAIL])])
    ],
    "Profile.GetProfile": lambda known: [
        profile_pb.GetProfileRequest(key=profile_pb.ProfileKey(identifier=EMAIL)),
        profile_pb.GetProfileRequest(key=profile_pb.ProfileKey(profile_id=known.profile_id)),
    ],
    "Profile.BatchGetProfiles": lambda known: [
        profile_pb.BatchGetProfilesRequest(
            keys=[profile_pb.ProfileKey(identifier=EMAIL), profile_pb.ProfileKey(profile_id=known.profile_id)]
        )
    ],
    "Profile.ListEvents": lambda known: [
        profile_pb.ListEventsRequest(key=profile_pb.ProfileKey(identifier=EMAIL)),
        profile_pb.ListEventsRequest(key=profile_pb.ProfileKey(profile_id=known.profile_id)),
    ],
    "Profile.WatchFacts": lambda known: [
        profile_pb.WatchFactsRequest(until_now=True),
        profile_pb.WatchFactsRequest(until_now=True, cursor=known.cursors["Profile"]),
    ],
    "Segment.CreateSegment": lambda _: [
        segment_pb.CreateSegmentRequest(segment=segment_pb.Segment(name="others", rule='segment("rulers")'))
    ],
    "Segment.GetSegment": lambda _: [segment_pb.GetSegmentRequest(name="rulers")],
    "Segment.ListSegments": lambda _: [segment_pb.ListSegmentsRequest()],
    "Segment.UpdateSegment": lambda _: [
        segment_pb.UpdateSegmentRequest(segment=segment_pb.Segment(name="rulers", rule="true"))
    ],
    "Segment.DeleteSegment": lambda _: [segment_pb.DeleteSegmentRequest(name="rulers")],
    "Segment.PreviewSegment": lambda _: [
        segment_pb.PreviewSegmentRequest(rule='traits.place == "hidden-chamber"'),
        segment_pb.PreviewSegmentRequest(rule="true"),
        segment_pb.PreviewSegmentRequest(rule='segment("rulers")'),
    ],
    "Segment.ListMembers": lambda _: [segment_pb.ListMembersRequest(name="rulers")],
    "Segment.GetMemberships": lambda known: [
        segment_pb.GetMembershipsRequest(identifier=EMAIL),
        segment_pb.GetMembershipsRequest(profile_id=known.profile_id),
    ],
    "Segment.WatchMemberships": lambda known: [
        segment_pb.WatchMembershipsRequest(until_now=True),
        segment_pb.WatchMembershipsRequest(until_now=True, segments=["rulers"]),
        segment_pb.WatchMembershipsRequest(until_now=True, cursor=known.cursors["Segment"]),
    ],
}
#: What changes something would spoil what is compared if the workspace itself did it again.
WRITING = {
    "Identity.EraseIdentifiers",
    "Identity.SetIdentityPolicy",
    "Identity.Split",
    "Identity.NeverLink",
    "Identity.AlwaysLink",
    "Identity.WithdrawDecision",
    "Identity.Resolve",
    "Profile.Ingest",
    "Segment.CreateSegment",
    "Segment.UpdateSegment",
    "Segment.DeleteSegment",
}


class Caller:
    """Calls all services with one credential."""

    def __init__(self, channels: dict[str, grpc.aio.Channel], token: str) -> None:
        self._stubs: dict[str, Any] = {name: STUBS[name](channel) for name, channel in channels.items()}
        self._token = token

    async def call(self, rpc: str, request: Message, **metadata: str) -> list[Any]:
        """All that an RPC answers."""
        service, method = rpc.split(".")
        headers = [("authorization", f"Bearer {self._token}"), *metadata.items()]
        call = getattr(self._stubs[service], method)(request, metadata=headers, timeout=60)
        if method.startswith("Watch") or method == "PreviewIdentityPolicy":
            return [page async for page in call]
        return [await call]

    async def told(self, rpc: str, request: Message, *errors: str, **metadata: str) -> bytes:
        """Every byte that an RPC tells, be it an answer or one of some errors."""
        try:
            return b"".join(answer.SerializeToString() for answer in await self.call(rpc, request, **metadata))
        except grpc.aio.AioRpcError as error:
            if error.code().name not in errors:
                raise
            details = [
                str(value).encode() if isinstance(value, str) else value for _, value in error.trailing_metadata()
            ]
            return b" ".join([str(error.code()).encode(), (error.details() or "").encode(), *details])


class Installation(NamedTuple):
    """Two workspaces of one Sima, of which only the first knows anything."""

    own: Caller
    other: Caller
    known: Known

    def marks(self, request: Message) -> list[bytes]:
        """What nobody else can know, unless they say it themselves."""
        asked = request.SerializeToString()
        marks = [value.encode() for value in (*VALUES, self.known.profile_id)]
        marks += [bytes.fromhex(self.known.profile_id), *self.known.keys]
        return [mark for mark in marks if mark not in asked]


@pytest.fixture(scope="module")
def token_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of credentials, and one with the token of the services."""
    folder = tmp_path_factory.mktemp("tokens")
    workspaces = {OWN: OWN, OTHER: OTHER, "service": "*"}
    listed = [
        {"name": name, "workspace": workspace, "rpcs": ["*"], "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, workspace in workspaces.items()
    ]
    (folder / "tokens.json").write_text(json.dumps(listed))
    (folder / "service").write_text("service")
    return {"token_file": folder / "tokens.json", "client_token_file": folder / "service"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    postgres_server: str,
    migrated: Callable[[str], str],
    workspace_key_file: Path,
    token_files: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Installation]:
    """All three services, which know their callers by their tokens."""
    common: dict[str, Any] = {"workspace_key_file": workspace_key_file, **token_files}
    async with AsyncExitStack() as stack:
        identity = IdentitySettings(database_url=migrated("sima_identity"), growth_per_identifier=2, **common)
        common["identity_address"] = await serve(stack, identity, identity_assembled(identity, SOON_A_HUB))
        profile = ProfileSettings(database_url=migrated("sima_profile"), **common)
        common["profile_address"] = await serve(stack, profile, profile_assembled(profile))
        url = stack.enter_context(segment_database(postgres_server))
        segment = SegmentSettings(database_url=url, data_dir=tmp_path_factory.mktemp("segment"), **common)
        address = await serve(stack, segment, segment_assembled(segment))
        addresses = {"Identity": common["identity_address"], "Profile": common["profile_address"], "Segment": address}
        channels = {
            name: await stack.enter_async_context(open_channel(each, ClientSettings()))
            for name, each in addresses.items()
        }
        own, other = Caller(channels, OWN), Caller(channels, OTHER)
        yield Installation(own, other, await filled(own))


async def filled(own: Caller) -> Known:
    """Have the first workspace learn something, and learn what can be learned of it."""
    watching = {
        "Identity": ("Identity.WatchProfileChanges", identity_pb.WatchProfileChangesRequest(until_now=True)),
        "Profile": ("Profile.WatchFacts", profile_pb.WatchFactsRequest(until_now=True)),
        "Segment": ("Segment.WatchMemberships", segment_pb.WatchMembershipsRequest(until_now=True)),
    }
    # Behind these there is all that follows.
    cursors = {name: (await own.call(rpc, request))[-1].cursor for name, (rpc, request) in watching.items()}
    [ingested] = await own.call("Profile.Ingest", profile_pb.IngestRequest(facts=[fact()]))
    rule = 'events("throne_ascended").exists()'
    rulers = segment_pb.Segment(name="rulers", rule=rule, description="those who rule")
    await own.call("Segment.CreateSegment", segment_pb.CreateSegmentRequest(segment=rulers))
    profile_id = ingested.results[0].profile_id
    # About somebody else, so that it changes nothing; its reason is a secret, too.
    await own.call("Identity.Resolve", resolving([CARD]))
    apart = identity_pb.NeverLinkRequest(identifier=EMAIL, other=CARD, deciding=deciding("r0"))
    apart.deciding.reason = "crown-jewels"
    [decided] = await own.call("Identity.NeverLink", apart)
    asking = identity_pb.GetIdentityPolicyRequest()
    ruling = identity_pb.SetIdentityPolicyRequest(policy=identity_pb.IdentityPolicy(), deciding=deciding("p0"))
    ruling.deciding.reason = "crown-jewels"
    await own.call("Identity.SetIdentityPolicy", ruling)
    nobody = Identifier(kind="user_id", value="nobody")
    erasing = identity_pb.EraseIdentifiersRequest(identifiers=[nobody], deciding=deciding("e0"))
    erasing.deciding.reason = "crown-jewels"
    await own.call("Identity.EraseIdentifiers", erasing)
    async with asyncio.timeout(30):  # until it is applied, its answer changes
        while not (await own.call("Identity.GetIdentityPolicy", asking))[0].policy.HasField("applied_at"):  # noqa: ASYNC110  # no bell
            await asyncio.sleep(0.05)
    await crowd(own)
    lookup = identity_pb.LookupRequest(keys=[identity_pb.LookupKey(profile_id=profile_id)])
    [looked_up] = await own.call("Identity.Lookup", lookup)
    keys = [known.identifier.key for known in looked_up.results[0].identifiers]
    listing = identity_pb.ListProfileChangesRequest(profile_id=profile_id, page_size=1)
    [changes] = await own.call("Identity.ListProfileChanges", listing)
    return Known(profile_id, decided.outcome.decision.id, keys, cursors, {"changes": changes.next_page_token})


async def crowd(own: Caller) -> None:
    """Have several people come to one device within the hour, and wait until that is noticed."""
    now = Timestamp()
    now.GetCurrentTime()
    seen = [
        identity_pb.IdentifierSet(
            identifiers=[KIOSK, Identifier(kind="user_id", value=f"u{n}")], observed_at=now, source="court"
        )
        for n in range(3)
    ]
    await own.call("Identity.Resolve", identity_pb.ResolveRequest(sets=seen))
    async with asyncio.timeout(60):
        while not (await own.call("Identity.ListGrowth", identity_pb.ListGrowthRequest()))[0].growth:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def test_every_rpc_is_asked_for_what_belongs_to_others() -> None:
    """A new RPC stands here, or this fails."""
    assert sorted(ASKING) == sorted(RPCS)


@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if rpc not in WRITING])
@pytest.mark.asyncio(loop_scope="module")
async def test_the_workspace_itself_is_told(installation: Installation, rpc: str) -> None:
    """Each of these requests leads to something that only one workspace knows; so the next test can fail."""
    requests = ASKING[rpc](installation.known)
    told = [await installation.own.told(rpc, request) for request in requests]
    shown = [
        any(mark in one for mark in installation.marks(request)) for one, request in zip(told, requests, strict=True)
    ]
    assert all(shown)


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.asyncio(loop_scope="module")
async def test_another_workspace_is_told_nothing_and_changes_nothing(installation: Installation, rpc: str) -> None:
    """Neither identifiers, profile ids, names, cursors nor tokens of pages lead into somebody else's workspace."""
    before = await everything(installation)
    for request in ASKING[rpc](installation.known):
        told = await installation.other.told(rpc, request, *NOTHING_THERE)
        assert [mark for mark in installation.marks(request) if mark in told] == []
    assert await everything(installation) == before


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_can_name_a_workspace_that_is_not_theirs(installation: Installation, rpc: str) -> None:
    """The workspace comes from the credential; to ask for another is refused by every RPC."""
    for request in ASKING[rpc](installation.known):
        told = await installation.other.told(rpc, request, "PERMISSION_DENIED", **{"sima-workspace": OWN})
        assert told.startswith(b"StatusCode.PERMISSION_DENIED")


async def everything(installation: Installation) -> list[Any]:
    """What the first workspace knows of its people, segments and members."""
    asked: dict[str, Message] = {
        "Identity.GetIdentityPolicy": identity_pb.GetIdentityPolicyRequest(version=1),
        "Identity.ListDecisions": identity_pb.ListDecisionsRequest(identifier=EMAIL),
        "Profile.GetProfile": profile_pb.GetProfileRequest(key=profile_pb.ProfileKey(identifier=EMAIL)),
        "Profile.ListEvents": profile_pb.ListEventsRequest(key=profile_pb.ProfileKey(identifier=EMAIL)),
        "Segment.ListSegments": segment_pb.ListSegmentsRequest(),
        "Segment.ListMembers": segment_pb.ListMembersRequest(name="rulers"),
    }
    answers = [answer for rpc, request in asked.items() for answer in await installation.own.call(rpc, request)]
    for answer in answers:
        if "as_of" in answer.DESCRIPTOR.fields_by_name:  # which moves on by itself
            answer.ClearField("as_of")
    return answers
