"""What identity may conclude from what: the rules of one workspace, as data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sima_sdk.errors import FixConfigurationError
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKind, identifier_key, normalise_opaque

from sima_identity.junk import is_junk, junk_documents

#: No profile may be larger, whatever the policy says: a lookup answers all of its identifiers at once.
LARGEST_PROFILE = 10_000

# A kind whose plugin is gone: its identifiers are kept, and bind as little as any.
_UNKNOWN = IdentifierKind("unknown", normalise_opaque, priority=1, strong=False)


class Pattern(Protocol):
    """A compiled regular expression, of whatever library."""

    def fullmatch(self, text: str, /) -> object | None:
        """Return something if it matches the whole text."""


@dataclass(frozen=True)
class Policy:
    """The rules by which identifiers are grouped.

    Attributes:
        kinds: The kinds of identifiers by name, with their limits.
        blocked: Regular expressions by kind; a normalised value that one matches as a whole names nobody.
        most_identifiers: No profile gets more identifiers than this.
        blocked_keys: Identifiers that name nobody, by their keys.
        known_junk: Whether the known junk names nobody, too.
    """

    kinds: Mapping[str, IdentifierKind] = field(default_factory=lambda: BUILT_IN_KINDS)
    blocked: Mapping[str, Sequence[Pattern]] = field(default_factory=dict)
    most_identifiers: int = 5_000
    blocked_keys: frozenset[bytes] = frozenset()
    known_junk: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.most_identifiers <= LARGEST_PROFILE:
            raise FixConfigurationError(f"policy: most_identifiers must be 1 to {LARGEST_PROFILE}")
        if unknown := self.blocked.keys() - self.open_kinds():
            raise FixConfigurationError(f"policy: blocked: no kind whose values are seen: {', '.join(sorted(unknown))}")
        object.__setattr__(self, "kinds", dict(self.kinds))  # asked for every identifier, so a plain dict

    def open_kinds(self) -> set[str]:
        """Return the names of the kinds whose values are seen."""
        return {name for name, kind in self.kinds.items() if not kind.protected}

    def kind(self, name: str) -> IdentifierKind:
        """Return the rules of a kind; of one that is not known any more, rules that bind little."""
        return self.kinds.get(name, _UNKNOWN)

    def makes_hub(self, kind: IdentifierKind, strong: int, all_: int) -> bool:
        """Whether an identifier is a hub that was seen with so many others, and so many of them strong."""
        return strong > kind.shared_above or all_ > self.most_identifiers

    def blocks(self, kind: str, value: str) -> bool:
        """Whether a normalised value names nobody. Not for protected kinds, see `Blocking`."""
        if self.known_junk and is_junk(kind, value):
            return True
        return any(pattern.fullmatch(value) is not None for pattern in self.blocked.get(kind, ()))


class Blocking:
    """Which identifiers of one workspace name nobody."""

    def __init__(self, policy: Policy, secret: bytes) -> None:
        """Set up.

        Args:
            policy: The rules.
            secret: The workspace's secret; of protected kinds no value is seen, so their junk is known by its keys.
        """
        self._policy = policy
        protected = policy.kinds.keys() - policy.open_kinds() if policy.known_junk else ()
        junk = (identifier_key(secret, name, value) for name in protected for value in junk_documents())
        self._keys = policy.blocked_keys.union(junk)

    def blocks(self, key: bytes, kind: str, value: str | None) -> bool:
        """Whether an identifier, whose value is None if it is protected, names nobody."""
        return key in self._keys or (value is not None and self._policy.blocks(kind, value))


def configured_patterns(blocked: Mapping[str, re.Pattern[str]]) -> dict[str, tuple[Pattern, ...]]:
    """Return the patterns of the settings as a policy has them."""
    return {kind: (pattern,) for kind, pattern in blocked.items()}
