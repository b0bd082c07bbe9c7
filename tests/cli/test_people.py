"""Identity's own grouping, over the facts that real connectors read in samples, against the truth."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sima_cli.report.accuracy import Found, compare
from sima_cli.sample.generator import Sample
from sima_cli.sample.truth import Known
from sima_identity.batch import Sighting, gather
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Edge, Node, Refusal
from sima_identity.policy import Policy
from sima_runtime.wire import KeyedIdentifier
from sima_sdk.facts import Fact
from sima_sdk.identifiers import identifier_key

from tests.cli.conftest import UNTIL, Channels

SECRET = b"s" * 32


def heard(sample: Sample, channels: Channels, folder: Path) -> Iterator[tuple[list[Known], datetime]]:
    """The names in every fact of a sample, with its time."""
    facts: Iterator[tuple[str, Fact]]
    facts = ((one.source, fact) for one in sample.deliveries for fact in channels.receive(one))
    for source, fact in facts:
        yield list(channels.names(source, fact)), fact.occurred_at or UNTIL
    for source, file in sample.write(folder).items():
        for fact in channels.pull(source, file):
            yield list(channels.names(source, fact)), fact.occurred_at or UNTIL


def find_people(messages: Iterator[tuple[list[Known], datetime]]) -> Found:
    """The profile of each identifier, by the pure grouping over everything."""
    policy = Policy()
    batch = gather(
        Sighting([keyed(name) for name in dict.fromkeys(names)], len(set(names)), micros(at), "s", "m")
        for names, at in messages
    )
    nodes = [
        Node(key, one.kind, Refusal.BLOCKED if policy.blocks(one.kind, one.value or "") else None)
        for key, one in batch.identifiers.items()
    ]
    edges = [Edge(edge.low, edge.high, seen.first_at) for edge, seen in batch.edges.items()]
    clustering = cluster_identifiers(nodes, edges, policy)
    return {
        Known(batch.identifiers[key].kind, batch.identifiers[key].value or ""): str(number)
        for number, cluster in enumerate(clustering.clusters)
        for key in cluster
    }


def micros(at: datetime) -> int:
    """A time as identity counts it."""
    return int(at.timestamp() * 1_000_000)


def keyed(name: Known) -> KeyedIdentifier:
    """An identifier with its key."""
    return KeyedIdentifier(name.kind, name.value, identifier_key(SECRET, name.kind, name.value))


@pytest.mark.parametrize(
    "shape",
    [(200, 1, 0.0, 0.0), (200, 2, 0.1, 0.05), (400, 3, 0.1, 0.02), (600, 4, 0.05, 0.05), (1_500, 5, 0.1, 0.05)],
)
def test_nobody_is_mistaken_and_hardly_anybody_missed(
    make_sample: Callable[..., Sample], channels: Channels, tmp_path: Path, shape: tuple[int, int, float, float]
) -> None:
    """Whatever the size, the seed and the dirt: precision is 1.0 and recall at least 0.97."""
    sample = make_sample(*shape)
    accuracy = compare(sample.truth, find_people(heard(sample, channels, tmp_path)))
    assert accuracy.precision == 1.0
    assert 0.97 <= accuracy.recall <= 1.0
    assert accuracy.pairs > shape[0]
