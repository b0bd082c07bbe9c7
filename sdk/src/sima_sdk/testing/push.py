"""The promises of a connector that channels call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from random import Random

import pytest

from sima_sdk.connectors import PushConnector, Reception, Request, Route, Source, check_options
from sima_sdk.errors import PayloadError, SignatureError
from sima_sdk.facts import Fact
from sima_sdk.testing.contract import Contract, Mutations, require_at_least
from sima_sdk.testing.mutations import mutate_body, mutate_query
from sima_sdk.testing.soundness import assert_discreet, assert_distinct, assert_sound, assert_sound_refusals

Sign = Callable[[Request, Source], Request]

NO_JSON = (
    b"",
    b"\xff\xfe",
    b"[",
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b"[" * 100_000,
    b"{" * 100_000,
    b"NaN",
    b"1e999",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A real request, before it is signed, and what must come of it.

    Attributes:
        name: For the error text.
        request: What the channel sends, without its proof.
        facts: How many facts it holds.
        refusals: How many of its parts are refused.
    """

    name: str
    request: Request
    facts: int = 1
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class PushSubject:
    """A connector with real requests.

    Attributes:
        connector: What is tested.
        source: How it is configured.
        samples: At least one request for every route, and at least two facts in all, for one alone has no message id
            to share.
        sign: Adds the channel's proof, made with the secrets of the source. None: the channel has none to give.
        signs_body: The proof holds for one body only.
    """

    connector: PushConnector
    source: Source
    samples: tuple[Sample, ...]
    sign: Sign | None
    signs_body: bool = True

    def __post_init__(self) -> None:
        """Require requests, and facts that can be told apart."""
        require_at_least(1, "samples", len(self.samples))
        require_at_least(2, "facts of all samples", sum(sample.facts for sample in self.samples))

    def signed(self, request: Request) -> Request:
        """Return the request as the channel really sends it."""
        return self.sign(request, self.source) if self.sign else request

    def receive(self, request: Request) -> Reception:
        """Let the connector read a request of the channel."""
        return self.connector.receive(self.signed(request), self.source)


class PushConnectorContract(Contract):
    """Inherit it, override the fixture `subject`, and every promise is tested."""

    def test_it_has_a_name_and_routes(self, subject: PushSubject) -> None:
        """It says how sources name it, every sample goes to one of its routes, and no route is left out."""
        assert subject.connector.name, "a connector must have a name"
        assert all(isinstance(route, Route) for route in subject.connector.routes), "routes must be Route objects"
        sampled = {Route(sample.request.method, sample.request.path): sample.name for sample in subject.samples}
        for route, name in sampled.items():
            assert route in subject.connector.routes, f"{name}: no route {route.method} {route.path!r}"
        for route in subject.connector.routes:
            assert route in sampled, f"no sample for the route {route.method} {route.path!r}"

    def test_its_source_is_taken(self, subject: PushSubject) -> None:
        """A source with all that it needs passes its check."""
        check_options(subject.connector, subject.source)
        subject.connector.check(subject.source)

    def test_real_requests_become_facts(self, subject: PushSubject) -> None:
        """Every sample gives the facts and refusals that stand in it, and a good answer."""
        for sample in subject.samples:
            reception = subject.receive(sample.request)
            assert len(reception.facts) == sample.facts, f"{sample.name}: facts"
            assert len(reception.refusals) == sample.refusals, f"{sample.name}: refusals"
            assert 200 <= reception.response.status < 300, f"{sample.name}: a good request needs a good answer"

    def test_facts_are_sound(self, subject: PushSubject) -> None:
        """What comes of the samples can be stored, belongs to somebody, and is told apart by its message ids."""
        for sample in subject.samples:
            reception = subject.receive(sample.request)
            _assert_sound(reception)
            assert_distinct(reception.facts)

    def test_a_message_id_means_one_fact(self, subject: PushSubject) -> None:
        """Different facts have different message ids in all requests: the second would be taken for a retry."""
        known: dict[str, Fact] = {}
        for sample in subject.samples:
            for fact in filter(attrgetter("message_id"), subject.receive(sample.request).facts):
                same = known.setdefault(fact.message_id, fact) == fact
                assert same, f"{sample.name}: another fact has the same message id"

    def test_a_retry_says_the_same(self, subject: PushSubject) -> None:
        """The same request read again gives the same facts with the same message ids."""
        for sample in subject.samples:
            assert subject.receive(sample.request) == subject.receive(sample.request), f"{sample.name}: not the same"

    def test_a_request_without_proof_is_refused(self, subject: PushSubject) -> None:
        """Whoever does not prove to be the channel is not believed."""
        for request in _signed_samples(subject):
            _assert_denied(subject, request)

    def test_a_request_with_a_wrong_proof_is_refused(self, subject: PushSubject) -> None:
        """Whoever signs with another secret is not believed."""
        others = {purpose: f"not-{secret}" for purpose, secret in subject.source.secrets.items()}
        for request in _signed_samples(subject):
            assert subject.sign is not None
            _assert_denied(subject, subject.sign(request, replace(subject.source, secrets=others)))

    def test_a_changed_body_is_refused(self, subject: PushSubject) -> None:
        """A proof that was made for one body is none for another."""
        if not subject.signs_body:
            pytest.skip("the channel's proof does not depend on the body")
        for request in _signed_samples(subject):
            if request.body:
                _assert_denied(subject, replace(subject.signed(request), body=request.body + b" "))

    def test_what_is_no_payload_is_refused(self, subject: PushSubject) -> None:
        """A body that is no JSON, or JSON of another shape, is refused with a reason."""
        for sample in subject.samples:
            for body in NO_JSON if sample.request.body else ():
                assert not _facts_of(subject, replace(sample.request, body=body)), f"{sample.name}: facts of nothing"

    def test_mutated_payloads_break_nothing(self, subject: PushSubject, mutations: Mutations) -> None:
        """Whatever arrives becomes sound facts, or is refused with a reason that repeats no value, or both.

        Nothing is dropped in silence: a body that is taken gives a fact or a refusal.
        """
        for chance in mutations:
            request = _mutated(chance.choice(subject.samples).request, chance)
            with mutations.explained(f"{request.query} {request.body!r}"):
                _facts_of(subject, request)


def _facts_of(subject: PushSubject, request: Request) -> tuple[Fact, ...]:
    """Return the facts of a request that may be anything; a body without facts must have been refused."""
    try:
        reception = subject.receive(request)
    except (PayloadError, SignatureError) as error:
        assert_discreet(str(error))
        return ()
    _assert_sound(reception)
    assert reception.facts or reception.refusals or not request.body, "a payload was dropped in silence"
    return reception.facts


def _mutated(request: Request, chance: Random) -> Request:
    if request.body:
        return replace(request, body=mutate_body(request.body, chance) or b" ")
    return replace(request, query=mutate_query(request.query, chance))


def _signed_samples(subject: PushSubject) -> Iterator[Request]:
    if subject.sign is None:
        pytest.skip("the channel has no secret to prove itself with")
    return (sample.request for sample in subject.samples)


def _assert_denied(subject: PushSubject, request: Request) -> None:
    with pytest.raises(SignatureError) as error:
        subject.connector.receive(request, subject.source)
    assert_discreet(str(error.value))


def _assert_sound(reception: Reception) -> None:
    assert isinstance(reception, Reception), "receive must return a Reception"
    assert_sound(reception.facts)
    assert_sound_refusals(reception.refusals)
