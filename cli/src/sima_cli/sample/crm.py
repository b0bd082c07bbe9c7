"""What the CRM exports: HubSpot's contacts as CSV, with three columns of our own."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from sima_cli.sample.dirt import JUNK, JUNK_CARDS, JUNK_EMAILS, JUNK_PHONES, spell_email, spell_name, spell_phone
from sima_cli.sample.people import Person, Plan
from sima_cli.sample.truth import Known, Testimony, names

SOURCE = "crm"
#: The first columns are HubSpot's own; the last ones are custom properties.
HEADER = (
    "Record ID",
    "First Name",
    "Last Name",
    "Email",
    "Phone Number",
    "City",
    "Date of birth",
    "Lifecycle Stage",
    "Last Modified Date",
    "Newsletter",
    "Loyalty Card",
    "Instagram",
    "Facebook",
)
#: How the custom columns are to be read: options of the connector `contacts`.
OPTIONS = {
    "identifier.loyalty_card": "Loyalty Card",
    "identifier.social_handle": "Instagram",
    "identifier.user_id": "Facebook",
    "consent.email_marketing": "Newsletter",
    "optional": "Loyalty Card, Instagram, Facebook, Newsletter",  # a newcomer's own file has none of them
}


@dataclass(frozen=True, slots=True)
class Contact:
    """One record of the file, and the truth about it."""

    cells: tuple[object, ...]
    about: Testimony


def contact(plan: Plan, person: Person) -> Contact:
    """Return the record of a person who is in the CRM."""
    chance = plan.random("crm", person.number)
    address, number = person.second_email or person.email or "", person.phone or ""
    email = spell_email(address, chance)
    phone = spell_phone(number, person.place, chance, local=False)  # one file for three countries
    if chance.random() < plan.junk:
        email, phone = _junk_in_one(email, phone, chance)
    abroad = chance.random() < 0.3  # entered by somebody who writes Latin letters only
    given, family = (name.latin.title() if abroad else name.native for name in (person.given, person.family))
    city = person.place.city_abroad if abroad else person.place.city
    cells = (
        person.contact_id,
        spell_name(given, person.place, chance),
        spell_name(family, person.place, chance),
        email,
        phone,
        city if chance.random() < 0.9 else chance.choice(("", "N/A")),
        f"{person.birth_year}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}",
        chance.choice(("subscriber", "lead", "customer", "customer", "evangelist")),
        (plan.until - timedelta(days=chance.uniform(1, 300))).isoformat(timespec="seconds"),
        chance.choice(("true", "true", "false", "")),
        f"sima-{person.number:07d}" if person.card else _no_card(plan, person),
        f"instagram:{person.instagram}" if person.instagram else "",
        f"facebook:{person.facebook_id}" if person.facebook_id else "",
    )
    said = Known("email", address), Known("phone", number)
    wrong = {known for known, cell in zip(said, (email, phone), strict=True) if cell in JUNK}
    return Contact(cells, Testimony(person.number, (*(set(said) - wrong), *_other_names(person))))


def table(contacts: Iterable[Contact]) -> bytes:
    """Return the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    writer.writerows(one.cells for one in contacts)
    return text.getvalue().encode()


def _other_names(person: Person) -> tuple[Known, ...]:
    return names(
        loyalty_card=person.card,
        social_handle=person.instagram and f"instagram:{person.instagram}",
        user_id=f"hubspot:{person.contact_id}",
    ) + names(user_id=person.facebook_id and f"facebook:{person.facebook_id}")


def _no_card(plan: Plan, person: Person) -> str:
    """What stands in the cell: where there is nothing to write, something is written sooner than elsewhere."""
    chance = plan.random("no card", person.number)
    return JUNK_CARDS[person.place.region] if chance.random() < 4 * plan.junk else ""


def _junk_in_one(email: str, phone: str, chance: Random) -> tuple[str, str]:
    """Replace one of the two; who enters a contact knows at least one."""
    if chance.random() < 0.5:
        return chance.choice(JUNK_EMAILS), phone
    return email, chance.choice(JUNK_PHONES)
