"""Customers of a Shopify shop, from recorded objects."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sima_sdk.connectors import Reception
from sima_sdk.facts import Consent, Method

Send = Callable[[str, Any], Reception]
Recorded = Callable[[str], Any]


def test_a_recorded_customer_declares_who_they_are(send: Send, recorded: Recorded) -> None:
    """Names and address, known because the customer said so, at the time of the change."""
    fact = send("customers/update", recorded("customer")).facts[0]
    assert fact.event is None
    assert fact.occurred_at == datetime(2015, 5, 27, 22, 11, 24, tzinfo=UTC)
    assert {trait.method for trait in fact.traits} == {Method.DECLARED}
    assert {trait.name: trait.value for trait in fact.traits} == {
        "first_name": "Bob",
        "last_name": "Norman",
        "city": "Louisville",
        "province": "Kentucky",
        "postal_code": "40202",
        "country": "US",
    }


def test_created_and_updated_in_one_second_say_it_once(send: Send, recorded: Recorded) -> None:
    """The shop reports a new customer twice; it is one message."""
    customer = recorded("customers_search")
    assert send("customers/create", customer) == send("customers/update", customer)


def consents(reception: Reception) -> dict[str, tuple[bool, datetime | None]]:
    """Return each consent with its time."""
    return {
        consent.purpose: (consent.granted, fact.occurred_at) for fact in reception.facts for consent in fact.consents
    }


def test_a_consent_counts_from_when_it_was_given(send: Send, recorded: Recorded) -> None:
    """A change of address in May must not renew a consent of January, which was withdrawn elsewhere in March."""
    customer = recorded("customer") | {
        "email_marketing_consent": {"state": "subscribed", "consent_updated_at": "2015-01-01T00:00:00Z"},
        "sms_marketing_consent": {"state": "unsubscribed", "consent_updated_at": None},
    }
    assert consents(send("customers/update", customer)) == {
        "email_marketing": (True, datetime(2015, 1, 1, tzinfo=UTC)),
        "sms_marketing": (False, datetime(2015, 5, 27, 22, 11, 24, tzinfo=UTC)),
    }


def test_a_consent_without_a_time_renews_none(send: Send, recorded: Recorded) -> None:
    """It counts from the beginning, and is the same message after a change of address."""
    undated = {"email_marketing_consent": {"state": "subscribed", "consent_updated_at": None}}
    customer = recorded("customer") | undated | {"created_at": "2014-01-01T00:00:00Z"}
    first = send("customers/update", customer)
    assert consents(first) == {"email_marketing": (True, datetime(2014, 1, 1, tzinfo=UTC))}
    assert send("customers/update", customer | {"updated_at": "2016-01-01T00:00:00Z"}).facts[1] == first.facts[1]


def test_a_consent_repeated_is_the_same_message(send: Send, recorded: Recorded) -> None:
    """However often the shop repeats it with other changes, of the e-mail even, it was given once."""
    consent = {"email_marketing_consent": {"state": "subscribed", "consent_updated_at": "2015-01-01T00:00:00Z"}}
    first = send("customers/update", recorded("customer") | consent).facts[1]
    changes = {"updated_at": "2016-01-01T00:00:00Z", "email": "new@example.org", "phone": None}
    later = send("customers/update", recorded("customer") | consent | changes).facts[1]
    assert first == later
    assert first.consents == (Consent("email_marketing", granted=True),)


@pytest.mark.parametrize("state", ["not_subscribed", "pending", "invalid", "redacted", None])
def test_no_decision_is_no_consent(send: Send, recorded: Recorded, state: str | None) -> None:
    """Who was never asked, or has not confirmed, neither granted nor denied."""
    consent = {"email_marketing_consent": {"state": state, "consent_updated_at": None}}
    assert consents(send("customers/update", recorded("customer") | consent)) == {}


@pytest.mark.parametrize("accepts", [True, False])
def test_the_older_flag_is_understood(send: Send, recorded: Recorded, *, accepts: bool) -> None:
    """Shops with an older version of the interface say it with one flag."""
    customer = recorded("customer") | {
        "accepts_marketing": accepts,
        "accepts_marketing_updated_at": "2014-01-01T00:00:00Z",
    }
    assert consents(send("customers/update", customer)) == {
        "email_marketing": (accepts, datetime(2014, 1, 1, tzinfo=UTC))
    }
