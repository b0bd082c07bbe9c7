"""What the tills of the three shops export: one CSV file each, written as tills of that country write."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from sima_cli.sample.dirt import JUNK, JUNK_PHONES, spell_phone
from sima_cli.sample.goods import fill_basket
from sima_cli.sample.people import Person, Plan
from sima_cli.sample.places import BERLIN, Place
from sima_cli.sample.truth import Testimony, names

#: The columns of the file.
HEADER = ("receipt", "member", "card", "phone", "sold_at", "amount", "payment")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One purchase at a till, as the file says it, and the truth about it."""

    at: datetime
    cells: tuple[str, ...]
    about: Testimony


def source_of(place: Place) -> str:
    """Return the name of the source of the till of a place."""
    return f"till-{place.slug}"


def options_of(place: Place) -> dict[str, str]:
    """Return how the file of a place is to be read: options of the connector `transactions`."""
    german = {"delimiter": ";", "decimal_mark": ",", "date_format": "%d.%m.%Y %H:%M"} if place is BERLIN else {}
    return {
        "customer": "member",
        "loyalty_card": "card",
        "phone": "phone",
        "date": "sold_at",
        "order": "receipt",
        "property.payment": "payment",
        "time_zone": place.zone.key,
        "currency": place.currency,
        **german,
    }


def receipts(plan: Plan, person: Person) -> Iterator[Receipt]:
    """Yield what a person with a loyalty card bought at the till of their city."""
    if person.card is None:
        return
    chance = plan.random("till", person.number)
    for ordinal in range(1 + min(int(chance.expovariate(0.5)), 9)):
        at = plan.until - timedelta(days=chance.triangular(0.1, 400, 60))
        phone = _phone(plan, person, chance)
        said = person.phone if phone and phone not in JUNK else None
        member = f"{source_of(person.place)}:{_member(person)}"
        cells = _cells(person, ordinal, at, phone, chance)
        known = names(user_id=member, loyalty_card=person.card, phone=said)
        yield Receipt(at, cells, Testimony(person.number, known))


def table(place: Place, sold: Iterable[Receipt]) -> bytes:
    """Return the file of a place: receipts as the till printed them, in order, but some only found days later."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";" if place is BERLIN else ",", lineterminator="\r\n")
    writer.writerow(HEADER)
    writer.writerows(receipt.cells for receipt in sold)
    return text.getvalue().encode("utf-8-sig")


def late(plan: Plan, place: Place, sold: Iterable[Receipt]) -> list[Receipt]:
    """Return the receipts in the order in which they get into the file: by time, but some days late."""
    chance = plan.random("late receipts", place.slug)

    def filed(receipt: Receipt) -> tuple[datetime, tuple[str, ...]]:
        found = receipt.at + timedelta(days=chance.uniform(1, 6)) if chance.random() < 0.03 else receipt.at
        return found, receipt.cells

    return sorted(sold, key=filed)


def _cells(person: Person, ordinal: int, at: datetime, phone: str, chance: Random) -> tuple[str, ...]:
    place = person.place
    amount = fill_basket(place, chance).total_text
    local = at.astimezone(place.zone)
    return (
        f"{place.region}-{person.number:06d}-{ordinal}",
        _member(person),
        f"SIMA {person.number:07d}",  # the card is printed in two groups
        phone,
        local.strftime("%d.%m.%Y %H:%M") if place is BERLIN else local.strftime("%Y-%m-%dT%H:%M:%S"),
        amount.replace(".", ",") if place is BERLIN else amount,
        chance.choice(("cash", "card", "card")),
    )


def _member(person: Person) -> str:
    return str(100_000 + person.number)


def _phone(plan: Plan, person: Person, chance: Random) -> str:
    if chance.random() < plan.junk:
        return chance.choice(JUNK_PHONES)
    return spell_phone(person.phone or "", person.place, chance) if chance.random() < 0.5 else ""
