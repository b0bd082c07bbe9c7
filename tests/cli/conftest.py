"""A sample, and what the real connectors read in it; a service of one method."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import grpc
import pytest
from sima_cli.sample.delivery import Delivery
from sima_cli.sample.generator import Sample, generate
from sima_cli.sample.people import Plan
from sima_cli.sample.sources import sources_yaml
from sima_cli.sample.truth import Known
from sima_collector.facts import ConfiguredSource
from sima_collector.sources import read_sources
from sima_sdk.connectors import Connector, PullConnector, PushConnector, Request
from sima_sdk.errors import InvalidIdentifierError
from sima_sdk.facts import Fact
from sima_sdk.plugins import connectors, identifier_kinds, plugin_manager

UNTIL = datetime(2026, 10, 1, 12, tzinfo=UTC)


class Channels:
    """The connectors of all plugins, with the sources of the sample."""

    def __init__(self, sources: dict[str, ConfiguredSource]) -> None:
        manager = plugin_manager()
        self._connectors: dict[str, Connector] = connectors(manager)
        self._kinds = identifier_kinds(manager)
        self._sources = sources

    def receive(self, delivery: Delivery) -> tuple[Fact, ...]:
        """What the connector of the delivery's source reads in it."""
        configured = self._sources[delivery.source]
        connector = self._connectors[configured.connector]
        assert isinstance(connector, PushConnector)
        url = urlsplit(delivery.path)
        headers = {name.lower(): value for name, value in delivery.headers.items()}
        request = Request(delivery.method, url.path, headers, dict(parse_qsl(url.query)), delivery.body)
        return connector.receive(request, configured.source).facts

    def pull(self, source: str, file: Path) -> Iterator[Fact]:
        """What the connector of a source reads in a file; it must refuse nothing."""
        configured = self._sources[source]
        connector = self._connectors[configured.connector]
        assert isinstance(connector, PullConnector)
        for page in connector.pull(configured.source, file):
            assert page.refusals == ()
            yield from page.facts

    def names(self, source: str, fact: Fact) -> Iterator[Known]:
        """The identifiers of a fact in their normal forms, without those that have none."""
        region = self._sources[source].source.default_region
        for identifier in fact.identifiers:
            try:
                yield Known(identifier.kind, self._kinds.normalise(identifier.kind, identifier.value, region))
            except InvalidIdentifierError:
                continue


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Channels:
    """The connectors with the sources of the sample."""
    file = tmp_path_factory.mktemp("sources") / "sources.yaml"
    file.write_text(sources_yaml("main", "token"))
    return Channels(read_sources(file))


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """Make a sample of a plan, by its parts."""

    def make(people: int = 300, seed: int = 1, junk: float = 0.05, shared_devices: float = 0.05) -> Sample:
        return generate(Plan(people, UNTIL, seed, junk, shared_devices))

    return make


@pytest.fixture(scope="session")
def sample(make_sample: Callable[..., Sample]) -> Sample:
    """One sample with all kinds of dirt."""
    return make_sample()


@contextmanager
def serving(service: str, methods: "dict[str, grpc.RpcMethodHandler[Any, Any]]") -> Iterator[str]:
    """Serve some methods of a service, and give the address."""
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
