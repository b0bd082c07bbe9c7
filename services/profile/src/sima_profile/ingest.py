"""Accepts facts: checks them, asks identity whom they are about, appends them, and only then answers."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from sima.type.v1 import fact_pb2
from sima_runtime.database import Database
from sima_runtime.errors import InvalidFieldsError, OverloadedError, Violation
from sima_runtime.turns import in_turns

from sima_profile.batch import Arrival, Outcome, outcomes, settle, winners
from sima_profile.facts import CheckedFact
from sima_profile.following import OwnerFollower
from sima_profile.identity import Identity, by_item
from sima_profile.message_identity import fact_id
from sima_profile.metrics import facts_received
from sima_profile.rows import Owned, consent_rows, fact_row, observation_rows
from sima_profile.store import appending, conflicts
from sima_profile.store.appending import Append
from sima_profile.validation import FactReader, IdentifierReader

# Each beginning anew means that another call stored some of the same messages meanwhile.
_ATTEMPTS = 50


class Result(NamedTuple):
    """What became of one fact.

    Attributes:
        outcome: What.
        fact_id: Its id; empty if it was refused.
        profile_id: The profile it belongs to; empty if it was refused or belongs to nobody.
        violations: Why it was refused.
        erased: It was refused because it names somebody who was erased.
    """

    outcome: Outcome
    fact_id: bytes = b""
    profile_id: str = ""
    violations: tuple[Violation, ...] = ()
    erased: bool = False


_ERASED = Result(
    Outcome.REFUSED,
    violations=(Violation("identifiers", "expected none that was erased: what happened up to then is refused"),),
    erased=True,
)


class Ingestion:
    """The way of facts into the database."""

    def __init__(
        self,
        database: Database,
        identity: Identity,
        followed: OwnerFollower,
        identifiers: IdentifierReader,
    ) -> None:
        """Set up.

        Args:
            database: Where facts go.
            identity: Who says whom they are about.
            followed: Who says which identifiers own them.
            identifiers: Reads the identifiers of facts.
        """
        self._database = database
        self._identity = identity
        self._followed = followed
        self._identifiers = identifiers

    async def ingest(self, workspace: str, messages: Sequence[fact_pb2.Fact]) -> list[Result]:
        """Accept facts and return what became of each, in their order. What is accepted is durable.

        Raises:
            DependencyUnavailableError: Identity or the database does not answer; nothing was accepted.
        """
        now = time.time_ns() // 1000
        refused, facts = await self._read(workspace, messages, now)
        results = refused | (await self._accept(workspace, facts, now) if facts else {})
        for outcome, number in Counter(result.outcome for result in results.values()).items():
            facts_received.add(number, {"outcome": outcome.name.lower()})
        return [results[place] for place in range(len(messages))]

    async def _read(
        self, workspace: str, messages: Sequence[fact_pb2.Fact], now: int
    ) -> tuple[dict[int, Result], dict[int, CheckedFact]]:
        """Return what is refused and what is taken, by place in the batch."""
        reader = FactReader(workspace, self._identifiers, now)
        refused: dict[int, Result] = {}
        facts: dict[int, CheckedFact] = {}
        async for place, message in in_turns(enumerate(messages)):
            try:
                facts[place] = reader.fact(message)
            except InvalidFieldsError as error:
                refused[place] = Result(Outcome.REFUSED, violations=error.violations)
        return refused, facts

    async def _accept(self, workspace: str, facts: dict[int, CheckedFact], now: int) -> dict[int, Result]:
        times = await self._times(workspace, facts.values())
        try:
            belongings = await self._identity.resolve(facts.values(), times)
        except InvalidFieldsError as error:
            refused = await self._refused(facts, dict(zip(facts, times, strict=True)), error)
            others = {place: fact for place, fact in facts.items() if place not in refused}
            return refused | (await self._accept(workspace, others, now) if others else {})
        gone = {place for place, belonging in zip(facts, belongings, strict=True) if belonging.erased}
        arrivals = [
            Arrival(fact_id(fact.message, at), at, fact, belonging)
            for fact, at, belonging in zip(facts.values(), times, belongings, strict=True)
            if not belonging.erased
        ]
        became = await self._append(workspace, arrivals, now) if arrivals else []
        self._followed.follow(workspace)
        taken = (place for place in facts if place not in gone)
        return dict.fromkeys(gone, _ERASED) | {
            place: Result(outcome, arrival.id, arrival.belonging.profile_id)
            for place, outcome, arrival in zip(taken, became, arrivals, strict=True)
        }

    async def _refused(
        self, facts: Mapping[int, CheckedFact], times: Mapping[int, int], error: InvalidFieldsError
    ) -> dict[int, Result]:
        """Return what identity refuses (it may know other kinds of identifiers, or be of another version).

        Where it did not list all, the others are asked about in halves: asking for all of them again, a few less each
        time, would take very long if there are thousands.
        """
        places = list(facts)
        refused = {
            places[number]: Result(Outcome.REFUSED, violations=violations)
            for number, violations in by_item(error.violations, "sets").items()
        }
        if not refused:
            raise error
        others = [place for place in places if place not in refused]
        middle = len(others) // 2
        for half in (others[:middle], others[middle:]) if not error.lists_all else ():
            refused |= await self._refused_of({place: facts[place] for place in half}, times)
        return refused

    async def _refused_of(self, facts: Mapping[int, CheckedFact], times: Mapping[int, int]) -> dict[int, Result]:
        try:
            if facts:
                await self._identity.resolve(facts.values(), [times[place] for place in facts])
        except InvalidFieldsError as error:
            return await self._refused(facts, times, error)
        return {}

    async def _times(self, workspace: str, facts: Collection[CheckedFact]) -> list[int]:
        """Return when each fact happened; the first arrival stands in for a time that the message does not state."""
        # The earliest time of a message comes last, and is the one that counts.
        timeless = sorted(((fact.message, fact.received_at) for fact in facts if fact.stated_at is None), reverse=True)
        if not timeless:
            return [fact.stated_at or 0 for fact in facts]
        async with self._database.transaction() as connection:
            first = await appending.first_times(connection, workspace, dict(timeless))
        return [
            first.get(fact.message, fact.received_at) if fact.stated_at is None else fact.stated_at for fact in facts
        ]

    async def _append(self, workspace: str, arrivals: Sequence[Arrival], now: int) -> list[Outcome]:
        await self._followed.agree(workspace, [arrival.belonging for arrival in arrivals])
        for _ in range(_ATTEMPTS):
            with suppress(appending.OvertakenError):
                return outcomes(arrivals, await self._append_once(workspace, arrivals, now))
        raise OverloadedError("the messages")

    async def _append_once(self, workspace: str, arrivals: Sequence[Arrival], now: int) -> dict[bytes, bytes]:
        """Append in one transaction; returns the content hashes of what was stored before."""
        best = winners(arrivals)
        async with self._database.transaction() as connection:
            append, stored = await appending.begin(connection, workspace, now, best)
            standings = await self._followed.non_owners(connection, workspace, append.epoch, append.owners_version)
            owned = {fact: (arrival, standings.owner(arrival.belonging.keys)) for fact, arrival in best.items()}
            if stored or len(best) < len(arrivals):
                await _settle(append, arrivals, owned, stored)
            new = [fact_row(*pair) for fact, pair in owned.items() if fact not in stored]
            await appending.append_facts(append, new)
            await appending.append_observations(append, observation_rows(owned.values()))
            await appending.append_consents(append, consent_rows(owned.values()))
        return stored


async def _settle(
    append: Append, arrivals: Sequence[Arrival], owned: dict[bytes, Owned], stored: Mapping[bytes, bytes]
) -> None:
    """Let the smallest content of each message count; leave in `owned` those whose parts are to be appended."""
    best = {fact: arrival for fact, (arrival, _) in owned.items()}
    rivals = [fact for fact, content in stored.items() if best[fact].fact.content != content]
    locked = {**stored, **(await conflicts.lock(append, rivals) if rivals else {})}
    settlement = settle(arrivals, best, locked)
    if settlement.replaced:
        await conflicts.replace(append, [owned[fact] for fact in settlement.replaced])
    if settlement.kept:
        await conflicts.keep(append, settlement.kept)
    for fact in stored.keys() - set(settlement.replaced):
        del owned[fact]
