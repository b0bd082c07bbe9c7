"""The SDK's dataclasses as protobuf messages, identifiers normalised and keyed on the way; and instants both ways."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from sima.type.v1.fact_pb2 import (
    CONSENT_STATUS_DENIED,
    CONSENT_STATUS_GRANTED,
    METHOD_ACQUIRED,
    METHOD_DECLARED,
    METHOD_OBSERVED,
    ConsentStatement,
    TraitObservation,
)
from sima.type.v1.fact_pb2 import Fact as FactMessage
from sima.type.v1.identifier_pb2 import Identifier as IdentifierMessage
from sima.type.v1.value_pb2 import Value
from sima_sdk.facts import Consent, Fact, Identifier, Method, Trait, TraitValue
from sima_sdk.identifiers import IdentifierKinds, identifier_key, kind_expected

from sima_runtime.errors import InvalidIdentifierError, Violations

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND_MICROS = 1_000_000
_LARGEST_EXACT = 2**53

_METHODS = {
    Method.DECLARED: METHOD_DECLARED,
    Method.OBSERVED: METHOD_OBSERVED,
    Method.ACQUIRED: METHOD_ACQUIRED,
}


class KeyedIdentifier(NamedTuple):
    """An identifier in its normal form; `value` is None for protected kinds, of which only the key is kept."""

    kind: str
    value: str | None
    key: bytes


def keyed_identifier(
    message: IdentifierMessage, default_region: str, kinds: IdentifierKinds, secret: bytes
) -> KeyedIdentifier:
    """Return the normal form of an identifier that a caller sent.

    Args:
        message: The identifier; with a key, its value must be normal already.
        default_region: Two-letter region of local phone numbers; empty: such numbers are refused.
        kinds: The known kinds.
        secret: The workspace's secret.

    Raises:
        InvalidIdentifierError: It has no normal form, or the key does not belong to the value.
    """
    kind, value, key = message.kind, message.value, message.key
    if not key:
        return _normalised(kind, value, default_region or None, kinds, secret)
    if kind not in kinds:
        raise InvalidIdentifierError(kind_expected(kinds))
    if not value and kinds[kind].protected and len(key) == 16:
        return KeyedIdentifier(kind, None, key)
    if identifier_key(secret, kind, value) != key:
        raise InvalidIdentifierError(f"{kind}: expected the key of the value")
    return KeyedIdentifier(kind, None if kinds[kind].protected else value, key)


def identifier_to_proto(identifier: KeyedIdentifier) -> IdentifierMessage:
    """Return the message of an identifier, for answers and for calls to other services."""
    return IdentifierMessage(kind=identifier.kind, value=identifier.value or "", key=identifier.key)


def fact_to_proto(
    fact: Fact, source: str, default_region: str | None, kinds: IdentifierKinds, secret: bytes
) -> FactMessage:
    """Return the message of a fact, with its identifiers normalised and keyed.

    Args:
        fact: What a connector produced.
        source: Name of the configured source.
        default_region: Two-letter region of local phone numbers; None: such numbers are refused.
        kinds: The known kinds of identifiers.
        secret: The workspace's secret.

    Raises:
        InvalidFieldsError: With every field that cannot be taken, by its path from the fact on.
    """
    bad = Violations()
    message = FactMessage(
        source=source,
        message_id=_name(fact.message_id, "message_id", bad),
        identifiers=_identifiers(fact.identifiers, default_region, kinds, secret, bad),
        occurred_at=_aware(fact.occurred_at, "occurred_at", bad),
        default_region=default_region or "",
        traits=[_trait(trait, f"traits[{index}]", bad) for index, trait in enumerate(fact.traits)],
        consents=[_consent(consent, f"consents[{index}]", bad) for index, consent in enumerate(fact.consents)],
    )
    if fact.event is not None:
        message.event.name = _name(fact.event.name, "event.name", bad)
        message.event.properties = _json(fact.event.properties, "event.properties", bad)
    bad.check()
    return message


def value_to_proto(value: TraitValue) -> Value:
    """Return the message of a trait's value.

    Raises:
        ValueError: It is none of text, finite number, boolean and instant with time zone; the text says what is
            expected.
    """
    match value:
        case bool():
            return Value(boolean=value)
        case int() | float():
            if (isinstance(value, int) and abs(value) > _LARGEST_EXACT) or not math.isfinite(value):
                raise ValueError("must be a finite number, integers at most 2^53 (or a text)")
            return Value(number=value)
        case str():
            return Value(text=_mended(value))
        case datetime():
            return Value(time=datetime_to_timestamp(value))
    raise ValueError("must be a text, a number, true or false, or an instant")


def timestamp_to_micros(message: Timestamp) -> int:
    """Return microseconds since 1970; what is finer is cut off."""
    return message.seconds * _SECOND_MICROS + message.nanos // 1000


def micros_to_timestamp(micros: int) -> Timestamp:
    """Return the message of an instant in microseconds since 1970."""
    seconds, rest = divmod(micros, _SECOND_MICROS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def optional_timestamp(micros: int | None) -> Timestamp | None:
    """Return the message of an instant in microseconds since 1970, if there is one."""
    return None if micros is None else micros_to_timestamp(micros)


def datetime_to_micros(instant: datetime) -> int:
    """Return microseconds since 1970 of an instant with time zone.

    Raises:
        ValueError: It has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError("must have a time zone")
    return (instant - _EPOCH) // _MICROSECOND


def datetime_to_timestamp(instant: datetime) -> Timestamp:
    """Return the message of an instant with time zone. Raises as `datetime_to_micros` does."""
    return micros_to_timestamp(datetime_to_micros(instant))


def _normalised(kind: str, value: str, region: str | None, kinds: IdentifierKinds, secret: bytes) -> KeyedIdentifier:
    normal = kinds.normalise(kind, value, region)
    return KeyedIdentifier(kind, None if kinds[kind].protected else normal, identifier_key(secret, kind, normal))


def _identifiers(
    identifiers: tuple[Identifier, ...],
    region: str | None,
    kinds: IdentifierKinds,
    secret: bytes,
    bad: Violations,
) -> list[IdentifierMessage]:
    messages = []
    for index, identifier in enumerate(identifiers):
        try:
            keyed = _normalised(identifier.kind, identifier.value, region, kinds, secret)
        except InvalidIdentifierError as error:
            bad.add(f"identifiers[{index}].value", str(error))
        else:
            messages.append(identifier_to_proto(keyed))
    return messages


def _trait(trait: Trait, path: str, bad: Violations) -> TraitObservation:
    name = _name(trait.name, f"{path}.trait", bad)
    message = TraitObservation(trait=name, method=_METHODS[trait.method], confidence=trait.confidence)
    try:
        message.value.CopyFrom(value_to_proto(trait.value))
    except ValueError as error:
        bad.add(f"{path}.value", str(error))
    return message


def _consent(consent: Consent, path: str, bad: Violations) -> ConsentStatement:
    status = CONSENT_STATUS_GRANTED if consent.granted else CONSENT_STATUS_DENIED
    return ConsentStatement(purpose=_name(consent.purpose, f"{path}.purpose", bad), status=status)


def _aware(instant: datetime | None, path: str, bad: Violations) -> Timestamp | None:
    if instant is None:
        return None
    try:
        return datetime_to_timestamp(instant)
    except ValueError as error:
        bad.add(path, str(error))
        return None


def _name(text: str, path: str, bad: Violations) -> str:
    """Return a text by which something is found again, and which therefore is not mended."""
    if _is_unicode(text):
        return text
    bad.add(path, "must be a text in Unicode, without halves of surrogate pairs")
    return ""


def _json(value: Mapping[str, Any], path: str, bad: Violations) -> bytes:
    """Write JSON in one form, so that the same content has the same hash."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        bad.add(path, "must be JSON, without NaN and infinities")
        return b""
    return _mended(text).encode()


def _mended(text: str) -> str:
    """Join halves of surrogate pairs and replace single ones: web pages cut texts in the midst of an emoji."""
    return text if _is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
