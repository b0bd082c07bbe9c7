"""What happens inside a worker: a connector reads a payload, and its facts are normalised, keyed and serialized.

Values of protected identifiers end here: what leaves carries their keys only.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from sima.profile.v1.profile_service_pb2 import IngestRequest
from sima.type.v1 import fact_pb2
from sima_runtime.errors import InvalidFieldsError
from sima_runtime.wire import fact_to_proto
from sima_sdk.connectors import (
    Connector,
    Page,
    PullConnector,
    PushConnector,
    Reception,
    Refusal,
    Request,
    Response,
    check_kinds,
    check_options,
)
from sima_sdk.errors import FixConfigurationError, RefuseRequestError, SignatureError
from sima_sdk.facts import Fact, Identifier
from sima_sdk.plugins import connectors, identifier_kinds, loaded, plugin_manager

from sima_collector.errors import Verdict
from sima_collector.facts import MOST_BYTES, MOST_FACTS, Chunk, ConfiguredSource, Refused, refused_facts
from sima_collector.messages import Assignment, Catalogue, ConnectorInfo, Parsed, Rejected

T = TypeVar("T")

_LONGEST_REASON = 2_000
_TOO_LARGE = f"expected a fact of at most {MOST_BYTES} bytes"
_IDENTIFIER_FIELD = re.compile(r"identifiers\[(\d+)\]\.value")
_BODILESS = frozenset({204, 205, 304})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Parser:
    """The connectors of the installed plugins, ready for the configured sources.

    Raises:
        FixConfigurationError: The plugins cannot be loaded, or sources are not what their connectors need; all of
            the latter are named.
    """

    def __init__(self, assignment: Assignment) -> None:
        manager = plugin_manager(assignment.plugins)
        self._connectors = connectors(manager)
        self._kinds = identifier_kinds(manager)
        self._sources = {source.name: source for source in assignment.sources}
        self._secrets = assignment.secrets
        _check_sources(assignment.sources, self._connectors, self._kinds)
        self.catalogue = Catalogue(
            {name: ConnectorInfo(_routes(connector)) for name, connector in self._connectors.items()},
            tuple((plugin.name, plugin.distribution, plugin.version) for plugin in loaded(manager)),
            tuple(kind.name for kind in self._kinds.values() if kind.protected),
        )

    def receive(self, source: str, request: Request) -> Parsed | Rejected:
        """Let the connector of a source read a request."""
        configured = self._sources[source]
        connector = self._connectors[configured.connector]

        def read() -> Parsed:
            if not isinstance(connector, PushConnector):
                raise TypeError
            return self._reception(connector.receive(request, configured.source), configured)

        return _judged(read)

    def pull(self, source: str, file: Path, checkpoint: str) -> Iterator[Parsed | Rejected]:
        """Let the connector of a source read a file, from a checkpoint on; ends behind a rejection or the last page."""
        configured = self._sources[source]
        connector = self._connectors[configured.connector]
        pages: Iterator[Page] = iter(())

        def begin() -> Parsed:
            nonlocal pages
            if not isinstance(connector, PullConnector):
                raise TypeError
            pages = iter(connector.pull(configured.source, file, checkpoint))
            return following()

        def following() -> Parsed:
            page = next(pages, None)
            return Parsed(last=True) if page is None else self._page(page, configured)

        outcome = _judged(begin)
        while isinstance(outcome, Parsed) and not outcome.last:
            yield outcome
            outcome = _judged(following)
        yield outcome

    def _reception(self, reception: Reception, configured: ConfiguredSource) -> Parsed:
        _require(isinstance(reception, Reception), "a Reception")
        parsed = self._parsed(reception.facts, reception.refusals, configured)
        return replace(parsed, response=_checked(reception.response))

    def _page(self, page: Page, configured: ConfiguredSource) -> Parsed:
        _require(isinstance(page, Page) and isinstance(page.checkpoint, str), "Pages with a text as checkpoint")
        return replace(self._parsed(page.facts, page.refusals, configured), checkpoint=page.checkpoint)

    def _parsed(self, facts: Sequence[Fact], refusals: Sequence[Refusal], configured: ConfiguredSource) -> Parsed:
        refused = [_refused(refusal, configured) for refusal in refusals]
        before = len(refused)
        messages = []
        for fact in facts:
            message = self._message(fact, configured, refused)
            if message is not None:
                messages.append(message)
        # A fact that was taken without one of its identifiers stands on both sides.
        trimmed = len(messages) + len(refused) - before - len(facts)
        chunks = _chunks(messages, configured)
        fitting = tuple(chunk for chunk in chunks if len(chunk.data) <= MOST_BYTES)
        for chunk in chunks:
            if len(chunk.data) > MOST_BYTES:
                refused += refused_facts(chunk, {0: _TOO_LARGE})
        return Parsed(fitting, tuple(refused), trimmed)

    def _message(self, fact: Fact, configured: ConfiguredSource, refused: list[Refused]) -> fact_pb2.Fact | None:
        """Return a fact as it travels on; what cannot is added to `refused`."""
        try:
            return self._normalised(fact, configured)
        except InvalidFieldsError as error:
            sound = _without(fact, [violation.field for violation in error.violations])
            refused.append(self._refused_fact(fact, configured, _reason(error, sound is not None)))
            return None if sound is None else self._normalised(sound, configured)
        except Exception as error:  # noqa: BLE001 - one odd fact must not take those beside it along
            reason = f"expected a fact with texts that are Unicode ({type(error).__name__})"
            refused.append(self._refused_fact(fact, configured, reason))
            return None

    def _normalised(self, fact: Fact, configured: ConfiguredSource) -> fact_pb2.Fact:
        message = fact_to_proto(
            fact,
            configured.name,
            configured.source.default_region,
            self._kinds,
            self._secrets[configured.workspace],
        )
        if fact.occurred_at is None:  # else it would have happened when it leaves the buffer
            message.received_at.GetCurrentTime()
        return message

    def _refused_fact(self, fact: Fact, configured: ConfiguredSource, reason: str) -> Refused:
        shown = asdict(replace(fact, identifiers=tuple(self._shown(identifier) for identifier in fact.identifiers)))
        raw = json.dumps(shown, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
        return Refused(configured.workspace, configured.name, _clean(reason), raw, _clean(fact.message_id), read=True)

    def _shown(self, identifier: Identifier) -> Identifier:
        kind = self._kinds.get(identifier.kind)
        return replace(identifier, value="") if kind is not None and kind.protected else identifier


def _check_sources(
    sources: Iterable[ConfiguredSource], connectors: Mapping[str, Connector], kinds: Collection[str]
) -> None:
    problems = [problem for source in sources if (problem := _problem(source, connectors, kinds))]
    if problems:
        raise FixConfigurationError("\n  ".join(("sources that cannot work:", *problems)))


def _problem(configured: ConfiguredSource, connectors: Mapping[str, Connector], kinds: Collection[str]) -> str:
    """Say what is wrong with a source; empty if nothing is."""
    connector = connectors.get(configured.connector)
    if connector is None:
        return (
            f"source {configured.name}: no plugin brings the connector {configured.connector}; "
            f"there are {sorted(connectors)}"
        )
    try:
        check_options(connector, configured.source)
        check_kinds(connector, configured.source, kinds)
        connector.check(configured.source)
    except FixConfigurationError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - plugin code may raise anything
        return f"source {configured.name}: the check of its connector failed with {type(error).__name__}"
    return ""


def _routes(connector: Connector) -> tuple[tuple[str, str], ...] | None:
    if isinstance(connector, PullConnector):
        return None
    return tuple((route.method.upper(), route.path) for route in connector.routes)


def _judged(read: Callable[[], Parsed]) -> Parsed | Rejected:
    """Run a connector; whatever it raises says only something about this payload, never about the worker."""
    try:
        return read()
    except SignatureError as error:
        return Rejected(Verdict.DENIED, _clean(str(error)))
    except RefuseRequestError as error:
        return Rejected(Verdict.MALFORMED, _clean(str(error)))
    except FixConfigurationError as error:
        return Rejected(Verdict.FAILED, _clean(str(error)))
    except MemoryError:
        return Rejected(Verdict.FAILED, "reading it needs more memory than a worker may use")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code may raise anything
        # The text of an unforeseen exception may repeat values of the payload; its type does not.
        return Rejected(Verdict.FAILED, f"the connector failed with {type(error).__name__}")


def _require(condition: bool, expectation: str) -> None:
    if not condition:
        raise TypeError(f"a connector must answer {expectation}")


def _checked(response: Response) -> Response:
    """Refuse an answer that is no HTTP: headers with line ends in them would smuggle in others."""
    status = response.status
    _require(isinstance(status, int) and 200 <= status <= 599, "a Response with a status")
    _require(isinstance(response.body, bytes), "a Response with bytes as body")
    _require(not response.body or status not in _BODILESS, f"no body with the status {status}")
    for name, value in (("content-type", response.content_type), *response.headers.items()):
        _require(_HEADER_NAME.fullmatch(name) is not None, "names of HTTP headers")
        _require(_HEADER_VALUE.fullmatch(value) is not None, "values of HTTP headers")
    if response.report:
        _require(isinstance(json.loads(response.body), dict), "a JSON object as body if it wants a report")
    return response


def _refused(refusal: Refusal, configured: ConfiguredSource) -> Refused:
    _require(isinstance(refusal, Refusal) and isinstance(refusal.raw, bytes), "Refusals with raw bytes")
    return Refused(configured.workspace, configured.name, _clean(refusal.reason), refusal.raw)


def _without(fact: Fact, fields: Sequence[str]) -> Fact | None:
    """Return the fact without the identifiers without normal form; None if more is wrong, or none is left."""
    bad = [_IDENTIFIER_FIELD.fullmatch(field) for field in fields]
    places = {int(match[1]) for match in bad if match}
    sound = tuple(identifier for place, identifier in enumerate(fact.identifiers) if place not in places)
    return replace(fact, identifiers=sound) if all(bad) and sound else None


def _reason(error: InvalidFieldsError, taken: bool) -> str:
    return f"taken without an identifier: {error}" if taken else str(error)


def _chunks(messages: Sequence[fact_pb2.Fact], configured: ConfiguredSource) -> tuple[Chunk, ...]:
    """Serialize facts in chunks that fit into one call, halving what is too large, down to single facts."""
    if not messages:
        return ()
    if len(messages) <= MOST_FACTS:
        data = IngestRequest(facts=messages).SerializeToString()
        if len(messages) == 1 or len(data) <= MOST_BYTES:
            return (Chunk(configured.workspace, configured.name, len(messages), data),)
    half = min(MOST_FACTS, len(messages) // 2)
    return (*_chunks(messages[:half], configured), *_chunks(messages[half:], configured))


def _clean(text: str) -> str:
    """Text that can be stored: no lone surrogates, and no longer than anybody would read."""
    return text[:_LONGEST_REASON].encode("utf-8", "backslashreplace").decode()
