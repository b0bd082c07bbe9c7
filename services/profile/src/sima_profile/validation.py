"""Reads the messages of the contract: each becomes a checked fact, or every reason why it cannot. Pure."""

import json
import re
from collections.abc import Collection, Iterable
from functools import lru_cache, partial

import orjson
from sima.type.v1 import fact_pb2, identifier_pb2
from sima_runtime.context import workspace_secret
from sima_runtime.errors import InvalidIdentifierError, Violations
from sima_runtime.wire import KeyedIdentifier, keyed_identifier
from sima_sdk.identifiers import REGION_EXPECTED, IdentifierKinds, is_region

from sima_profile.facts import METHODS, CheckedConsent, CheckedFact, CheckedTrait
from sima_profile.message_identity import content_hash, message_hash
from sima_profile.values import to_json, to_microseconds

MAX_IDENTIFIERS = 50
MAX_MESSAGE_ID = 1000
MAX_NAME = 200
#: Of events, in one question.
MAX_NAMES = 1000
MAX_PROPERTIES = 256 * 1024
#: Of objects and lists in properties; orjson writes no more.
MAX_DEPTH = 254
#: Of traits, and of consents; their places are stored in 16 bits.
MAX_STATEMENTS = 1000
#: How far ahead of the server's clock a message may say that it happened, in microseconds: one day.
MAX_AHEAD = 86_400_000_000

_REMEMBERED = 1 << 16
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_LONG_NUMBER = re.compile(rb"\d{19}")
_NAME_EXPECTED = f"expected 1 to {MAX_NAME} characters, no control characters"
_MESSAGE_ID_EXPECTED = f"expected at most {MAX_MESSAGE_ID} characters"
_IDENTIFIERS_EXPECTED = f"expected 1 to {MAX_IDENTIFIERS} identifiers"
_STATEMENTS_EXPECTED = f"expected at most {MAX_STATEMENTS} items"
_PROPERTIES_EXPECTED = (
    f"expected one JSON object in UTF-8 of at most {MAX_PROPERTIES} bytes, nested at most {MAX_DEPTH} levels deep, "
    "with whole numbers of at most 64 bits"
)


class IdentifierReader:
    """Reads identifiers of all workspaces, and remembers those that it read last; protected ones it forgets at once."""

    def __init__(self, kinds: IdentifierKinds, master_key: bytes) -> None:
        """Set up.

        Args:
            kinds: The known kinds of identifiers.
            master_key: The key that the secrets of workspaces are made with.
        """
        self._kinds = kinds
        self._open_kinds = frozenset(name for name, kind in kinds.items() if not kind.protected)
        self._secret = lru_cache(1024)(partial(workspace_secret, master_key))
        self._remembered = lru_cache(_REMEMBERED)(self._open_identifier)  # who is active comes again all the time

    def read(self, workspace: str, message: identifier_pb2.Identifier, region: str | None) -> KeyedIdentifier:
        """Bring one identifier into its normal form.

        Raises:
            InvalidIdentifierError: It has none; `note` says in which part.
        """
        if message.kind in self._open_kinds:
            return self._remembered(workspace, message.kind, message.value, message.key, region or "")
        return keyed_identifier(message, region or "", self._kinds, self._secret(workspace))

    def note(
        self, identifier: identifier_pb2.Identifier, region: str | None, path: str, error: str, found: Violations
    ) -> None:
        """Note which field of the identifier at `path` is to blame; without its region, a value is not judged."""
        field = "kind" if identifier.kind not in self._kinds else "key" if identifier.key else "value"
        if field != "value" or region is not None:
            found.add(f"{path}.{field}", error)

    def _open_identifier(self, workspace: str, kind: str, value: str, key: bytes, region: str) -> KeyedIdentifier:
        message = identifier_pb2.Identifier(kind=kind, value=value, key=key)
        return keyed_identifier(message, region, self._kinds, self._secret(workspace))


def read_region(region: str, path: str, found: Violations) -> str | None:
    """Return a region in upper case, or nothing; None after noting at `path` that it is none."""
    if not region:
        return ""
    return region.upper() if found.require(is_region(region), path, REGION_EXPECTED) else None


class FactReader:
    """Reads the facts of one workspace."""

    def __init__(self, workspace: str, identifiers: IdentifierReader, now: int) -> None:
        """Set up.

        Args:
            workspace: Whose facts.
            identifiers: Reads their identifiers.
            now: The server's clock, in microseconds since 1970.
        """
        self._workspace = workspace
        self._identifiers = identifiers
        self._now = now

    def fact(self, message: fact_pb2.Fact) -> CheckedFact:
        """Check one message.

        Raises:
            InvalidFieldsError: It cannot be stored; every violation is named by its path from the fact on.
        """
        found = Violations()
        source = message.source
        message_id = message.message_id
        found.require(_is_name(source), "source", _NAME_EXPECTED)
        found.require(len(message_id) <= MAX_MESSAGE_ID, "message_id", _MESSAGE_ID_EXPECTED)
        identifiers = self._about(message, found)
        stated_at = self._stated_at(message, found)
        received_at = self._received_at(message, found)
        event, properties = _event(message, found)
        traits = _traits(message, found) if message.traits else ()
        consents = _consents(message, found) if message.consents else ()
        found.check()
        content = content_hash(
            identifiers, stated_at, event=event, properties=properties, traits=traits, consents=consents
        )
        name = message_hash(self._workspace, source, message_id, content)
        return CheckedFact(
            source,
            name,
            message_id,
            identifiers,
            stated_at,
            received_at,
            event,
            properties,
            traits,
            consents,
            content,
        )

    def _about(self, message: fact_pb2.Fact, found: Violations) -> tuple[KeyedIdentifier, ...]:
        given = message.identifiers
        if not found.require(0 < len(given) <= MAX_IDENTIFIERS, "identifiers", _IDENTIFIERS_EXPECTED):
            return ()
        region = read_region(message.default_region, "default_region", found)
        try:
            read = [self._identifiers.read(self._workspace, item, region) for item in given]
        except InvalidIdentifierError:
            self._name_faults(given, region, found)
            return ()
        if len(read) > 1:
            read = list({item.key: item for item in read}.values())
        return tuple(read)

    def _name_faults(self, given: Iterable[identifier_pb2.Identifier], region: str | None, found: Violations) -> None:
        for i, item in enumerate(given):
            try:
                self._identifiers.read(self._workspace, item, region)
            except InvalidIdentifierError as error:
                self._identifiers.note(item, region, f"identifiers[{i}]", str(error), found)

    def _stated_at(self, message: fact_pb2.Fact, found: Violations) -> int | None:
        if not message.HasField("occurred_at"):
            return None
        try:
            at = to_microseconds(message.occurred_at)
        except ValueError as error:
            found.add("occurred_at", str(error))
            return None
        found.require(at <= self._now + MAX_AHEAD, "occurred_at", "expected a time at most one day ahead of now")
        return at

    def _received_at(self, message: fact_pb2.Fact, found: Violations) -> int:
        if message.HasField("received_at"):
            try:
                return min(to_microseconds(message.received_at), self._now)
            except ValueError as error:
                found.add("received_at", str(error))
        return self._now


def require_names(names: Collection[str], path: str, found: Violations) -> None:
    """Note what is wrong with the names of events for which somebody asks."""
    found.require(len(names) <= MAX_NAMES, path, f"expected at most {MAX_NAMES} names")
    for i, name in enumerate(names):
        found.require(_is_name(name), f"{path}[{i}]", _NAME_EXPECTED)


@lru_cache(4096)  # sources, events, traits and purposes are few and come again all the time
def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and not _CONTROL.search(text)


def _event(message: fact_pb2.Fact, found: Violations) -> tuple[str | None, bytes | None]:
    if not message.HasField("event"):
        return None, None
    event = message.event
    name, properties = event.name, event.properties
    found.require(_is_name(name), "event.name", _NAME_EXPECTED)
    if not properties:
        return name, b"{}"
    try:
        parsed = orjson.loads(properties) if len(properties) <= MAX_PROPERTIES else None
        canonical = orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)
        if type(parsed) is dict and _is_exact(properties):  # asked last, for it cannot read what is nested too deeply
            return name, canonical
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    found.add("event.properties", _PROPERTIES_EXPECTED)
    return name, None


def _is_exact(properties: bytes) -> bool:
    """Whether every whole number has at most 64 bits; orjson rounds others, so that different ones look alike."""
    if not _LONG_NUMBER.search(properties):
        return True
    try:
        json.loads(properties, parse_int=_exact)
    except ValueError:
        return False
    return True


def _exact(digits: str) -> int:
    if -(2**63) <= (number := int(digits)) < 2**64:
        return number
    raise ValueError


def _traits(message: fact_pb2.Fact, found: Violations) -> tuple[CheckedTrait, ...]:
    if not found.require(len(message.traits) <= MAX_STATEMENTS, "traits", _STATEMENTS_EXPECTED):
        return ()
    read = [_trait(trait, f"traits[{i}]", found) for i, trait in enumerate(message.traits)]
    return tuple(sorted({trait for trait in read if trait}))


def _trait(message: fact_pb2.TraitObservation, path: str, found: Violations) -> CheckedTrait | None:
    name, confidence = message.trait, message.confidence if message.HasField("confidence") else 1.0
    method = METHODS.get(message.method or fact_pb2.METHOD_OBSERVED)
    found.require(_is_name(name), f"{path}.trait", _NAME_EXPECTED)
    found.require(method is not None, f"{path}.method", "expected a method of the contract")
    found.require(0 < confidence <= 1, f"{path}.confidence", "expected a number above 0 and at most 1")
    try:
        kind, value = to_json(message.value)
    except ValueError as error:
        found.add(f"{path}.value", str(error))
        return None
    return CheckedTrait(name, kind, value, method, confidence) if method else None


def _consents(message: fact_pb2.Fact, found: Violations) -> tuple[CheckedConsent, ...]:
    if not found.require(len(message.consents) <= MAX_STATEMENTS, "consents", _STATEMENTS_EXPECTED):
        return ()
    read = [_consent(consent, f"consents[{i}]", found) for i, consent in enumerate(message.consents)]
    return tuple(sorted(set(read)))


def _consent(message: fact_pb2.ConsentStatement, path: str, found: Violations) -> CheckedConsent:
    found.require(_is_name(message.purpose), f"{path}.purpose", _NAME_EXPECTED)
    known = (fact_pb2.CONSENT_STATUS_GRANTED, fact_pb2.CONSENT_STATUS_DENIED)
    found.require(message.status in known, f"{path}.status", "expected granted or denied")
    return CheckedConsent(message.purpose, message.status == fact_pb2.CONSENT_STATUS_GRANTED)
