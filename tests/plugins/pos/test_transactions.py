"""Files of transactions, from real tills and shops."""

import csv
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sima_plugin_pos.transactions import TransactionsConnector
from sima_sdk.connectors import Page, Source
from sima_sdk.errors import FixConfigurationError, PayloadError
from sima_sdk.facts import Event, Fact, Identifier

Read = Callable[..., list[Page]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read the text of a file with options."""

    def read(text: str, **options: str) -> list[Page]:
        path = tmp_path / "till.csv"
        path.write_text(text)
        return list(TransactionsConnector().pull(Source("till", options=options), path))

    return read


def facts(pages: list[Page]) -> list[Fact]:
    """Return the facts of all pages."""
    return [fact for page in pages for fact in page.facts]


def event(fact: Fact) -> Event:
    """Return the event of a fact."""
    assert fact.event is not None
    return fact.event


def test_the_purchases_of_the_cd_shop_are_all_there(shared_data: Path) -> None:
    """2,357 people and 6,919 purchases, to the cent and to the day; two on one day are two."""
    path = shared_data / "pos" / "cdnow_sample.csv"
    options = {"customer": "master_customer_id", "date_format": "%Y%m%d", "amount": "amount_usd", "currency": "USD"}
    found = facts(list(TransactionsConnector().pull(Source("cdnow", options=options), path)))
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(found) == len({fact.message_id for fact in found}) == len(rows) == 6_919
    assert len({fact.identifiers for fact in found}) == 2_357
    assert {event(fact).name for fact in found} == {"order_completed"}
    spent = sum(Decimal(str(event(fact).properties["total"])) for fact in found)
    assert spent == sum(Decimal(row["amount_usd"]) for row in rows)
    days = Counter((fact.identifiers, fact.occurred_at) for fact in found)
    assert days == Counter(
        (
            (Identifier("user_id", f"cdnow:{row['master_customer_id']}"),),
            datetime.strptime(row["date"], "%Y%m%d").replace(tzinfo=UTC),
        )
        for row in rows
    )
    assert max(days.values()) > 1


def test_the_invoices_of_the_web_shop_are_all_there(shared_data: Path) -> None:
    """Lines become invoices, cancellations become refunds, and what names no customer is refused and kept."""
    path = shared_data / "pos" / "online_retail_france.csv"
    options = {
        "customer": "CustomerID",
        "order": "InvoiceNo",
        "date": "InvoiceDate",
        "date_format": "%m/%d/%Y %H:%M",
        "quantity": "Quantity",
        "unit_price": "UnitPrice",
        "time_zone": "Europe/London",
        "currency": "GBP",
        "property.country": "Country",
    }
    pages = list(TransactionsConnector().pull(Source("retail", options=options), path))
    found = facts(pages)
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    named = [row for row in rows if row["CustomerID"]]
    assert {fact.message_id.partition(":")[2] for fact in found} == {row["InvoiceNo"] for row in named}
    assert len({fact.identifiers for fact in found}) == len({row["CustomerID"] for row in named})
    assert {fact.message_id for fact in found if event(fact).name == "order_refunded"} == {
        f"refund:{row['InvoiceNo']}" for row in named if row["InvoiceNo"].startswith("C")
    }
    total = sum(
        Decimal(str(event(fact).properties.get("total", 0))) - Decimal(str(event(fact).properties.get("amount", 0)))
        for fact in found
    )
    assert total == sum(Decimal(row["Quantity"]) * Decimal(row["UnitPrice"]) for row in named)
    refused = [refusal for page in pages for refusal in page.refusals]
    assert sum(refusal.raw.count(b"\n") for refusal in refused) == len(rows) - len(named)
    assert {refusal.reason.partition(": ")[2] for refusal in refused} == {"CustomerID: expected one customer"}


def test_every_column_has_its_meaning(read: Read) -> None:
    """Customer, card, phone and e-mail name the buyer; the clock hung in the shop; the rest is kept as it is."""
    (page,) = read(
        "nr,when,sum,mail,tel,card,cashier,pieces\n17,05.01.2026 10:30,1234.50,ada@example.com,0501234567,S-1,Eve,3\n",
        customer="nr",
        customer_namespace="riyadh",
        date="when",
        date_format="%d.%m.%Y %H:%M",
        time_zone="Asia/Riyadh",
        amount="sum",
        email="mail",
        phone="tel",
        loyalty_card="card",
        currency="SAR",
        **{"property.cashier": "cashier", "property.pieces": "pieces:number"},
    )
    (fact,) = page.facts
    assert fact.identifiers == (
        Identifier("user_id", "riyadh:17"),
        Identifier("email", "ada@example.com"),
        Identifier("phone", "0501234567"),
        Identifier("loyalty_card", "S-1"),
    )
    assert fact.occurred_at == datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
    assert fact.event == Event("order_completed", {"currency": "SAR", "total": 1234.5, "cashier": "Eve", "pieces": 3.0})


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (",2026-01-05,1", "customer_id: expected one customer"),
        ("1,,1", "date: expected a time written in ISO 8601"),
        ("1,05.01.2026,1", "date: expected a time written in ISO 8601"),
        ("1,2026-01-05,", "amount: expected a decimal number written as 1234.5"),
        ("1,2026-01-05,1e9", "amount: expected a decimal number written as 1234.5"),
        ("1,2026-01-05,9007199254740993", "amount: expected a number of at most 2^53; longer ones belong into texts"),
        ('1,2026-01-05,"1,50"', "amount: expected a decimal number written as 1234.5"),
    ],
)
def test_a_bad_record_names_the_column(read: Read, record: str, complaint: str) -> None:
    """It is refused with its number and column, and the good one behind it is kept."""
    (page,) = read(f"customer_id,date,amount\n{record}\n2,2026-01-05,1\n")
    assert len(page.facts) == 1
    assert [refusal.reason for refusal in page.refusals] == [f"record 1: {complaint}"]


def test_a_receipt_of_two_customers_is_refused(read: Read) -> None:
    """Lines of one receipt that name different people are nobody's purchase."""
    (page,) = read("receipt,customer_id,date,amount\nA,1,2026-01-05,1\nA,2,2026-01-05,1\n", order="receipt")
    assert page.refusals[0].raw == b"A,1,2026-01-05,1\nA,2,2026-01-05,1\n"


def test_what_is_kept_with_a_purchase_stays_as_it_is_written(read: Read) -> None:
    """The zeros of a branch and the digits of a barcode are theirs; a number is what the options call one."""
    (page,) = read(
        "customer_id;date;amount;branch;barcode;pieces;weight;gift\n"
        "17;2026-01-05;1234,50;00123;6280001234567890123;3;0,5;yes\n",
        delimiter=";",
        decimal_mark=",",
        **{
            "property.branch": "branch",
            "property.barcode": "barcode:text",
            "property.pieces": "pieces",
            "property.weight": "weight:number",
            "property.gift": "gift:boolean",
        },
    )
    assert event(page.facts[0]).properties == {
        "total": 1234.5,
        "branch": "00123",
        "barcode": "6280001234567890123",
        "pieces": "3",
        "weight": 0.5,
        "gift": True,
    }


def test_german_thousands_are_refused(read: Read) -> None:
    """`1.234` is a thousand and more in a file with decimal commas, never one and a bit."""
    (page,) = read("customer_id;date;amount\n17;2026-01-05;1.234\n", delimiter=";", decimal_mark=",")
    assert [refusal.reason for refusal in page.refusals] == [
        "record 1: amount: expected a decimal number written as 1234,5"
    ]


def test_a_receipt_with_a_broken_line_is_no_purchase(read: Read) -> None:
    """A part of what somebody paid is never their total."""
    (page,) = read(
        "receipt,customer_id,date,amount\nA,1,2026-01-05,10\nA,1,2026-01-05,20,\nA,1,2026-01-05,30\nB,2,2026-01-05,5\n",
        order="receipt",
    )
    assert [fact.message_id for fact in page.facts] == ["order:B"]
    assert [refusal.reason for refusal in page.refusals] == ["records 1 to 3: expected 4 fields"]


def test_a_refund_is_another_message_than_its_order(read: Read) -> None:
    """Both may be of one day, and then one would stand in the place of the other."""
    (page,) = read("receipt,customer_id,date,amount\nA,1,2026-01-05,10\n", order="receipt")
    (later,) = read("receipt,customer_id,date,amount\nA,1,2026-01-05,-4\n", order="receipt")
    bought, refunded = page.facts[0], later.facts[0]
    assert bought.occurred_at == refunded.occurred_at
    assert (bought.message_id, refunded.message_id) == ("order:A", "refund:A")


def test_cents_add_up(read: Read) -> None:
    """Ten times ten cents are one, and not nearly one."""
    (page,) = read("receipt,customer_id,date,amount\n" + "A,1,2026-01-05,0.1\n" * 10, order="receipt")
    assert event(page.facts[0]).properties["total"] == 1.0


def test_absurd_amounts_do_not_end_the_import(read: Read) -> None:
    """Only the record is refused, however large the number in it."""
    huge = "9" * 300
    lines = f"A,1,2026-01-05,{huge},{huge}\nA,1,2026-01-05,-{huge},{huge}\nB,1,2026-01-05,2,3\n"
    (page,) = read(
        "receipt,customer_id,date,n,price\n" + lines,
        order="receipt",
        quantity="n",
        unit_price="price",
    )
    assert [event(fact).properties["total"] for fact in page.facts] == [6.0]
    assert [refusal.reason.partition(": ")[0] for refusal in page.refusals] == ["records 1 to 2"]


def test_a_missing_column_is_missed(read: Read) -> None:
    """A file of another layout is refused as a whole, by the name of the column."""
    with pytest.raises(PayloadError, match="file: expected a column customer_id"):
        read("id,date,amount\n1,2026-01-05,1\n")


def test_a_zone_in_the_file_counts(read: Read) -> None:
    """It is the clock's own; a percent sign before a Z is none."""
    (page,) = read("customer_id,date,amount\n1,2026-01-05 10:00 +0300,1\n", date_format="%Y-%m-%d %H:%M %z")
    assert page.facts[0].occurred_at == datetime(2026, 1, 5, 7, tzinfo=UTC)
    (page,) = read("customer_id,date,amount\n1,2026-01-05%Z,1\n", date_format="%Y-%m-%d%%Z")
    assert page.facts[0].occurred_at == datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["%Y-%m-%d", "%d.%m.%y %H:%M:%S", "%Y%j", "%G-W%V-%u", "%b %d, %Y", "%Y-%m-%dT%H%z"])
def test_a_date_may_be_written_in_any_way(text: str) -> None:
    """Whatever names a day, also by its number in the year or by its week."""
    TransactionsConnector().check(Source("till", options={"date_format": text}))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"quantity": "n"}, "expected both options quantity and unit_price"),
        ({"date_format": "%d.%q"}, "option date_format: expected a pattern"),
        ({"date_format": "%d %d"}, "option date_format: expected a pattern"),
        *(({"date_format": text}, "of a whole date") for text in ("%H:%M", "%j", "[%d", "%Y-%m", "%d.%m.", "%Y %d")),
        ({"date_format": "%Y-%m-%d %H:%M %Z"}, "option date_format: expected a pattern .* with zones as %z, not %Z"),
        ({"time_zone": "Mars/Olympus"}, "option time_zone: expected"),
        ({"encoding": "utf-5"}, "option encoding: expected a known encoding"),
        ({"delimiter": ";;"}, "option delimiter: expected one character, or tab"),
        ({"decimal_mark": ""}, "option decimal_mark: expected a point or a comma"),
        ({"property.size": "size:time"}, r"option property\.size: expected a column, perhaps with :text"),
        ({"property.size": " "}, r"option property\.size: expected a column"),
    ],
)
def test_options_that_make_no_sense_stop_the_start(options: dict[str, str], complaint: str) -> None:
    """Whoever configured the source is told before the first file comes."""
    with pytest.raises(FixConfigurationError, match=complaint):
        TransactionsConnector().check(Source("till", options=options))
