"""When a fact is sound: Sima can store it and can tell whose it is."""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from sima_sdk.connectors import Refusal
from sima_sdk.facts import Consent, Event, Fact, Identifier, Method, Trait
from sima_sdk.payload import check_json, is_storable

#: A value that mutations put into payloads; a text for people that repeats it would repeat a customer's data as well.
CANARY = "canary.7f3a@example.com"


def assert_sound(facts: Iterable[Fact]) -> None:
    """Check facts, each with every part of it."""
    for fact in facts:
        _assert_sound_fact(fact)


def assert_distinct(facts: Sequence[Fact]) -> None:
    """Check that no two facts share a message id: the second would be taken for a retry of the first."""
    message_ids = [fact.message_id for fact in facts if fact.message_id]
    assert len(set(message_ids)) == len(message_ids), "two facts have the same message id"


def assert_discreet(text: str) -> None:
    """Check that a text for people repeats nothing of the payload."""
    assert text.strip(), "a reason is empty"
    assert CANARY not in text, "a reason repeats a value of the payload"


def assert_sound_refusals(refusals: Iterable[Refusal]) -> None:
    """Check that refusals say why, in public, and what, in bytes."""
    for refusal in refusals:
        assert isinstance(refusal, Refusal), "refusals must be Refusal objects"
        assert_discreet(refusal.reason)
        assert isinstance(refusal.raw, bytes), "what is refused must be kept as bytes"
        assert refusal.raw, "what is refused must be kept"


def _assert_sound_fact(fact: Fact) -> None:
    assert isinstance(fact, Fact), "facts must be Fact objects"
    assert isinstance(fact.message_id, str), "message_id must be a text"
    assert is_storable(fact.message_id), "message_id holds what cannot be stored"
    assert fact.identifiers, "a fact must have at least one identifier"
    for identifier in fact.identifiers:
        _assert_sound_identifier(identifier)
    if fact.occurred_at is not None:
        _assert_instant(fact.occurred_at, "occurred_at")
    if fact.event is not None:
        _assert_sound_event(fact.event)
    for trait in fact.traits:
        _assert_sound_trait(trait)
    for consent in fact.consents:
        assert isinstance(consent, Consent), "consents must be Consent objects"
        _assert_name(consent.purpose, "a consent's purpose")
        assert isinstance(consent.granted, bool), "granted must be true or false"


def _assert_sound_identifier(identifier: Identifier) -> None:
    assert isinstance(identifier, Identifier), "identifiers must be Identifier objects"
    assert isinstance(identifier.kind, str), "an identifier's kind must be a text"
    assert isinstance(identifier.value, str), "an identifier's value must be a text"
    assert identifier.value.strip(), "an identifier's value must not be blank"


def _assert_sound_event(event: Event) -> None:
    assert isinstance(event, Event), "event must be an Event"
    _assert_name(event.name, "an event's name")
    assert isinstance(event.properties, dict), "properties must be a dict"
    check_json(event.properties, "properties")
    text = json.dumps(event.properties, ensure_ascii=False, allow_nan=False)
    assert json.loads(text) == event.properties, "properties must be JSON"


def _assert_sound_trait(trait: Trait) -> None:
    assert isinstance(trait, Trait), "traits must be Trait objects"
    _assert_name(trait.name, "a trait's name")
    assert isinstance(trait.method, Method), "a trait's method must be a Method"
    assert 0 < trait.confidence <= 1, "confidence must be above 0 and at most 1"
    value = trait.value
    assert isinstance(value, str | int | float | bool | datetime), "a trait must be a text, number, boolean or time"
    if isinstance(value, str):
        assert is_storable(value), "a trait holds what cannot be stored"
    elif isinstance(value, datetime):
        _assert_instant(value, "a trait that is a time")
    else:
        assert math.isfinite(value), "a trait that is a number must be finite"


def _assert_instant(value: datetime, what: str) -> None:
    assert isinstance(value, datetime), f"{what} must be a datetime"
    assert value.tzinfo is not None, f"{what} must have a time zone"


def _assert_name(name: str, what: str) -> None:
    assert isinstance(name, str), f"{what} must be a text"
    assert name.strip(), f"{what} must not be blank"
    assert is_storable(name), f"{what} holds what cannot be stored"
