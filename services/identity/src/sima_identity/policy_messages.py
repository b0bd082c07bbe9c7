"""Policies as messages of the contract: read, with every reason why they cannot be taken, and written."""

from collections import defaultdict
from collections.abc import Callable, Mapping

from google.protobuf.duration_pb2 import Duration
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.errors import Violations
from sima_runtime.wire import KeyedIdentifier, datetime_to_timestamp
from sima_sdk.identifiers import IdentifierKind, kind_expected

from sima_identity.messages import id_to_proto
from sima_identity.policies import Policies
from sima_identity.policy import LARGEST_PROFILE, Policy
from sima_identity.previewer import Progress
from sima_identity.previewing import Effect, Group, Regrouping
from sima_identity.rules import BlockedValue, KindRules, Rules, compiled, effective, rules_from_json
from sima_identity.store.policies import Stated

MOST_PATTERNS = 1_000
MOST_VALUES = 10_000
MOST_PATTERN = 1_000  # characters
_MOST_LIMIT = 1_000_000_001
_MOST_SECONDS = 10 * 366 * 24 * 3600

#: Reads an identifier at a path; None after noting what is wrong with it.
ReadIdentifier = Callable[[Identifier, str], KeyedIdentifier | None]
Names = Mapping[bytes, Identifier]


def rules_from_proto(policy: pb.IdentityPolicy, base: Policy, read: ReadIdentifier, bad: Violations) -> Rules:
    """Return what a message says about the policy; notes everything that is wrong with it.

    Args:
        policy: The message.
        base: The installation's policy.
        read: Reads blocked values.
        bad: Where to note it.
    """
    kinds = {said.kind: _kind_rules(said, f"policy.kinds[{place}]", bad) for place, said in enumerate(policy.kinds)}
    bad.require(len(kinds) == len(policy.kinds), "policy.kinds", "expected each kind at most once")
    for place, said in enumerate(policy.kinds):
        bad.require(said.kind in base.kinds, f"policy.kinds[{place}].kind", kind_expected(base.kinds))
    most = _number(policy, "most_identifiers", range(1, LARGEST_PROFILE + 1), "policy", bad)
    known_junk = policy.known_junk if policy.HasField("known_junk") else None
    return Rules(kinds, _patterns(policy, base, bad), _values(policy, base, read, bad), known_junk, most)


def policy_to_proto(stated: Stated | None, policies: Policies) -> pb.PolicyVersion:
    """Return a policy as it was set, complete; None: the installation's."""
    if stated is None or not stated.version:  # an erasure may have noted that nothing was said
        return pb.PolicyVersion(policy=_complete(Rules(), policies.base))
    return pb.PolicyVersion(
        version=stated.version,
        policy=_complete(rules_from_json(stated.rules), policies.base),
        actor=stated.actor,
        reason=stated.reason,
        request_id=stated.request_id,
        set_at=datetime_to_timestamp(stated.set_at),
        applied_at=None if stated.applied_at is None else datetime_to_timestamp(stated.applied_at),
    )


def _kind_rules(said: pb.KindRules, path: str, bad: Violations) -> KindRules:
    return KindRules(
        strong=said.strong if said.HasField("strong") else None,
        priority=_number(said, "priority", range(1, 101), path, bad),
        most_per_profile=_number(said, "most_per_profile", range(1, _MOST_LIMIT), path, bad),
        most_per_period=_number(said, "most_per_period", range(_MOST_LIMIT), path, bad),
        period_seconds=_seconds(said, path, bad),
        shared_above=_number(said, "shared_above", range(1, _MOST_LIMIT), path, bad),
    )


def _number(
    said: pb.KindRules | pb.IdentityPolicy, field: str, expected: range, path: str, bad: Violations
) -> int | None:
    if not said.HasField(field):  # type: ignore[arg-type]  # its fields are literals
        return None
    number: int = getattr(said, field)
    bad.require(number in expected, f"{path}.{field}", f"expected {expected[0]} to {expected[-1]}")
    return number


def _seconds(said: pb.KindRules, path: str, bad: Violations) -> int | None:
    if not said.HasField("period"):
        return None
    whole = not said.period.nanos and 1 <= said.period.seconds <= _MOST_SECONDS
    bad.require(whole, f"{path}.period", "expected whole seconds, at least 1 and at most 10 years")
    return said.period.seconds


def _patterns(policy: pb.IdentityPolicy, base: Policy, bad: Violations) -> dict[str, list[str]]:
    path = "policy.blocked_patterns"
    bad.require(len(policy.blocked_patterns) <= MOST_PATTERNS, path, f"expected at most {MOST_PATTERNS}")
    patterns: defaultdict[str, list[str]] = defaultdict(list)
    for place, blocked in enumerate(policy.blocked_patterns[:MOST_PATTERNS]):
        known = blocked.kind in (kinds := base.open_kinds())
        bad.require(known, f"{path}[{place}].kind", f"{kind_expected(kinds)}; no protected one")
        if bad.require(0 < len(blocked.pattern) <= MOST_PATTERN, f"{path}[{place}].pattern", _PATTERN_EXPECTED):
            try:
                compiled(blocked.pattern)
            except ValueError as error:
                bad.add(f"{path}[{place}].pattern", str(error))
        patterns[blocked.kind].append(blocked.pattern)
    return dict(patterns)


_KEY_BYTES = 16
_PATTERN_EXPECTED = f"expected 1 to {MOST_PATTERN} characters"


def _values(policy: pb.IdentityPolicy, base: Policy, read: ReadIdentifier, bad: Violations) -> list[BlockedValue]:
    path = "policy.blocked_values"
    bad.require(len(policy.blocked_values) <= MOST_VALUES, path, f"expected at most {MOST_VALUES}")
    given = enumerate(policy.blocked_values[:MOST_VALUES])
    found = (
        KeyedIdentifier(one.kind, None, one.key) if _is_bare_key(one, base) else read(one, f"{path}[{place}]")
        for place, one in given
    )
    return [BlockedValue(one.kind, one.key.hex(), one.value) for one in found if one is not None]


def _is_bare_key(identifier: Identifier, base: Policy) -> bool:
    """Whether it is what is left of a value that was erased, or told of one that is protected."""
    return not identifier.value and len(identifier.key) == _KEY_BYTES and identifier.kind in base.kinds


def _complete(rules: Rules, base: Policy) -> pb.IdentityPolicy:
    policy = effective(rules, base)
    patterns = ((kind, pattern) for kind, texts in sorted(rules.patterns.items()) for pattern in texts)
    values = (Identifier(kind=one.kind, value=one.value or "", key=bytes.fromhex(one.key)) for one in rules.values)
    return pb.IdentityPolicy(
        kinds=[_kind_to_proto(kind) for kind in sorted(policy.kinds.values(), key=lambda kind: -kind.priority)],
        blocked_patterns=[pb.BlockedPattern(kind=kind, pattern=pattern) for kind, pattern in patterns],
        blocked_values=values,
        known_junk=policy.known_junk,
        most_identifiers=policy.most_identifiers,
    )


def _kind_to_proto(kind: IdentifierKind) -> pb.KindRules:
    period = Duration()
    period.FromTimedelta(kind.period)
    return pb.KindRules(
        kind=kind.name,
        strong=kind.strong,
        priority=kind.priority,
        most_per_profile=kind.most_per_profile,
        most_per_period=kind.most_per_period or 0,
        period=period,
        shared_above=kind.shared_above,
        protected=kind.protected,
        normaliser=f"{kind.normalise.__module__}.{kind.normalise.__qualname__}",
    )


def progress_to_proto(progress: Progress, names: Names) -> pb.PreviewIdentityPolicyResponse:
    """Return how far a preview has got; `names` has all identifiers of its examples."""
    effect = progress.effect and _effect_to_proto(progress.effect, names)
    return pb.PreviewIdentityPolicyResponse(
        read=progress.read, grouped=progress.grouped, total=progress.total, effect=effect
    )


def _effect_to_proto(effect: Effect, names: Names) -> pb.PolicyEffect:
    *counts, merges, splits = effect
    message = pb.PolicyEffect(**dict(zip(Effect._fields, counts, strict=False)))  # type: ignore[arg-type]  # all numbers
    message.merge_examples.extend(_regrouping(one, names) for one in merges)
    message.split_examples.extend(_regrouping(one, names) for one in splits)
    return message


def _regrouping(example: Regrouping, names: Names) -> pb.Regrouping:
    before, after = ([_group(one, names) for one in groups] for groups in example)
    return pb.Regrouping(before=before, after=after)


def _group(group: Group, names: Names) -> pb.PersonGroup:
    known = [names[key] for key in group.keys if key in names]
    return pb.PersonGroup(profile_id=id_to_proto(group.profile_id), identifiers=known, size=group.size)
