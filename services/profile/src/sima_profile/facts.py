"""What a checked fact is made of. Times are microseconds since 1970 (UTC), keys and ids are 16 bytes."""

from typing import NamedTuple

from sima.type.v1.fact_pb2 import METHOD_ACQUIRED, METHOD_DECLARED, METHOD_OBSERVED
from sima_runtime.wire import KeyedIdentifier

#: How a value came to be known, as the contract says it and as it is stored.
METHODS = {METHOD_DECLARED: "declared", METHOD_OBSERVED: "observed", METHOD_ACQUIRED: "acquired"}


class CheckedTrait(NamedTuple):
    """What a message says about one trait; `value` is JSON text, `type` one of text, number, boolean, time."""

    trait: str
    type: str
    value: str
    method: str
    confidence: float


class CheckedConsent(NamedTuple):
    """What a message says about one purpose."""

    purpose: str
    granted: bool


class CheckedFact(NamedTuple):
    """One message that can be stored.

    Attributes:
        source: The configured source that sent it.
        message: Hash of workspace, source and message id: what makes it the same message when it comes again.
        message_id: The source's own id of it, empty if it has none; only handed on as evidence, never stored.
        identifiers: Whom it is about, each once.
        stated_at: When it happened, as the message states it. None: it states no time.
        received_at: When it was received, here or by whoever handed it on; it is no part of what the message says.
        event: Name of the event. None: it reports no event.
        properties: Properties of the event in canonical JSON. None: it reports no event.
        traits: What it says about traits, in an order that depends on content only.
        consents: What it says about consents, in an order that depends on content only.
        content: Hash of all that it says: the same message with another content is a conflict.
    """

    source: str
    message: bytes
    message_id: str
    identifiers: tuple[KeyedIdentifier, ...]
    stated_at: int | None
    received_at: int
    event: str | None
    properties: bytes | None
    traits: tuple[CheckedTrait, ...]
    consents: tuple[CheckedConsent, ...]
    content: bytes
