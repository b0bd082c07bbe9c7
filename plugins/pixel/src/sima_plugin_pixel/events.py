"""What the script and the pictures report, as facts.

The script sends `{"anonymous_id": ..., "batch": [...]}`; each item has an `id` and a time `at`, and any of: `name` with
`properties` (an event), `identifiers` with `traits` (who it is), `consents` (purpose to true or false).
"""

from collections.abc import Mapping

from sima_sdk import Consent, Event, Fact, Identifier, Method, PayloadError
from sima_sdk.facts import identifiers, traits
from sima_sdk.payload import Fields, check_json

#: Kinds by which a page may name its visitor. Others are no business of a page that anybody can write.
KINDS = ("user_id", "email", "phone", "device_id", "anonymous_id")
OPENED = "email_opened"


def read_event(item: Fields, anonymous_id: str | None) -> Fact:
    """Read one item of the script's batch.

    Raises:
        PayloadError: It is not what the script sends, or names nobody.
    """
    name = item.text("name")
    named, told = item.object("identifiers"), item.object("traits")
    return Fact(
        message_id=item.require(item.reference, "id"),
        identifiers=_somebody(
            *((kind, named.reference(kind)) for kind in KINDS if kind in named), ("anonymous_id", anonymous_id)
        ),
        occurred_at=item.require(item.time, "at"),
        event=Event(name, item.object("properties").json()) if name else None,
        traits=traits(Method.DECLARED, **{name: told.scalar(name) for name in told.names()}),
        consents=_consents(item.object("consents")),
    )


def read_picture(query: Mapping[str, str]) -> Fact:
    """Read the parameters of a picture: `event` (default `email_opened`), `id`, identifiers by kind; others are kept as
    properties of the event.

    Without `id`, a picture that is shown again with the same parameters is the same event.

    Raises:
        PayloadError: It names nobody, or holds what cannot be stored.
    """
    check_json(dict(query), "query")
    parameters = Fields(query)
    properties = {name: text for name, text in query.items() if name not in (*KINDS, "event", "id", "key")}
    return Fact(
        message_id=parameters.text("id") or "",
        identifiers=_somebody(*((kind, parameters.text(kind)) for kind in KINDS)),
        event=Event(parameters.text("event") or OPENED, properties),
    )


def _somebody(*named: tuple[str, str | None]) -> tuple[Identifier, ...]:
    who = identifiers(*named)
    if not who:
        raise PayloadError(f"identifiers: expected at least one of {', '.join(KINDS)}")
    return who


def _consents(given: Fields) -> tuple[Consent, ...]:
    return tuple(Consent(purpose, given.require(given.flag, purpose)) for purpose in given.names())
