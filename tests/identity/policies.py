"""Policies of all sorts for tests: as messages, and what is in force then, as the pure functions see it."""

from collections.abc import Callable, Sequence

from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as st
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_identity.policy import Blocking, Policy
from sima_identity.policy_messages import rules_from_proto
from sima_identity.rules import effective
from sima_runtime.errors import Violations
from sima_runtime.wire import KeyedIdentifier, keyed_identifier
from sima_sdk.identifiers import IdentifierKinds

from .conftest import Named, identifier

_SMALL = st.none() | st.integers(1, 4)


def minutes(number: int) -> Duration:
    """So many minutes."""
    return Duration(seconds=60 * number)


def _kind_rules(kinds: Sequence[str]) -> st.SearchStrategy[pb.KindRules]:
    return st.builds(
        pb.KindRules,
        kind=st.sampled_from(kinds),
        strong=st.none() | st.booleans(),
        priority=st.none() | st.sampled_from([1, 50, 100]),
        most_per_profile=_SMALL,
        most_per_period=st.none() | st.integers(0, 2),
        period=st.none() | st.builds(minutes, st.integers(1, 3)),
        shared_above=_SMALL,
    )


PATTERNS = st.builds(
    pb.BlockedPattern,
    kind=st.sampled_from(["email", "device_id", "anonymous_id", "phone"]),
    pattern=st.sampled_from([".*1", "a@.*", "[cd]2", "[+]96655100000[12]", ".*"]),
)


def policies(universe: Sequence[Named]) -> st.SearchStrategy[pb.IdentityPolicy]:
    """Policies that say something about identifiers of a universe."""
    kinds = list(dict.fromkeys(named.kind for named in universe))
    return st.builds(
        pb.IdentityPolicy,
        kinds=st.lists(_kind_rules(kinds), max_size=3, unique_by=lambda rules: rules.kind),
        blocked_patterns=st.lists(PATTERNS, max_size=2),
        blocked_values=st.lists(st.sampled_from(universe).map(identifier), max_size=2),
        known_junk=st.none() | st.booleans(),
        most_identifiers=st.none() | st.integers(2, 8),
    )


def in_force(rules: pb.IdentityPolicy, base: Policy, secret: bytes) -> tuple[Policy, Callable[[Named, bytes], bool]]:
    """Return the rules that a message leads to, and whether an identifier with a key names nobody."""
    bad = Violations()
    kinds = IdentifierKinds(base.kinds)

    def read(message: Identifier, _: str) -> KeyedIdentifier:
        return keyed_identifier(message, "", kinds, secret)

    policy = effective(rules_from_proto(rules, base, read, bad), base)
    bad.check()
    blocking = Blocking(policy, secret)

    def blocks(named: Named, key: bytes) -> bool:
        return blocking.blocks(key, named.kind, None if kinds[named.kind].protected else named.value)

    return policy, blocks
