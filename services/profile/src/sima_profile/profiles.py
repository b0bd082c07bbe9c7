"""Profiles and timelines: who is meant is asked of identity, the rest is folded from facts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sima_runtime.coalescing import Coalescer
from sima_runtime.database import Database
from sima_runtime.errors import NotFoundError

from sima_profile.consent import Statement, fold_consents
from sima_profile.identity import Identity, KeyOrProfile, Person
from sima_profile.settings import FoldSettings
from sima_profile.store import reading
from sima_profile.store.reading import Material, Timeline
from sima_profile.survivorship import FoldedTrait, Observation, TraitPolicy, fold_traits

Place = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as their facts show them; times in microseconds since 1970.

    Attributes:
        person: Id and identifiers.
        traits: By name.
        consents: The statement that decides each purpose, by name.
        event_count: How many events there are.
        first_seen_at: When the earliest fact happened; None if there is none.
        last_seen_at: When the latest one did; None if there is none.
    """

    person: Person
    traits: tuple[FoldedTrait, ...]
    consents: tuple[Statement, ...]
    event_count: int
    first_seen_at: int | None
    last_seen_at: int | None


class Profiles:
    """Answers who somebody is and what they did."""

    def __init__(self, database: Database, identity: Identity, settings: FoldSettings) -> None:
        """Set up.

        Args:
            database: Where facts are.
            identity: Who says which identifiers are one person.
            settings: How traits are folded.
        """
        self._database = database
        self._identity = identity
        self._policies = settings.traits
        self._unions = settings.unions()
        self._readers = Coalescer(self.profiles)

    async def profile(self, workspace: str, wanted: KeyOrProfile) -> Profile | None:
        """Return the profile behind an identifier or profile id; None if nobody is known so."""
        return await self._readers.ask(workspace, wanted)

    async def profiles(self, workspace: str, wanted: Sequence[KeyOrProfile]) -> list[Profile | None]:
        """Return the profile behind each identifier or profile id; None if nobody is known so."""
        people = await self._identity.lookup(wanted)
        known = {person.profile_id: person for person in people if person}
        if not known:
            return [None] * len(people)
        owners = {identifier.key for person in known.values() for identifier in person.identifiers}
        async with self._database.statement() as connection:
            material = await reading.material(connection, workspace, owners, self._unions)
        folded = _fold(known, material, self._policies)
        return [folded[person.profile_id] if person else None for person in people]

    async def timeline(
        self, workspace: str, wanted: KeyOrProfile, names: Sequence[str], before: Place | None, limit: int
    ) -> Timeline:
        """Return a page of somebody's events, newest first.

        Args:
            workspace: Whose data.
            wanted: Who.
            names: Only events of these names; empty for all.
            before: Time and id of the last event of the page before.
            limit: At most so many events; fewer, but at least one, if they are large.

        Raises:
            NotFoundError: Nobody is known so.
        """
        [person] = await self._identity.lookup([wanted])
        if person is None:
            raise not_found(wanted)
        owners = [identifier.key for identifier in person.identifiers]
        async with self._database.statement() as connection:
            return await reading.events(connection, workspace, owners, names=names, before=before, limit=limit)


def not_found(wanted: KeyOrProfile) -> NotFoundError:
    """Return the error that says that nobody is known by a key; it does not repeat an identifier."""
    return NotFoundError("profile", wanted if isinstance(wanted, str) else wanted.kind)


def _fold(people: Mapping[str, Person], material: Material, policies: Mapping[str, TraitPolicy]) -> dict[str, Profile]:
    person_of = {identifier.key: person.profile_id for person in people.values() for identifier in person.identifiers}
    observations: defaultdict[str, defaultdict[str, list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for owner, trait, observation in material.observations:
        observations[person_of[owner]][trait].append(observation)
    statements: defaultdict[str, list[Statement]] = defaultdict(list)
    for statement in material.statements:
        statements[person_of[statement.key]].append(statement)
    return {
        profile_id: _profile(
            person, fold_traits(observations[profile_id], policies), fold_consents(statements[profile_id]), material
        )
        for profile_id, person in people.items()
    }


def _profile(
    person: Person, traits: tuple[FoldedTrait, ...], consents: tuple[Statement, ...], material: Material
) -> Profile:
    keys = [identifier.key for identifier in person.identifiers]
    active = [material.activities[key] for key in keys if key in material.activities]
    return Profile(
        person,
        traits,
        consents,
        event_count=sum(activity.events for activity in active),
        first_seen_at=min((activity.first_at for activity in active), default=None),
        last_seen_at=max((activity.last_at for activity in active), default=None),
    )
