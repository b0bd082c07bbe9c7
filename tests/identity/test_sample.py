"""The sample's customers, through the real connectors and a real identity service, against the truth."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima_cli.report.accuracy import Found, compare
from sima_cli.sample.dirt import JUNK_NAMES
from sima_cli.sample.generator import generate
from sima_cli.sample.people import Plan
from sima_cli.sample.sources import sources_yaml
from sima_cli.sample.truth import Known, Truth
from sima_collector.sources import read_sources

from tests.cli.conftest import Channels
from tests.cli.test_people import heard

from .conftest import Named, Replica, identifier

UNTIL = datetime(2026, 10, 1, 12, tzinfo=UTC)
PLAN = Plan(people=600, until=UNTIL, seed=5, junk=0.05, shared_devices=0.02)
BATCH = 500
Message = tuple[list[Known], datetime]


def seen(message: Message) -> pb.IdentifierSet:
    """A message as identity hears of it."""
    names, happened = message
    at = Timestamp()
    at.FromDatetime(happened)
    identifiers = [identifier(Named(name.kind, name.value)) for name in dict.fromkeys(names)]
    return pb.IdentifierSet(identifiers=identifiers, observed_at=at, source="sample")


async def grouped(identity: Replica, workspace: str, messages: Sequence[Message]) -> Found:
    """The profile of each identifier once the service has heard everything, several calls at a time."""
    calls = [pb.ResolveRequest(sets=map(seen, messages[at : at + BATCH])) for at in range(0, len(messages), BATCH)]
    for start in range(0, len(calls), 4):
        several = calls[start : start + 4]
        await asyncio.gather(
            *(identity.client.call(identity.stub.Resolve, call, workspace=workspace) for call in several)
        )
    last = {change.identifier.key: change for change in await identity.changes(workspace)}
    names = ((Known(one.identifier.kind, one.identifier.value), one.profile_id) for one in last.values())
    return {name: profile for name, profile in names if profile}


def findable(truth: Truth, messages: Iterable[Message]) -> Found:
    """Whom messages connect if nothing counts that is nobody's: more cannot be found."""
    people: dict[Known, frozenset[Known]] = {}
    for names, _ in messages:
        own = [name for name in names if truth[name] is not None]
        joined = frozenset(own).union(*(people.get(name, ()) for name in own))
        people |= dict.fromkeys(joined, joined)
    return {name: str(min(joined)) for name, joined in people.items()}


@pytest.mark.slow
async def test_nobody_is_mistaken_and_all_are_found_who_can_be(
    identity: Replica, workspace: str, tmp_path: Path
) -> None:
    """With junk in every twentieth message, in three languages, and two people of a hundred at a shared tablet.

    Precision is 1.0, and recall that of the truth itself: a pair is missed only where no message, nor any chain of
    them, connects the two, as with a browser that never logs in.
    """
    sources = tmp_path / "sources.yaml"
    sources.write_text(sources_yaml("main", "token"))
    sample = generate(PLAN)
    messages = [message for message in heard(sample, Channels(read_sources(sources)), tmp_path) if message[0]]
    assert set(JUNK_NAMES) <= {name for names, _ in messages for name in names}
    assert sum(person.tablet is not None for person in sample.people) in range(10, 13)
    accuracy = compare(sample.truth, await grouped(identity, workspace, messages))
    best = compare(sample.truth, findable(sample.truth, messages))
    assert accuracy.precision == 1.0
    assert accuracy.recall == best.recall
    assert best.recall > 0.97
