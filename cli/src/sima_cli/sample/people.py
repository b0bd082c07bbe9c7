"""The people of the sample: who they are, how channels know them, and which of them share a tablet."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from sima_cli.sample.names import Name
from sima_cli.sample.places import PLACES, Place

#: Domains that are reserved for examples: no letter ever reaches anybody.
MAIL_DOMAINS = ("example.com", "example.org", "example.net")
FAMILY_SIZES = (2, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to generate; equal plans give equal bytes.

    Attributes:
        people: How many people.
        seed: Another seed, other people.
        junk: Share of the messages whose contact details are partly junk, 0 to 0.1.
        shared_devices: Share of the people who use a tablet together with their family, 0 to 0.05.
        until: When the story ends, with a time zone; nothing happens later.
    """

    people: int
    until: datetime
    seed: int = 1
    junk: float = 0.03
    shared_devices: float = 0.02

    def random(self, *path: object) -> Random:
        """Return the stream of chance of one part of the sample, so that parts do not disturb each other."""
        return Random(":".join(map(str, (self.seed, *path))))  # noqa: S311 - a sample, no secret


@dataclass(slots=True)
class Person:
    """Somebody made up, with everything by which some channel knows them.

    Attributes:
        number: From 0; the person of the truth.
        place: Where they live.
        given: Given name.
        family: Family name.
        birth_year: For the CRM.
        email: The address they use in shops; lower case.
        second_email: One that only the CRM knows.
        phone: In E.164.
        customer_id: Of their account in the shop of their city.
        card: Number of their loyalty card, in its normal form.
        contact_id: Of the CRM.
        instagram: Handle there.
        facebook_id: Of their account there.
        cookies: Anonymous ids of their browsers.
        unknown_cookies: Those of `cookies` that never log in.
        tablet: The device that the family shares.
        tablet_cookie: Their browser on that device.
    """

    number: int
    place: Place
    given: Name
    family: Name
    birth_year: int
    email: str | None = None
    second_email: str | None = None
    phone: str | None = None
    customer_id: int | None = None
    card: str | None = None
    contact_id: int | None = None
    instagram: str | None = None
    facebook_id: int | None = None
    cookies: list[str] = field(default_factory=list)
    unknown_cookies: list[str] = field(default_factory=list)
    tablet: str | None = None
    tablet_cookie: str | None = None

    @property
    def instagram_id(self) -> int:
        """Number of their account there."""
        return 17_000_000_000_000 + self.number * 31

    @property
    def full_name(self) -> str:
        """The name as the person writes it."""
        return f"{self.given.native} {self.family.native}"


def make_people(plan: Plan) -> list[Person]:
    """Make the people of a plan, the families among them with their tablets."""
    people = [_person(plan, number) for number in range(plan.people)]
    for family in _families(plan, people):
        _share_tablet(plan, family)
    return people


def _person(plan: Plan, number: int) -> Person:
    chance = plan.random("person", number)
    place = PLACES[number % len(PLACES)]
    person = Person(
        number=number,
        place=place,
        given=chance.choice(place.names.given),
        family=chance.choice(place.names.family),
        birth_year=chance.randint(1950, 2007),
        cookies=[_cookie(chance) for _ in range(chance.choice((1, 1, 1, 2)))],
    )
    if chance.random() < 0.9:  # the others only ever look around
        _become_customer(person, chance)
    return person


def _become_customer(person: Person, chance: Random) -> None:
    number = person.number
    person.email = f"{person.given.latin}.{person.family.latin}{number}@{chance.choice(MAIL_DOMAINS)}"
    person.phone = _phone(person.place, number)
    if chance.random() < 0.8:
        person.customer_id = 7_000_000_000_000 + number * 17
    if chance.random() < 0.45:
        person.card = f"SIMA{number:07d}"
    if person.customer_id is None or person.card or chance.random() < 0.3:
        _join_crm(person, chance)
    if person.customer_id is None:
        person.cookies = []  # they buy at the till, or wrote to us once
    elif chance.random() < 0.02:
        person.unknown_cookies = person.cookies[-1:]


def _join_crm(person: Person, chance: Random) -> None:
    number = person.number
    person.contact_id = 500_000 + number * 3
    if chance.random() < 0.15:
        person.second_email = f"{person.given.latin[0]}.{person.family.latin}{number}@work.example.org"
    if chance.random() < 0.5:
        person.instagram = f"{person.given.latin}_{person.family.latin}.{number}"
    if chance.random() < 0.3:
        person.facebook_id = 24_000_000_000_000 + number * 29


def _phone(place: Place, number: int) -> str:
    # Multiplying by a number without common factor with the power of ten scatters and never repeats.
    scattered = (number * 7_654_321 + 1_234_567) % 10**place.mobile_digits
    return f"+{place.country_code}{place.mobile_prefix}{scattered:0{place.mobile_digits}d}"


def _cookie(chance: Random) -> str:
    return f"{chance.getrandbits(128):032x}"


def _families(plan: Plan, people: list[Person]) -> Iterator[list[Person]]:
    """Yield groups of two to four shoppers until the planned share of the people is in one."""
    chance = plan.random("families")
    shoppers = [person for person in people if person.customer_id is not None]
    chance.shuffle(shoppers)
    wanted = round(plan.people * plan.shared_devices)
    sizes = iter(FAMILY_SIZES * plan.people)
    while wanted >= 2 and len(shoppers) >= 4:
        size = min(next(sizes), wanted)
        family, shoppers = shoppers[:size], shoppers[size:]
        wanted -= size
        yield family


def _share_tablet(plan: Plan, family: list[Person]) -> None:
    chance = plan.random("tablet", family[0].number)
    device = f"tablet-{chance.getrandbits(64):016x}"
    one_browser = None if chance.random() < 0.5 else _cookie(chance)  # or everybody has an own login of the tablet
    for person in family:
        person.tablet = device
        person.tablet_cookie = one_browser or _cookie(chance)
