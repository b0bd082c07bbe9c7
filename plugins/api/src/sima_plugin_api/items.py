"""One item of a batch::

    {"message_id": "order-1001",                                   optional; without it, equal items are one
     "identifiers": [{"kind": "email", "value": "ada@example.com"}],     at least one
     "occurred_at": "2026-01-31T12:00:00+03:00",                   optional; without it, when it is first received
     "event": {"name": "order_completed", "properties": {"total": 12.5}},
     "traits": [{"name": "city", "value": "Riyadh", "method": "declared", "confidence": 0.9},
                {"name": "member_since", "time": "2020-05-01T00:00:00Z"}],
     "consents": [{"purpose": "email_marketing", "granted": true}]}      only beside message_id or occurred_at

A trait that is a whole number beyond 2^53, as numbers of cards may be, is sent as a text.

This is the way that most facts of a busy installation take, so it is read by hand rather than through `Fields`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sima_sdk import Consent, Event, Fact, Identifier, Method, PayloadError, Trait
from sima_sdk.payload import check_json, exact, parse_time

_FACT = frozenset({"message_id", "identifiers", "occurred_at", "event", "traits", "consents"})
_IDENTIFIER = frozenset({"kind", "value"})
_EVENT = frozenset({"name", "properties"})
_TRAIT = frozenset({"name", "value", "time", "method", "confidence"})
_CONSENT = frozenset({"purpose", "granted"})
_METHODS = {method.value: method for method in Method}

T = TypeVar("T")


def read_fact(item: object) -> Fact:
    """Return the fact of an item.

    Raises:
        PayloadError: It is not as described above; the text begins with the field's path.
    """
    fields = _object(item, _FACT)
    identifiers = _each(fields, "identifiers", _identifier)
    if not identifiers:
        raise PayloadError("identifiers: expected at least one")
    message_id, at, event = fields.get("message_id"), fields.get("occurred_at"), fields.get("event")
    consents = _each(fields, "consents", _consent)
    if consents and message_id is None and at is None:  # given again later, it would be the same item
        raise PayloadError("consents: expected them beside a message_id or an occurred_at")
    return Fact(
        "" if message_id is None else _text(fields, "message_id"),
        identifiers,
        None if at is None else parse_time(_text(fields, "occurred_at"), "occurred_at"),
        None if event is None else _event(event),
        _each(fields, "traits", _trait),
        consents,
    )


def _identifier(value: object) -> Identifier:
    fields = _object(value, _IDENTIFIER)
    return Identifier(_text(fields, "kind"), _text(fields, "value"))


def _event(value: object) -> Event:
    try:
        fields = _object(value, _EVENT)
        name, properties = _text(fields, "name"), fields.get("properties")
    except PayloadError as error:
        raise _inside("event", error) from None
    if properties is not None and type(properties) is not dict:
        raise PayloadError("event.properties: expected an object")
    check_json(properties, "event.properties", plain=True)  # all else in an item has no room for nesting
    return Event(name, properties or {})


def _trait(value: object) -> Trait:
    fields = _object(value, _TRAIT)
    method = _METHODS.get(_text(fields, "method")) if "method" in fields else Method.OBSERVED
    confidence = fields.get("confidence", 1.0)
    if method is None:
        raise PayloadError(f"method: expected one of {', '.join(_METHODS)}")
    if type(confidence) not in (int, float) or not 0 < confidence <= 1:
        raise PayloadError("confidence: expected a number above 0 and at most 1")
    return Trait(_text(fields, "name"), _trait_value(fields), method, float(confidence))


def _trait_value(fields: dict[str, Any]) -> str | float | bool | datetime:
    value = fields.get("value")
    if ("time" in fields) == (value is not None):
        raise PayloadError("value: expected either value or time")
    if value is None:
        return parse_time(_text(fields, "time"), "time")
    if type(value) is int:
        return exact(value, "value")
    if type(value) not in (str, float, bool):
        raise PayloadError("value: expected a text, a number, true or false")
    return value  # type: ignore[no-any-return]


def _consent(value: object) -> Consent:
    fields = _object(value, _CONSENT)
    granted = fields.get("granted")
    if type(granted) is not bool:
        raise PayloadError("granted: expected true or false")
    return Consent(_text(fields, "purpose"), granted)


def _object(value: object, known: frozenset[str]) -> dict[str, Any]:
    if type(value) is not dict:
        raise PayloadError("expected an object")
    if not value.keys() <= known:  # a misspelt field would otherwise be lost in silence
        raise PayloadError(f"expected no fields but {', '.join(sorted(known))}")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is not str or not value or value.isspace():
        raise PayloadError(f"{name}: expected a text")
    return value


def _each(fields: dict[str, Any], name: str, read: Callable[[object], T]) -> tuple[T, ...]:
    values = fields.get(name)
    if values is None:
        return ()
    if type(values) is not list:
        raise PayloadError(f"{name}: expected a list")
    found: list[T] = []
    try:
        for value in values:
            found.append(read(value))  # noqa: PERF401 - a comprehension could not say which one failed
    except PayloadError as error:
        raise _inside(f"{name}[{len(found)}]", error) from None
    return tuple(found)


def _inside(path: str, error: PayloadError) -> PayloadError:
    text = str(error)
    return PayloadError(f"{path}: {text}" if text.startswith("expected") else f"{path}.{text}")
