"""Files of transactions, as tills export them: CSV, one purchase or one line of a purchase in each record.

Options of a source name the columns and how they are written:

- `customer` (default `customer_id`), written as user id `<customer_namespace>:<value>`; the namespace is by default the
  name of the source. `email`, `phone`, `loyalty_card`: further columns that name the customer; none by default.
- `date` (default `date`), in `date_format` (of strptime, zones as `%z`; default ISO 8601), in `time_zone` (default UTC)
  where the text itself names none.
- `amount` (default `amount`), or `quantity` and `unit_price`.
- `order`: the records that agree in it are lines of one purchase. By default each record is a purchase.
- `currency`: the currency of all amounts, for example `SAR`.
- `property.<name>`: a column to keep with the purchase, for example `property.pieces` = `Stück:number`; types are text
  (the default), number and boolean.

A sum below zero is a refund. See also the options of `sima_sdk.files`, among them `decimal_mark`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from math import fsum
from pathlib import Path

from sima_sdk import Event, Fact, FixConfigurationError, Identifier, Page, PayloadError, PullConnector, Source
from sima_sdk.columns import Column
from sima_sdk.facts import identifiers
from sima_sdk.files import (
    CSV_OPTIONS,
    Record,
    check_csv,
    decimal_mark_of,
    grouped,
    in_pages,
    one_by_one,
    read_csv,
    zone_of,
)
from sima_sdk.payload import parse_local_time, parse_number, present

NAMES_OF_CUSTOMER = ("email", "phone", "loyalty_card")
PROPERTY = "property."
OPTIONS = (
    *("customer", "customer_namespace", *NAMES_OF_CUSTOMER),
    *("date", "date_format", "amount", "quantity", "unit_price", "order", "currency", PROPERTY),
)
PROPERTY_TYPES = ("text", "number", "boolean")  # those that JSON has
_SOME_TIME = datetime(2013, 5, 17, 3, 4, 5, tzinfo=UTC)  # whose date is not what strptime makes of a missing part


class TransactionsConnector(PullConnector):
    """Purchases and refunds from a file."""

    name = "transactions"
    options = (*OPTIONS, *CSV_OPTIONS)

    def check(self, source: Source) -> None:
        """Require options that make sense."""
        check_csv(source)
        Layout.of(source)

    def pull(self, source: Source, file: Path, checkpoint: str = "") -> Iterator[Page]:
        """Yield a fact for each purchase and each refund."""
        layout = Layout.of(source)
        records = read_csv(file, source, layout.columns)
        groups = grouped(records, layout.order) if layout.order else one_by_one(records)
        return in_pages(groups, partial(_fact, layout), checkpoint)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the columns of a file are to be understood; the options are described in the module's text."""

    customer: str
    namespace: str
    names: tuple[tuple[str, str], ...]
    date: str
    date_format: str | None
    zone: tzinfo
    amounts: tuple[str, ...]
    decimal_mark: str
    order: str | None
    currency: str | None
    properties: tuple[tuple[str, Column], ...]

    @classmethod
    def of(cls, source: Source) -> "Layout":
        """Read the options of a source.

        Raises:
            FixConfigurationError: One of them makes no sense.
        """
        options = source.options
        prices = tuple(options[name] for name in ("quantity", "unit_price") if name in options)
        if len(prices) == 1:
            raise FixConfigurationError(f"source {source.name}: expected both options quantity and unit_price")
        return cls(
            customer=options.get("customer", "customer_id"),
            namespace=options.get("customer_namespace", source.name),
            names=tuple((kind, options[kind]) for kind in NAMES_OF_CUSTOMER if kind in options),
            date=options.get("date", "date"),
            date_format=_date_format(source),
            zone=zone_of(source),
            amounts=prices or (options.get("amount", "amount"),),
            decimal_mark=decimal_mark_of(source),
            order=options.get("order"),
            currency=options.get("currency"),
            properties=tuple(
                (name.removeprefix(PROPERTY), _property(source, name)) for name in options if name.startswith(PROPERTY)
            ),
        )

    @property
    def columns(self) -> list[str]:
        """The columns that a file must have."""
        named = [*(column for _, column in self.names), *(column.name for _, column in self.properties)]
        return [self.customer, self.date, *self.amounts, *named, *([self.order] if self.order else [])]

    def identifiers_of(self, record: Record) -> tuple[Identifier, ...]:
        """Return by what a record names its customer."""
        customer = record.values[self.customer]
        names = ((kind, record.values[column]) for kind, column in self.names)
        return identifiers(("user_id", customer and f"{self.namespace}:{customer}"), *names)

    def time_of(self, record: Record) -> datetime:
        """Return when a record happened."""
        return parse_local_time(record.values[self.date], self.date, self.zone, self.date_format)

    def amount_of(self, record: Record) -> float:
        """Return what a record costs: its amount, or its quantity times its unit price."""
        factors = [parse_number(record.values[column], column, self.decimal_mark) for column in self.amounts]
        return factors[0] * factors[-1] if len(factors) == 2 else factors[0]

    def properties_of(self, record: Record) -> dict[str, object]:
        """Return the columns that are kept, those that say something."""
        return {
            name: column.read(text, self.zone, self.decimal_mark)
            for name, column in self.properties
            if (text := record.values[column.name])
        }


def _fact(layout: Layout, lines: Sequence[Record]) -> Fact:
    first = lines[0]
    who = layout.identifiers_of(first)
    if not who or any(layout.identifiers_of(line) != who for line in lines):
        raise PayloadError(f"{layout.customer}: expected one customer")
    order = first.values[layout.order] if layout.order else ""
    total = round(fsum(map(layout.amount_of, lines)), 4)
    facts = present(order_id=order or None, currency=layout.currency, lines=len(lines) if order else None)
    kind, event = "order", Event("order_completed", facts | {"total": total} | layout.properties_of(first))
    if total < 0:
        kind, event = "refund", Event("order_refunded", facts | {"amount": -total} | layout.properties_of(first))
    return Fact(f"{kind}:{order}" if order else first.message_id, who, layout.time_of(first), event)


def _date_format(source: Source) -> str | None:
    pattern = source.options.get("date_format")
    if pattern and not _is_date_format(pattern):
        raise FixConfigurationError(
            f"source {source.name}, option date_format: expected a pattern of a whole date, such as %Y-%m-%d, "
            "with zones as %z, not %Z"
        )
    return pattern


def _is_date_format(pattern: str) -> bool:
    if "%Z" in pattern.replace("%%", ""):  # strptime reads the name of a zone and forgets it
        return False
    try:
        return datetime.strptime(_SOME_TIME.strftime(pattern), pattern).date() == _SOME_TIME.date()
    except (ValueError, re.error):  # the latter if it names something twice
        return False


def _property(source: Source, option: str) -> Column:
    column = Column.named(source.options[option])
    if column.type not in PROPERTY_TYPES or not column.name:
        raise FixConfigurationError(
            f"source {source.name}, option {option}: expected a column, perhaps with :{'|'.join(PROPERTY_TYPES)}"
        )
    return column
