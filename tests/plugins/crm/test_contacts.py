"""Files of contacts, from a real CRM and with other layouts."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sima_plugin_crm.contacts import ContactsConnector
from sima_sdk.connectors import Page, Source
from sima_sdk.errors import FixConfigurationError, PayloadError
from sima_sdk.facts import Consent, Identifier, Method, Trait

Read = Callable[..., Page]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read the text of a file with options."""

    def read(text: str, **options: str) -> Page:
        path = tmp_path / "contacts.csv"
        path.write_text(text)
        (page,) = ContactsConnector().pull(Source("crm", options=options), path)
        return page

    return read


def test_hubspot_contacts_are_read_without_any_option(shared_data: Path) -> None:
    """Every contact of a real export, with what it declares."""
    (page,) = ContactsConnector().pull(Source("crm"), shared_data / "crm" / "hubspot_contact.csv")
    assert (len(page.facts), page.refusals) == (22, ())
    first = page.facts[0]
    assert first.occurred_at == datetime(2021, 4, 2, 11, 16, 5, tzinfo=UTC)
    assert Trait("company", "SampleCompany", Method.DECLARED) in first.traits
    assert Trait("annual_revenue", 111111.0, Method.DECLARED) in first.traits


def test_a_merge_made_in_the_crm_joins_its_contacts(shared_data: Path) -> None:
    """The contact that absorbed three others says that all four are one person."""
    (page,) = ContactsConnector().pull(Source("crm"), shared_data / "crm" / "hubspot_contact.csv")
    ids = [{one.value for one in fact.identifiers if one.kind == "user_id"} for fact in page.facts]
    assert [found for found in ids if len(found) > 1] == [
        {"hubspot:78971951", "hubspot:76340251", "hubspot:46897301", "hubspot:76226001"}
    ]
    assert len(set.union(*ids)) == 22


def test_a_contact_belongs_to_companies(read: Read) -> None:
    """Their ids stand beside its own as ids of companies; a record that names nothing else is about no contact."""
    page = read("id,Primary Associated Company ID\n7,90; 91\n,90\n")
    assert [fact.identifiers for fact in page.facts] == [
        (
            Identifier("user_id", "hubspot:7"),
            Identifier("account_id", "hubspot:90"),
            Identifier("account_id", "hubspot:91"),
        )
    ]
    assert [refusal.reason for refusal in page.refusals] == [
        "record 2: id: expected a contact id, or another identifier"
    ]


def test_any_layout_can_be_described(read: Read) -> None:
    """Columns of another CRM, in its own language, types and time zone."""
    page = read(
        "Nr,Mail,Zweitmail,Karte,Ort,Umsatz,Kunde seit,Newsletter,Stand\n"
        '7,ada@example.com,ada@work.example.com,S-1,Berlin,"12,50",2020-05-01,ja,2026-01-05T10:30\n'.replace(
            "ja", "yes"
        ),
        id="Nr",
        namespace="acme",
        time="Stand",
        time_zone="Europe/Berlin",
        decimal_mark=",",
        method="acquired",
        **{
            "identifier.email": "Mail, Zweitmail",
            "identifier.loyalty_card": "Karte",
            "trait.city": "Ort",
            "trait.revenue": "Umsatz:number",
            "trait.member_since": "Kunde seit:time",
            "consent.email_marketing": "Newsletter",
        },
    )
    (fact,) = page.facts
    assert fact.identifiers == (
        Identifier("user_id", "acme:7"),
        Identifier("email", "ada@example.com"),
        Identifier("email", "ada@work.example.com"),
        Identifier("loyalty_card", "S-1"),
    )
    assert fact.occurred_at == datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    assert set(fact.traits) == {
        Trait("city", "Berlin", Method.ACQUIRED),
        Trait("revenue", 12.5, Method.ACQUIRED),
        Trait("member_since", datetime(2020, 4, 30, 22, tzinfo=UTC), Method.ACQUIRED),
    }
    assert fact.consents == (Consent("email_marketing", granted=True),)


def test_a_consent_without_a_time_is_refused(read: Read) -> None:
    """Withdrawn again, it would be taken for the first time that it was withdrawn; the contacts beside it are read."""
    page = read("id,Last Modified Date,Newsletter\n7,,no\n8,2026-01-05,no\n9,,\n", **{"consent.mail": "Newsletter"})
    assert [fact.consents for fact in page.facts] == [(Consent("mail", granted=False),), ()]
    assert [refusal.reason for refusal in page.refusals] == [
        "record 1: time: expected when the consent was given or withdrawn"
    ]


def test_what_a_contact_does_not_say_is_not_said(read: Read) -> None:
    """Empty fields are no traits, no consents and no times."""
    (fact,) = read("id,Email,City,Newsletter\n7,,,\n", **{"consent.email_marketing": "Newsletter"}).facts
    assert (fact.identifiers, fact.traits, fact.consents) == ((Identifier("user_id", "hubspot:7"),), (), ())
    assert fact.occurred_at is None


def test_of_several_columns_the_first_that_says_something_counts(read: Read) -> None:
    """A private number stands in where there is none of the office."""
    (fact,) = read("id,a,b\n7,,Riyadh\n", **{"trait.city": "a, b"}).facts
    assert fact.traits == (Trait("city", "Riyadh", Method.DECLARED),)
    (fact,) = read("id,a,b\n7,Berlin,Riyadh\n", **{"trait.city": "a, b"}).facts
    assert fact.traits == (Trait("city", "Berlin", Method.DECLARED),)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ("7,true,,", "deleted: expected a contact that still exists"),
        ("7,perhaps,,", "gone: expected true or false"),
        ("7,,much,", "revenue: expected a decimal number written as 1234.5"),
        ("7,,,tomorrow", "at: expected a time written in ISO 8601"),
        (",,,", "id: expected a contact id, or another identifier"),
    ],
)
def test_a_bad_contact_names_the_column(read: Read, record: str, complaint: str) -> None:
    """It is refused with its number and column, and kept."""
    page = read(f"id,gone,revenue,at\n{record}\n", deleted="gone", time="at", **{"trait.revenue": "revenue:number"})
    assert [refusal.reason for refusal in page.refusals] == [f"record 1: {complaint}"]


def test_a_column_that_an_option_names_must_be_there(read: Read) -> None:
    """A misspelt column is not silently empty."""
    with pytest.raises(PayloadError, match="file: expected a column Ort"):
        read("id,City\n7,Berlin\n", **{"trait.city": "Ort"})


def test_all_missing_columns_are_named_at_once(read: Read) -> None:
    """Whoever mends the file mends it once."""
    with pytest.raises(PayloadError, match=r"file: expected columns Ort, Karte$"):
        read("id,City\n7,Berlin\n", **{"trait.city": "Ort", "identifier.loyalty_card": "Karte"})


def test_a_column_that_is_called_optional_may_be_missing(read: Read) -> None:
    """It gives no value where it is not there, and counts where it is."""
    options = {"identifier.loyalty_card": "Card", "trait.city": "Town", "optional": "Card, Town"}
    (fact,) = read("id,Town\n7,Berlin\n", **options).facts
    assert fact.identifiers == (Identifier("user_id", "hubspot:7"),)
    assert fact.traits == (Trait("city", "Berlin", Method.DECLARED),)


def test_a_file_in_which_nothing_says_who_is_refused_as_a_whole(read: Read) -> None:
    """Every column that could say it is named at once."""
    options = {"identifier.email": "Mail", "identifier.loyalty_card": "Card", "optional": "Mail, Card"}
    expected = "file: expected at least one of the columns id, Record ID, Mail, property_phone, .*, Card$"
    with pytest.raises(PayloadError, match=expected):
        read("Name,Town\nAda,Berlin\n", **options)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"trait.age": "Age:years"}, "option trait.age: expected columns"),
        ({"identifier.email": " , "}, "option identifier.email: expected columns"),
        ({"method": "guessed"}, "option method: expected declared, observed or acquired"),
        ({"time_zone": "Mars/Olympus"}, "option time_zone: expected"),
        ({"encoding": "utf-5"}, "option encoding: expected a known encoding"),
        ({"delimiter": ";;"}, "option delimiter: expected one character, or tab"),
        ({"decimal_mark": "'"}, "option decimal_mark: expected a point or a comma"),
    ],
)
def test_options_that_make_no_sense_stop_the_start(options: dict[str, str], complaint: str) -> None:
    """Whoever configured the source is told before the first file comes."""
    with pytest.raises(FixConfigurationError, match=complaint):
        ContactsConnector().check(Source("crm", options=options))
