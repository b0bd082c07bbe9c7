"""Who owns a fact: the strongest of its identifiers that is neither blocked nor shared. Pure.

Which identifiers are blocked or shared is identity's to say; this service follows it (following.py) and keeps a copy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Standing(NamedTuple):
    """What keeps an identifier from owning facts as others do."""

    shared: bool
    blocked: bool


#: The standing of an identifier that owns facts.
PLAIN = Standing(shared=False, blocked=False)


class Ownership(NamedTuple):
    """Whom a fact belongs to.

    Attributes:
        owner: The key that owns it; None if all its identifiers are blocked.
        contested: Another standing of some identifier could give it another owner than its strongest one. Those rows
            have an index of their own, so that they are found when a standing changes.
    """

    owner: bytes | None
    contested: bool


@dataclass(slots=True)
class NonOwners:
    """The identifiers of one workspace that do not own facts as others do.

    Attributes:
        epoch: Epoch of the feed that the versions are of: after a restore they are given out a second time.
        version: Number of the last change that is contained.
        standings: By key; who is absent is plain.
    """

    epoch: int = 0
    version: int = 0
    standings: dict[bytes, Standing] = field(default_factory=dict)

    def update(self, changes: Iterable[tuple[bytes, Standing]], version: int) -> None:
        """Take over the changes up to `version`."""
        for key, standing in changes:
            if standing == PLAIN:
                self.standings.pop(key, None)
            else:
                self.standings[key] = standing
        self.version = version

    def owner(self, keys: Sequence[bytes]) -> Ownership:
        """Return whom a fact with these keys (strongest first) belongs to."""
        standings = self.standings
        if keys[0] not in standings:
            return Ownership(keys[0], contested=False)
        plain = next((key for key in keys if key not in standings), None)
        if plain is not None:
            return Ownership(plain, contested=True)
        return Ownership(next((key for key in keys if not standings[key].blocked), None), contested=True)

    def differences(self, standings: Mapping[bytes, Standing]) -> dict[bytes, Standing]:
        """Return those standings that are news."""
        return {key: standing for key, standing in standings.items() if self.standings.get(key, PLAIN) != standing}
