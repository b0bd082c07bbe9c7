"""The contract of the profile service: protobuf to domain calls and back."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence, Sized
from contextlib import aclosing, contextmanager, suppress
from uuid import UUID

from sima.profile.v1 import profile_service_pb2 as pb
from sima.profile.v1.profile_service_pb2_grpc import ProfileServiceServicer
from sima.type.v1 import fact_pb2
from sima_runtime.context import current
from sima_runtime.errors import InvalidFieldsError, PageTokenError, Violation, Violations
from sima_runtime.feeds import FeedPage
from sima_runtime.interceptors import ServicerContext
from sima_runtime.paging import next_page_token, page_position, page_size
from sima_runtime.wire import identifier_to_proto, micros_to_timestamp, optional_timestamp

from sima_profile import pages
from sima_profile.batch import Outcome
from sima_profile.consent import Statement
from sima_profile.facts import METHODS
from sima_profile.identity import KeyOrProfile
from sima_profile.ingest import Ingestion, Result
from sima_profile.keys import KeyReader
from sima_profile.profiles import Place, Profile, Profiles, not_found
from sima_profile.store.feed import FactRows
from sima_profile.store.reading import StoredEvent
from sima_profile.survivorship import FoldedTrait, Observation, Survivorship
from sima_profile.validation import require_names
from sima_profile.values import fill_from_json, is_instant
from sima_profile.watching import FactFeed

MAX_FACTS = 10_000
#: Identifiers, traits and consents of all facts of a call: more would keep memory and event loop from other calls.
MAX_PARTS = 200_000
MAX_KEYS = 1_000
WATCH_PAGE_SIZE = 10_000
MAX_WATCH_PAGE_SIZE = 100_000

_LARGE_PAGE = 1_000  # rows

_OUTCOMES = {
    Outcome.ACCEPTED: pb.INGEST_OUTCOME_ACCEPTED,
    Outcome.DUPLICATE: pb.INGEST_OUTCOME_DUPLICATE,
    Outcome.REFUSED: pb.INGEST_OUTCOME_REFUSED,
    Outcome.CONFLICT: pb.INGEST_OUTCOME_CONFLICT,
}
_SURVIVORSHIPS = {
    Survivorship.MOST_RECENT: pb.SURVIVORSHIP_MOST_RECENT,
    Survivorship.MOST_TRUSTED_SOURCE: pb.SURVIVORSHIP_MOST_TRUSTED_SOURCE,
    Survivorship.DECLARED_FIRST: pb.SURVIVORSHIP_DECLARED_FIRST,
    Survivorship.UNION: pb.SURVIVORSHIP_UNION,
}
_METHODS = {name: method for method, name in METHODS.items()}


class ProfileServicer(ProfileServiceServicer):
    """Serves `sima.profile.v1.ProfileService`."""

    def __init__(self, ingestion: Ingestion, profiles: Profiles, feed: FactFeed, keys: KeyReader) -> None:
        """Set up.

        Args:
            ingestion: The way of facts into the database.
            profiles: Answers who somebody is.
            feed: The facts, in the order in which they came.
            keys: Reads by what a profile is asked for.
        """
        self._ingestion = ingestion
        self._profiles = profiles
        self._feed = feed
        self._keys = keys

    async def Ingest(self, request: pb.IngestRequest, context: ServicerContext) -> pb.IngestResponse:  # noqa: N802
        """See the contract."""
        _require_count(request.facts, "facts", MAX_FACTS)
        _require_few_parts(request.facts)
        results = await self._ingestion.ingest(current().workspace, request.facts)
        response = pb.IngestResponse()
        for result in results:
            _add_result(response, result)
        return response

    async def GetProfile(self, request: pb.GetProfileRequest, context: ServicerContext) -> pb.GetProfileResponse:  # noqa: N802
        """See the contract."""
        wanted = self._key(request.key)
        with _renamed("keys[0]", "key"):
            profile = await self._profiles.profile(current().workspace, wanted)
        if profile is None:
            raise not_found(wanted)
        return pb.GetProfileResponse(profile=_profile(profile))

    async def BatchGetProfiles(  # noqa: N802
        self, request: pb.BatchGetProfilesRequest, context: ServicerContext
    ) -> pb.BatchGetProfilesResponse:
        """See the contract."""
        _require_count(request.keys, "keys", MAX_KEYS)
        profiles = await self._profiles.profiles(current().workspace, self._wanted(request.keys))
        return pb.BatchGetProfilesResponse(
            results=[pb.BatchGetProfilesResult(profile=_profile(profile) if profile else None) for profile in profiles]
        )

    async def ListEvents(self, request: pb.ListEventsRequest, context: ServicerContext) -> pb.ListEventsResponse:  # noqa: N802
        """See the contract."""
        found = Violations()
        with _noted(found):
            wanted = self._key(request.key)
        with _noted(found):
            limit = page_size(request.page_size)
        require_names(request.names, "names", found)
        found.check()
        before = _place_before(request)
        with _renamed("keys[0]", "key"):
            page = await self._profiles.timeline(current().workspace, wanted, request.names, before, limit)
        response = pb.ListEventsResponse(events=map(_event, page.events))
        if page.more:
            last = page.events[-1]
            response.next_page_token = next_page_token((last.occurred_at, last.id.hex()), request)
        return response

    async def WatchFacts(  # noqa: N802
        self, request: pb.WatchFactsRequest, context: ServicerContext
    ) -> AsyncIterator[pb.WatchFactsResponse]:
        """See the contract."""
        size = page_size(request.page_size, WATCH_PAGE_SIZE, MAX_WATCH_PAGE_SIZE)
        stream = self._feed.pages(current().workspace, request.cursor, size, until_now=request.until_now)
        async with aclosing(stream):
            async for page in stream:
                yield await _page(page)

    def _key(self, message: pb.ProfileKey) -> KeyOrProfile:
        return self._keys.read(current().workspace, message, "key")

    def _wanted(self, messages: Sequence[pb.ProfileKey]) -> list[KeyOrProfile]:
        found = Violations()
        wanted = []
        for i, message in enumerate(messages):
            with _noted(found):
                wanted.append(self._keys.read(current().workspace, message, f"keys[{i}]"))
        found.check()
        return wanted


@contextmanager
def _noted(found: Violations) -> Iterator[None]:
    """Note what is wrong with a part of a request, and go on with the next one."""
    try:
        yield
    except InvalidFieldsError as error:
        for violation in error.violations:
            found.add(violation.field, violation.description)


@contextmanager
def _renamed(path: str, ours: str) -> Iterator[None]:
    """Say what identity finds wrong about a key in the terms of our own request."""
    try:
        yield
    except InvalidFieldsError as error:
        raise InvalidFieldsError(
            Violation(violation.field.replace(path, ours, 1), violation.description) for violation in error.violations
        ) from None


def _place_before(request: pb.ListEventsRequest) -> Place | None:
    match page_position(request):
        case None:
            return None
        case [int() as at, str() as fact] if is_instant(at):
            with suppress(ValueError):
                return at, UUID(hex=fact).bytes
    raise PageTokenError


def _require_count(items: Sized, field: str, most: int) -> None:
    if not 0 < len(items) <= most:
        raise InvalidFieldsError([Violation(field, f"expected 1 to {most} items")])


def _require_few_parts(facts: Iterable[fact_pb2.Fact]) -> None:
    if sum(len(fact.identifiers) + len(fact.traits) + len(fact.consents) for fact in facts) > MAX_PARTS:
        expected = f"expected facts with at most {MAX_PARTS} identifiers, traits and consents together"
        raise InvalidFieldsError([Violation("facts", expected)])


def _add_result(response: pb.IngestResponse, result: Result) -> None:
    added = response.results.add(
        outcome=_OUTCOMES[result.outcome], fact_id=result.fact_id, profile_id=result.profile_id
    )
    added.erased = result.erased
    for violation in result.violations:
        added.violations.add(field=violation.field, description=violation.description)


def _profile(profile: Profile) -> pb.Profile:
    message = pb.Profile(
        profile_id=profile.person.profile_id,
        identifiers=[identifier_to_proto(identifier) for identifier in profile.person.identifiers],
        consents=[_consent(statement) for statement in profile.consents],
        event_count=profile.event_count,
        first_seen_at=optional_timestamp(profile.first_seen_at),
        last_seen_at=optional_timestamp(profile.last_seen_at),
    )
    for trait in profile.traits:
        _add_trait(message, trait)
    return message


# Filled in place: to make the parts first and copy them into the whole takes twice as long.
def _add_trait(message: pb.Profile, folded: FoldedTrait) -> None:
    trait = message.traits.add(
        trait=folded.trait, survivorship=_SURVIVORSHIPS[folded.survivorship], contradiction=folded.contradiction
    )
    for observation in folded.values:
        _fill_value(trait.values.add(), observation)
    for observation in folded.alternatives:
        _fill_value(trait.alternatives.add(), observation)


def _fill_value(message: pb.SourcedValue, observation: Observation) -> None:
    micros, message.confidence, message.source, method, kind, value = observation
    message.method = _METHODS[method]
    message.observed_at.FromMicroseconds(micros)
    fill_from_json(message.value, kind, value)


def _consent(statement: Statement) -> pb.Consent:
    status = fact_pb2.CONSENT_STATUS_GRANTED if statement.granted else fact_pb2.CONSENT_STATUS_DENIED
    return pb.Consent(
        purpose=statement.purpose,
        status=status,
        source=statement.source,
        stated_at=micros_to_timestamp(statement.stated_at),
    )


def _event(event: StoredEvent) -> pb.TimelineEvent:
    return pb.TimelineEvent(
        fact_id=event.id,
        event=fact_pb2.Event(name=event.name, properties=event.properties),
        source=event.source,
        occurred_at=micros_to_timestamp(event.occurred_at),
        received_at=micros_to_timestamp(event.received_at),
    )


async def _page(page: FeedPage[FactRows]) -> pb.WatchFactsResponse:
    """Make a page; a large one beside the loop, for it takes as long as many calls."""
    if sum(map(len, page.items)) < _LARGE_PAGE:
        return _to_arrow(page)
    return await asyncio.to_thread(_to_arrow, page)


def _to_arrow(page: FeedPage[FactRows]) -> pb.WatchFactsResponse:
    rows = page.items
    return pb.WatchFactsResponse(
        events=pages.to_arrow(pages.EVENTS, rows.events),
        observations=pages.to_arrow(pages.OBSERVATIONS, rows.observations),
        consents=pages.to_arrow(pages.CONSENTS, rows.consents),
        retractions=pages.to_arrow(pages.RETRACTIONS, rows.retractions),
        cursor=page.cursor,
        complete_until=optional_timestamp(page.complete_until),
    )
