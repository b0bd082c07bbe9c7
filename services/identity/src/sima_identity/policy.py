"""What identity may conclude from what: the rules of one workspace, as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sima_sdk.errors import FixConfigurationError
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKind, identifier_key, normalise_opaque

from sima_identity.junk import is_junk, junk_documents

#: No profile may be larger, whatever the policy says: a lookup answers all of its identifiers at once.
LARGEST_PROFILE = 10_000

# A kind whose plugin is gone: its identifiers are kept, and bind as little as any.
_UNKNOWN = IdentifierKind("unknown", normalise_opaque, priority=1, strong=False)


@dataclass(frozen=True)
class Policy:
    """The rules by which identifiers are grouped.

    Attributes:
        kinds: The kinds of identifiers by name, with their limits.
        blocked: Regular expressions by kind; a normalised value that one matches as a whole names nobody. They come
            on top of the known junk.
        most_identifiers: No profile gets more identifiers than this.
    """

    kinds: Mapping[str, IdentifierKind] = field(default_factory=lambda: BUILT_IN_KINDS)
    blocked: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    most_identifiers: int = 5_000

    def __post_init__(self) -> None:
        if not 1 <= self.most_identifiers <= LARGEST_PROFILE:
            raise FixConfigurationError(f"policy: most_identifiers must be 1 to {LARGEST_PROFILE}")
        if unknown := self.blocked.keys() - {name for name, kind in self.kinds.items() if not kind.protected}:
            raise FixConfigurationError(f"policy: blocked: no kind whose values are seen: {', '.join(sorted(unknown))}")
        object.__setattr__(self, "kinds", dict(self.kinds))  # asked for every identifier, so a plain dict

    def kind(self, name: str) -> IdentifierKind:
        """Return the rules of a kind; of one that is not known any more, rules that bind little."""
        return self.kinds.get(name, _UNKNOWN)

    def blocks(self, kind: str, value: str) -> bool:
        """Whether a normalised value names nobody. Not for protected kinds, see `blocked_keys`."""
        pattern = self.blocked.get(kind)
        return is_junk(kind, value) or (pattern is not None and pattern.fullmatch(value) is not None)

    def blocked_keys(self, secret: bytes) -> frozenset[bytes]:
        """Return the keys of junk of the protected kinds, of which no value is ever seen, in one workspace."""
        protected = [name for name, kind in self.kinds.items() if kind.protected]
        return frozenset(identifier_key(secret, name, value) for name in protected for value in junk_documents())
