"""How soon a person with a thousand identifiers and a million facts is two.

Somebody typed another customer's card number, and two people with five hundred browsers each became one. The facts are
loaded as `Ingest` would have written them; they belong to the browsers, so not one of them may be written by the split.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
from sima.identity.v1 import identity_service_pb2 as pb
from sima.profile.v1 import profile_service_pb2 as profile_pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.keys import Keys

from benchmarks import identity_floors as floors
from benchmarks.figures import Figure, short, sized, told
from benchmarks.graph import Graph
from benchmarks.loading import SOURCE
from benchmarks.stack import started
from benchmarks.world import long_ago

IDENTIFIERS = 1_000
FACTS = 1_000_000
BAR = 1_000.0  # ms

_WORKSPACE = "split"
_PATIENCE_SECONDS = 60.0
_CARD = Identifier(kind="loyalty_card", value="CARD4711")
_USER = Identifier(kind="user_id", value="u1")
_ADDRESS = Identifier(kind="email", value="somebody.else@mail.example.com")
_LOAD = """INSERT INTO profile.facts
        (workspace, id, occurred_at, received_at, source, keys, owner, contested, name, properties, content, epoch)
    SELECT %(workspace)s, (lpad(to_hex(ms), 12, '0') || substr(md5('event ' || place), 1, 20))::uuid,
        at, at, %(source)s, ARRAY[owner], owner, false, 'page_viewed',
        convert_to('{"url":"/p/' || place %% 5000 || '"}', 'UTF8'), md5('what was done ' || place)::uuid,
        (SELECT epoch FROM profile.feed_epoch)
    FROM generate_series(0, %(facts)s - 1) AS place,
        LATERAL (SELECT %(start)s::timestamptz + place * interval '30 seconds' AS at) AS times,
        LATERAL (SELECT (extract(epoch FROM at) * 1000)::bigint AS ms) AS milliseconds,
        LATERAL (SELECT (%(owners)s::uuid[])[1 + place %% %(count)s] AS owner) AS owners"""
_FACTS = "SELECT array_agg(DISTINCT xmin::text), count(*) FROM profile.facts WHERE workspace = %s"


async def split(scale: float) -> AsyncIterator[Figure]:
    """Split, then ask for the profile until it is the other person's."""
    facts = sized(FACTS, scale, IDENTIFIERS)
    async with started() as stack:
        graph = Graph(stack, _WORKSPACE, long_ago())
        theirs, others = browsers("theirs", IDENTIFIERS // 2 - 2), browsers("others", IDENTIFIERS // 2 - 1)
        await graph.resolve(graph.seen(evidence(theirs, others)))
        with told(f"{facts} facts loaded"):
            await asyncio.to_thread(load, graph, [*theirs, *others], facts)
        await asyncio.to_thread(stack.tidy)
        stored = await asyncio.to_thread(versions, stack.database_url)
        joined = await profile_of(graph, _ADDRESS)
        assert (joined.event_count, len(joined.identifiers)) == (facts, IDENTIFIERS), "they are not one person"
        moved = graph.keys_of([_ADDRESS, *others])
        update = await asyncio.to_thread(floors.update_ms, stack.database_url, _WORKSPACE, moved)
        count = await asyncio.to_thread(floors.count_ms, stack.database_url, _WORKSPACE, moved)
        taken, until_profile = await divided(graph, joined)
        assert await asyncio.to_thread(versions, stack.database_url) == stored, "a split has written facts"
    size = f"{short(IDENTIFIERS)}_{short(facts)}_facts"
    floor_is = f"a durable UPDATE of the profile of {len(moved)} of {IDENTIFIERS} identifiers"
    yield Figure(f"identity_split_{size}_ms", taken, "ms", update, floor_is, BAR)
    floor_is += ", and a query that counts their facts"
    yield Figure(f"identity_split_{size}_until_profile_ms", until_profile, "ms", update + count, floor_is, BAR)


async def divided(graph: Graph, joined: profile_pb.Profile) -> tuple[float, float]:
    """Milliseconds of the split, and from its beginning until the profile is that of the other person alone."""
    deciding = pb.Deciding(actor="benchmark", reason="two people, one mistyped card", request_id=str(uuid4()))
    request = pb.SplitRequest(identifiers=[_ADDRESS], others=[_USER, _CARD], deciding=deciding)
    began = time.perf_counter()
    outcome = (await graph.ask("Split", request)).outcome
    taken = time.perf_counter() - began
    while (profile := await profile_of(graph, _ADDRESS)).profile_id == joined.profile_id:
        assert time.perf_counter() - began < _PATIENCE_SECONDS, "the profile never follows the split"
    seconds = time.perf_counter() - began
    assert not outcome.pending
    assert len(outcome.changes) == len(profile.identifiers) == IDENTIFIERS // 2
    rest = await profile_of(graph, _USER)
    assert 0 < profile.event_count == joined.event_count - rest.event_count
    return taken * 1000, seconds * 1000


def browsers(whose: str, count: int) -> list[Identifier]:
    """The browsers of one of the two."""
    return [Identifier(kind="anonymous_id", value=f"browser-{whose}-{number}") for number in range(count)]


def evidence(theirs: list[Identifier], others: list[Identifier]) -> list[tuple[str, list[Identifier]]]:
    """Each of the two with their browsers, and the card with both."""
    by_person = [[_USER, one] for one in theirs] + [[_ADDRESS, one] for one in others]
    return [(f"said {number}", seen) for number, seen in enumerate([*by_person, [_USER, _CARD], [_ADDRESS, _CARD]])]


async def profile_of(graph: Graph, identifier: Identifier) -> profile_pb.Profile:
    """A profile as it is now."""
    profile = graph.stack.profile
    request = profile_pb.GetProfileRequest(key=profile_pb.ProfileKey(identifier=identifier))
    response: profile_pb.GetProfileResponse = await profile.call(
        ProfileServiceStub(profile.channel).GetProfile, request, workspace=graph.workspace
    )
    return response.profile


def load(graph: Graph, owners: list[Identifier], facts: int) -> None:
    """Load facts of identifiers, in turn, in the order of time."""
    given = {"workspace": _WORKSPACE, "source": SOURCE, "facts": facts, "start": graph.start, "count": len(owners)}
    with floors.connected(graph.stack.database_url) as connection:
        connection.execute(_LOAD, {**given, "owners": Keys(graph.keys_of(owners))})
        connection.execute("INSERT INTO profile.workspaces (workspace) VALUES (%s)", (_WORKSPACE,))


def versions(url: str) -> object:
    """Which transactions wrote the facts, and how many there are."""
    with psycopg.connect(url) as connection:
        return connection.execute(_FACTS, (_WORKSPACE,)).fetchall()
