"""Answers of the services as plain values, the way `--json` prints them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from sima.identity.v1 import identity_service_pb2 as identity_pb
from sima.profile.v1.profile_service_pb2 import Consent, Profile, SourcedValue, Survivorship, TimelineEvent, Trait
from sima.segment.v1.segment_service_pb2 import (
    Member,
    Membership,
    MembershipChange,
    MembershipChangeKind,
    PreviewSegmentResponse,
    RuleProblem,
    Segment,
)
from sima.type.v1.fact_pb2 import CONSENT_STATUS_GRANTED, Method
from sima.type.v1.identifier_pb2 import Identifier
from sima.type.v1.value_pb2 import Value

from sima_cli.rules import from_message

Shape = dict[str, Any]


def instant(moment: Timestamp) -> datetime:
    """Return a timestamp with its time zone, UTC."""
    return moment.ToDatetime(UTC)


def identifier(message: Identifier) -> str:
    """Return an identifier as `kind:value`; of a protected kind, whose value nobody keeps, the key stands for it."""
    return f"{message.kind}:{message.value or message.key.hex()}"


def profile(message: Profile) -> Shape:
    """Return a profile."""
    return {
        "profile_id": message.profile_id,
        "identifiers": [identifier(one) for one in message.identifiers],
        "traits": {trait.trait: _trait(trait) for trait in message.traits},
        "consents": {consent.purpose: _consent(consent) for consent in message.consents},
        "event_count": message.event_count,
        "first_seen_at": _time(message, "first_seen_at"),
        "last_seen_at": _time(message, "last_seen_at"),
    }


def event(message: TimelineEvent) -> Shape:
    """Return an event of a person."""
    return {
        "name": message.event.name,
        "occurred_at": _time(message, "occurred_at"),
        "received_at": _time(message, "received_at"),
        "source": message.source,
        "properties": json.loads(message.event.properties or b"{}"),
        "fact_id": message.fact_id.hex(),
    }


def segment(message: Segment) -> Shape:
    """Return a segment."""
    return {
        "name": message.name,
        "rule": message.rule,
        "description": message.description,
        "size": message.size,
        "frozen": message.frozen,
        "created_at": _time(message, "created_at"),
        "updated_at": _time(message, "updated_at"),
    }


def preview(message: PreviewSegmentResponse) -> Shape:
    """Return what a rule would give."""
    return {
        "size": message.size,
        "sample": list(message.sample_profile_ids),
        "problems": [_problem(problem) for problem in message.problems],
        "took_ms": round(message.took.ToMicroseconds() / 1000, 3),
    }


def member(message: Member) -> Shape:
    """Return somebody in a segment."""
    return {"profile_id": message.profile_id, "entered_at": _time(message, "entered_at")}


def memberships(messages: Iterable[Membership]) -> list[Shape]:
    """Return the segments of a person."""
    return [{"segment": one.segment, "entered_at": _time(one, "entered_at")} for one in messages]


def membership_change(message: MembershipChange) -> Shape:
    """Return an entry into a segment, or a leave."""
    return {
        "segment": message.segment,
        "profile_id": message.profile_id,
        "change": MembershipChangeKind.Name(message.kind).removeprefix("MEMBERSHIP_CHANGE_KIND_").lower(),
        "changed_at": _time(message, "changed_at"),
    }


def explanation(message: identity_pb.ExplainLinkResponse) -> Shape:
    """Return why two identifiers are one person, or are not."""
    return {"linked": message.linked, "chain": [link(one) for one in message.chain], "partial": message.partial}


def graph(message: identity_pb.GetProfileGraphResponse) -> Shape:
    """Return all evidence and decisions around a profile."""
    return {
        "profile_id": message.profile_id,
        "identifiers": [
            {"identifier": identifier(one.identifier), "shared": one.shared, "blocked": one.blocked}
            for one in message.identifiers
        ],
        "links": [link(one) for one in message.links],
        "decisions": [decision(one) for one in message.decisions],
        "partial": message.partial,
    }


def affiliation(message: identity_pb.Affiliation) -> Shape:
    """Return that a person belongs to a company."""
    return {
        "person": identifier(message.person),
        "profile_id": message.profile_id,
        "account": identifier(message.account),
        "account_profile_id": message.account_profile_id,
        "evidence": list(map(_evidence, message.evidence)),
    }


def _evidence(message: identity_pb.Evidence) -> Shape:
    first_seen_at = _time(message, "first_seen_at")
    return {"source": message.source, "message_id": message.message_id or None, "first_seen_at": first_seen_at}


def link(message: identity_pb.Link) -> Shape:
    """Return what lies between two identifiers."""
    return {
        "identifiers": [identifier(message.identifier), identifier(message.other)],
        "evidence": list(map(_evidence, message.evidence)),
        "decisions": list(message.decision_ids),
        "refusal": refusal(message),
        "remedy": message.remedy or None,
        "broken_rules": [
            {"rule": one.rule, "kind": one.kind or None, "limit": one.limit, "found": one.found}
            for one in message.broken_rules
        ],
        "kept_apart_by": list(message.kept_apart_by),
    }


def refusal(message: identity_pb.Link) -> str | None:
    """Return why a link does not bind; None if it does."""
    name = identity_pb.LinkRefusal.Name(message.refusal).removeprefix("LINK_REFUSAL_").lower()
    return name if message.refusal else None


def decision(message: identity_pb.Decision) -> Shape:
    """Return what somebody decided."""
    return {
        "id": message.id or None,
        "kind": decision_kind(message),
        "identifiers": [identifier(one) for one in message.identifiers],
        "others": [identifier(one) for one in message.others],
        "actor": message.actor,
        "reason": message.reason,
        "request_id": message.request_id,
        "decided_at": _time(message, "decided_at"),
        "withdrawn_at": _time(message, "withdrawn_at"),
        "withdrawn_by": message.withdrawn_by or None,
        "withdrawal_reason": message.withdrawal_reason or None,
    }


def decision_kind(message: identity_pb.Decision) -> str:
    """Return what kind of decision it is."""
    return identity_pb.DecisionKind.Name(message.kind).removeprefix("DECISION_KIND_").lower()


def outcome(message: identity_pb.Outcome) -> Shape:
    """Return what came of a decision."""
    return {
        "decision": decision(message.decision),
        "changes": [
            {
                "identifier": identifier(one.identifier),
                "previous_profile_id": one.previous_profile_id or None,
                "profile_id": one.profile_id or None,
            }
            for one in message.changes
        ],
        "pending": message.pending,
        "also_decided": list(message.also_decided),
    }


def change(message: identity_pb.ProfileChange) -> Shape:
    """Return a change of whom an identifier belongs to."""
    return {
        "identifier": identifier(message.identifier),
        "changed_at": _time(message, "changed_at"),
        "previous_profile_id": message.previous_profile_id or None,
        "profile_id": message.profile_id or None,
        "previously": standing(message.previously_shared, message.previously_blocked),
        "standing": standing(message.shared, message.blocked),
        "cause": cause(message),
        "decision_id": message.decision_id or None,
        "withdrawn": message.withdrawn,
        "policy_version": message.policy_version or None,
        "actor": message.actor or None,
    }


def erasure(message: identity_pb.EraseIdentifiersResponse) -> Shape:
    """Return what was erased, and who of the others moved."""
    return {
        "erased_at": _time(message, "erased_at"),
        "identifiers_erased": message.identifiers_erased,
        "changes": [change(one) for one in message.changes],
        "pending": message.pending,
    }


def cause(message: identity_pb.ProfileChange) -> str:
    """Return why something changed: evidence, decision, policy, erasure, or others_erased."""
    return identity_pb.ChangeCause.Name(message.cause).removeprefix("CHANGE_CAUSE_").lower()


def standing(shared: bool, blocked: bool) -> str | None:
    """Return whether an identifier is nobody's, and how; None if it can be somebody's."""
    return "shared" if shared else "blocked" if blocked else None


def past(message: identity_pb.LookupAsKnownResult | identity_pb.LookupResult, since: str) -> Shape:
    """Return a profile as it was; `since` is the field of an identifier that says since when."""
    return {
        "profile_id": message.profile_id or None,
        "identifiers": [
            {
                "identifier": identifier(one.identifier),
                "standing": standing(one.shared, one.blocked),
                since: _time(one, since),
            }
            for one in message.identifiers
        ],
    }


def shared(message: identity_pb.SharedIdentifier) -> Shape:
    """Return an identifier that belongs to nobody alone."""
    return {
        "identifier": identifier(message.identifier),
        "profile_id": message.profile_id,
        "reason": shared_reason(message),
        "shared_since": _time(message, "shared_since"),
        "degree": _degree(message.degree) if message.HasField("degree") else None,
        "growth_noticed_at": _time(message, "growth_noticed_at"),
    }


def shared_reason(message: identity_pb.SharedIdentifier) -> str:
    """Return why an identifier belongs to nobody alone: hub or several_people."""
    return identity_pb.SharedReason.Name(message.reason).removeprefix("SHARED_REASON_").lower()


def hub(message: identity_pb.Hub) -> Shape:
    """Return an identifier that was seen with many."""
    return {
        "identifier": identifier(message.identifier),
        "profile_id": message.profile_id,
        "hub": message.hub,
        "degree": _degree(message.degree),
        "growth_noticed_at": _time(message, "growth_noticed_at"),
    }


def growth(message: identity_pb.NoticedGrowth) -> Shape:
    """Return that an identifier or a profile grew suspiciously."""
    return {
        "noticed_at": _time(message, "noticed_at"),
        "identifier": identifier(message.identifier) if message.HasField("identifier") else None,
        "profile_id": message.profile_id,
        "gained": message.gained,
        "limit": message.limit,
    }


def policy_version(message: identity_pb.PolicyVersion) -> Shape:
    """Return a policy, with who set it; `identity` is what a file would say."""
    return {
        "version": message.version,
        "identity": from_message(message.policy).as_data(),
        "actor": message.actor or None,
        "reason": message.reason or None,
        "request_id": message.request_id or None,
        "set_at": _time(message, "set_at"),
        "applied_at": _time(message, "applied_at"),
    }


def policy_effect(message: identity_pb.PolicyEffect) -> Shape:
    """Return what a policy would change."""
    examples = ("merge_examples", "split_examples")
    counts = (name for name in message.DESCRIPTOR.fields_by_name if name not in examples)
    return {name: getattr(message, name) for name in counts} | {
        name: [_regrouping(one) for one in getattr(message, name)] for name in examples
    }


def _regrouping(message: identity_pb.Regrouping) -> Shape:
    return {
        "before": [_person_group(one) for one in message.before],
        "after": [_person_group(one) for one in message.after],
    }


def _person_group(message: identity_pb.PersonGroup) -> Shape:
    return {
        "profile_id": message.profile_id or None,
        "identifiers": [identifier(one) for one in message.identifiers],
        "size": message.size,
    }


def value(message: Value) -> str | float | bool | None:
    """Return the value of a trait; a time as text."""
    kind = message.WhichOneof("kind")
    if kind == "time":
        return instant(message.time).isoformat()
    return getattr(message, kind) if kind else None


def method(message: SourcedValue) -> str:
    """Return how a value came to be known: declared, observed or acquired."""
    return Method.Name(message.method).removeprefix("METHOD_").lower()


def survivorship(message: Trait) -> str:
    """Return by which rule the value of a trait was chosen."""
    return Survivorship.Name(message.survivorship).removeprefix("SURVIVORSHIP_").lower()


def granted(message: Consent) -> bool:
    """Whether a consent was given."""
    return message.status == CONSENT_STATUS_GRANTED


def _degree(message: identity_pb.Degree) -> Shape:
    return {
        "identifiers": message.identifiers,
        "strong": message.strong,
        "limit": message.limit,
        "profiles": message.profiles,
        "kinds": {one.kind: one.identifiers for one in message.kinds},
        "last_day": {"identifiers": message.last_day.identifiers, "profiles": message.last_day.profiles},
        "last_week": {"identifiers": message.last_week.identifiers, "profiles": message.last_week.profiles},
        "counted_at": _time(message, "counted_at"),
    }


def _trait(message: Trait) -> Shape:
    return {
        "values": [_sourced(one) for one in message.values],
        "alternatives": [_sourced(one) for one in message.alternatives],
        "survivorship": survivorship(message),
        "contradiction": message.contradiction,
    }


def _sourced(message: SourcedValue) -> Shape:
    return {
        "value": value(message.value),
        "source": message.source,
        "method": method(message),
        "observed_at": _time(message, "observed_at"),
        "confidence": message.confidence,
    }


def _consent(message: Consent) -> Shape:
    return {"granted": granted(message), "source": message.source, "stated_at": _time(message, "stated_at")}


def _problem(message: RuleProblem) -> Shape:
    return {
        "message": message.message,
        "line": message.line,
        "column": message.column,
        "suggestion": message.suggestion or None,
    }


def _time(message: Message, field: str) -> str | None:
    return instant(getattr(message, field)).isoformat() if message.HasField(field) else None
