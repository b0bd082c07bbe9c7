"""The customers of a Shopify shop: by which names it knows them, what they declared, what they consented to."""

from collections.abc import Iterator
from datetime import datetime

from sima_sdk import Consent, Fact, Identifier, Method, Trait
from sima_sdk.facts import identifiers, traits
from sima_sdk.payload import Fields

#: What the shop writes for a decision of the customer; other states (`not_subscribed`, `pending`) are none.
DECISIONS = {"subscribed": True, "unsubscribed": False}


def identifiers_of(customer: Fields) -> tuple[Identifier, ...]:
    """Return the names of a customer object.

    Not the phone of an address: parcels go to neighbours and gifts to friends.
    """
    number = customer.reference("id")
    return identifiers(
        ("user_id", number and f"shopify:{number}"),
        ("email", customer.text("email")),
        ("phone", customer.text("phone")),
    )


def account_of(names: tuple[Identifier, ...]) -> tuple[Identifier, ...]:
    """Return by what to name somebody who has an account: it stays while the addresses beside it change.

    So what is said again says the same. All names, where there is no account.
    """
    return tuple(name for name in names if name.kind == "user_id") or names


def traits_of(customer: Fields) -> tuple[Trait, ...]:
    """Return what a customer object declares."""
    address = customer.object("default_address")
    return traits(
        Method.DECLARED,
        first_name=customer.text("first_name"),
        last_name=customer.text("last_name"),
        company=address.text("company"),
        city=address.text("city"),
        province=address.text("province"),
        postal_code=address.text("zip"),
        country=address.text("country_code") or address.text("country"),
    )


def stated(customer: Fields, _shop: str, _change: str) -> Iterator[Fact]:
    """Read `customers/create` and `customers/update`.

    A consent is a fact of its own, for it was given at another time than the address beside it was changed.
    """
    number = customer.require(customer.reference, "id")
    at = customer.require(customer.time, "updated_at")
    who = identifiers_of(customer)
    yield Fact(f"customer:{number}:{at.isoformat()}", who, at, traits=traits_of(customer))
    for purpose, granted, stated_at in _consents(customer, at):
        message_id = f"customer:{number}:{purpose}:{granted}:{stated_at.isoformat()}"
        yield Fact(message_id, account_of(who), stated_at, consents=(Consent(purpose, granted),))


def _consents(customer: Fields, at: datetime) -> Iterator[tuple[str, bool, datetime]]:
    for purpose in ("email_marketing", "sms_marketing"):
        consent = customer.object(f"{purpose}_consent")
        granted = DECISIONS.get(consent.text("state") or "")
        if granted is not None:
            yield purpose, granted, consent.time("consent_updated_at") or _undated(customer, granted, at)
    legacy = customer.flag("accepts_marketing")
    if legacy is not None and "email_marketing_consent" not in customer:
        stated_at = customer.time("accepts_marketing_updated_at") or _undated(customer, legacy, at)
        yield "email_marketing", legacy, stated_at


def _undated(customer: Fields, granted: bool, at: datetime) -> datetime:
    """When a decision without a time was made, so that it never renews one that was withdrawn elsewhere."""
    return (customer.time("created_at") or at) if granted else at
