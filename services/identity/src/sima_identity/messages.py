"""What the domain answers, as messages of the contract."""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as pb
from sima.type.v1.identifier_pb2 import Identifier
from sima_runtime.wire import datetime_to_timestamp

from sima_identity.affiliating import Affiliation
from sima_identity.decisions import Deciding, Decision, DecisionKind
from sima_identity.evidence import Refusal
from sima_identity.explaining import Evidence, Link, remedy
from sima_identity.guards import Broken
from sima_identity.hubs import Degree
from sima_identity.records import Cause, ChangedIdentifier
from sima_identity.resolving import Answer
from sima_identity.store import history, log, lookups
from sima_identity.store.erasures import ListedErasure
from sima_identity.store.hubs import Listed, ListedGrowth

_KINDS = {
    DecisionKind.SPLIT: pb.DECISION_KIND_SPLIT,
    DecisionKind.NEVER_LINK: pb.DECISION_KIND_NEVER_LINK,
    DecisionKind.ALWAYS_LINK: pb.DECISION_KIND_ALWAYS_LINK,
}
_REFUSALS = {
    Refusal.BLOCKED: pb.LINK_REFUSAL_BLOCKED,
    Refusal.HUB: pb.LINK_REFUSAL_HUB,
    Refusal.NEVER_LINK: pb.LINK_REFUSAL_NEVER_LINK,
    Refusal.SEVERAL_PEOPLE: pb.LINK_REFUSAL_SEVERAL_PEOPLE,
    Refusal.KIND_LIMIT: pb.LINK_REFUSAL_KIND_LIMIT,
    Refusal.PERIOD_LIMIT: pb.LINK_REFUSAL_PERIOD_LIMIT,
    Refusal.SIZE_LIMIT: pb.LINK_REFUSAL_SIZE_LIMIT,
    Refusal.PENDING: pb.LINK_REFUSAL_PENDING,
}
_CAUSES = {
    Cause.EVIDENCE: pb.CHANGE_CAUSE_EVIDENCE,
    Cause.DECISION: pb.CHANGE_CAUSE_DECISION,
    Cause.POLICY: pb.CHANGE_CAUSE_POLICY,
    Cause.ERASURE: pb.CHANGE_CAUSE_ERASURE,
    Cause.OTHERS_ERASED: pb.CHANGE_CAUSE_OTHERS_ERASED,
}


def resolved_to_proto(answer: Answer) -> pb.ResolvedSet:
    """Return whom a set belongs to."""
    keys, owner_key, profile_id, pending, policy_version, erased = answer
    return pb.ResolvedSet(
        keys=keys,
        owner_key=owner_key or b"",
        profile_id=id_to_proto(profile_id),
        pending=pending,
        policy_version=policy_version,
        erased=erased,
    )


def known_to_proto(member: lookups.Member) -> pb.KnownIdentifier:
    """Return an identifier of a profile."""
    return pb.KnownIdentifier(
        identifier=Identifier(kind=member.kind, value=member.value or "", key=member.key),
        shared=member.shared,
        blocked=member.blocked,
        first_seen_at=datetime_to_timestamp(member.first_seen_at),
    )


def as_known_to_proto(profile_id: bytes | None, members: Iterable[history.Member]) -> pb.LookupAsKnownResult:
    """Return a profile as it was, with its identifiers in their order."""
    return pb.LookupAsKnownResult(profile_id=id_to_proto(profile_id), identifiers=map(_as_known, members))


def _as_known(member: history.Member) -> pb.IdentifierAsKnown:
    return pb.IdentifierAsKnown(
        identifier=Identifier(kind=member.kind, value=member.value or "", key=member.key),
        shared=member.shared,
        blocked=member.blocked,
        since=datetime_to_timestamp(member.since),
    )


def affiliation_to_proto(affiliation: Affiliation) -> pb.Affiliation:
    """Return that a person belongs to a company."""
    person, account, evidence = affiliation
    return pb.Affiliation(
        person=Identifier(kind=person.kind, value=person.value or "", key=person.key),
        profile_id=id_to_proto(person.profile_id),
        account=Identifier(kind=account.kind, value=account.value or "", key=account.key),
        account_profile_id=id_to_proto(account.profile_id),
        evidence=map(_evidence, evidence),
    )


def change_to_proto(change: log.Change, accounts: Container[str]) -> pb.ProfileChange:
    """Return a change as the log has it; `accounts` are the kinds of companies."""
    return pb.ProfileChange(
        identifier=Identifier(kind=change.kind, value=change.value or "", key=change.key),
        previous_profile_id=id_to_proto(change.previous_profile_id),
        profile_id=id_to_proto(change.profile_id),
        shared=change.shared,
        blocked=change.blocked,
        changed_at=datetime_to_timestamp(change.changed_at),
        cause=_CAUSES[Cause(change.cause)],
        decision_id=id_to_proto(change.decision_id),
        policy_version=change.policy_version or 0,
        actor=change.actor or "",
        withdrawn=change.withdrawn,
        previously_shared=change.previously_shared,
        previously_blocked=change.previously_blocked,
        account=change.kind in accounts,
    )


def id_to_proto(own: bytes | None) -> str:
    """Return an id of 16 bytes as text; empty for none."""
    return "" if own is None else own.hex()


def decision_to_proto(decision: Decision, names: Mapping[bytes, Identifier]) -> pb.Decision:
    """Return a decision; `names` has the identifiers that it is about, without those that were erased meanwhile."""
    return pb.Decision(
        id=decision.id.hex(),
        kind=_KINDS[decision.kind],
        identifiers=[names[key] for key in decision.keys if key in names],
        others=[names[key] for key in decision.others if key in names],
        actor=decision.actor,
        reason=decision.reason,
        request_id=decision.request_id,
        decided_at=_timestamp(decision.decided_at),
        withdrawn_at=_timestamp(decision.withdrawn_at),
        withdrawn_by=decision.withdrawn_by or "",
        withdrawal_reason=decision.withdrawal_reason or "",
    )


def moved_to_proto(
    row: ChangedIdentifier, names: Mapping[bytes, Identifier], accounts: Container[str], by: Decision | Deciding
) -> pb.ProfileChange:
    """Return what a decision, or the erasure of others, changes about an identifier."""
    decided = by if isinstance(by, Decision) and row.own_cause is None else None
    cause = row.own_cause or (Cause.DECISION if decided else Cause.OTHERS_ERASED)
    actor = "" if row.own_cause else (decided and decided.withdrawn_by) or by.actor
    return pb.ProfileChange(
        identifier=names[row.key],
        previous_profile_id=id_to_proto(row.previous_profile_id),
        profile_id=id_to_proto(row.profile_id),
        shared=row.shared,
        blocked=row.blocked,
        cause=_CAUSES[cause],
        decision_id=decided.id.hex() if decided else "",
        policy_version=row.policy_version if cause is Cause.POLICY else 0,
        actor=actor,
        withdrawn=decided is not None and decided.withdrawn_by is not None,
        previously_shared=row.previously_shared,
        previously_blocked=row.previously_blocked,
        account=row.kind in accounts,
    )


def erasure_to_proto(erasure: ListedErasure) -> pb.Erasure:
    """Return that somebody had identifiers erased."""
    return pb.Erasure(
        erased_at=datetime_to_timestamp(erasure.erased_at),
        actor=erasure.actor,
        reason=erasure.reason,
        request_id=erasure.request_id,
        identifiers_erased=erasure.identifiers,
    )


def link_to_proto(link: Link, names: Mapping[bytes, Identifier]) -> pb.Link:
    """Return what lies between two identifiers."""
    low, high = link.pair
    return pb.Link(
        identifier=names[low],
        other=names[high],
        evidence=map(_evidence, link.evidence),
        decision_ids=[decision.hex() for decision in link.decisions],
        refusal=_REFUSALS[link.refusal] if link.refusal else pb.LINK_REFUSAL_UNSPECIFIED,
        remedy=remedy(link),
        broken_rules=map(_broken, link.broken),
        kept_apart_by=[decision.hex() for decision in link.kept_apart_by],
    )


def _broken(broken: Broken) -> pb.BrokenRule:
    return pb.BrokenRule(rule=broken.rule, kind=broken.kind or "", limit=broken.limit, found=broken.found)


def _evidence(evidence: Evidence) -> pb.Evidence:
    source, message_id, first_at = evidence
    return pb.Evidence(source=source, message_id=message_id or "", first_seen_at=datetime_to_timestamp(first_at))


def _timestamp(instant: datetime | None) -> Timestamp | None:
    return None if instant is None else datetime_to_timestamp(instant)


def shared_to_proto(listed: Listed) -> pb.SharedIdentifier:
    """Return an identifier that belongs to nobody alone."""
    return pb.SharedIdentifier(
        identifier=_named(listed),
        profile_id=id_to_proto(listed.profile_id),
        reason=pb.SHARED_REASON_HUB if listed.hub else pb.SHARED_REASON_SEVERAL_PEOPLE,
        shared_since=_timestamp(listed.shared_since),
        degree=listed.degree and _degree(listed.degree),
        growth_noticed_at=_timestamp(listed.noticed_at),
    )


def hub_to_proto(listed: Listed) -> pb.Hub:
    """Return an identifier that was seen with many."""
    return pb.Hub(
        identifier=_named(listed),
        profile_id=id_to_proto(listed.profile_id),
        hub=listed.hub,
        degree=listed.degree and _degree(listed.degree),
        growth_noticed_at=_timestamp(listed.noticed_at),
    )


def growth_to_proto(grown: ListedGrowth) -> pb.NoticedGrowth:
    """Return that something grew suspiciously."""
    noticed_at, key, kind, value, profile_id, gained, most = grown
    return pb.NoticedGrowth(
        noticed_at=datetime_to_timestamp(noticed_at),
        profile_id=id_to_proto(profile_id),
        identifier=Identifier(kind=kind, value=value or "", key=key) if kind else None,
        gained=gained,
        limit=most,
    )


def _named(listed: Listed) -> Identifier:
    return Identifier(kind=listed.kind, value=listed.value or "", key=listed.key)


def _degree(degree: Degree) -> pb.Degree:
    return pb.Degree(
        identifiers=degree.identifiers,
        strong=degree.strong,
        limit=degree.most,
        profiles=degree.profiles,
        kinds=[pb.KindCount(kind=kind, identifiers=count) for kind, count in sorted(degree.kinds.items())],
        last_day=pb.Growth(identifiers=degree.day.identifiers, profiles=degree.day.profiles),
        last_week=pb.Growth(identifiers=degree.week.identifiers, profiles=degree.week.profiles),
        counted_at=_timestamp(degree.counted_at),
    )
