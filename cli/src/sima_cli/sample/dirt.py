"""How people and cashiers really write things: the same address, number or name in many spellings, and plain junk."""

import unicodedata
from random import Random

from sima_cli.sample.places import Place
from sima_cli.sample.truth import Known

JUNK_EMAILS = ("test@test.com", "n/a", "none", "لا يوجد", "ندارد")
JUNK_PHONES = ("0000000000", "n/a", "-", "غير معروف", "ثبت نشده")
JUNK = frozenset((*JUNK_EMAILS, *JUNK_PHONES))
#: What stands where somebody has no loyalty card, by region.
JUNK_CARDS = {"SA": "لا يوجد", "IR": "ندارد", "DE": "none"}
#: The junk that has a normal form and so becomes an identifier, one that means nobody.
JUNK_NAMES = (
    Known("email", "test@test.com"),
    *(Known("loyalty_card", normal) for normal in ("لایوجد", "ندارد", "NONE")),
)

_ARABIC_INDIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
_HOME_DIGITS = {"SA": _ARABIC_INDIC, "IR": _PERSIAN}


def spell_email(email: str, chance: Random) -> str:
    """Write an address as keyboards do: now and then capitals, or a blank behind it."""
    draw = chance.random()
    if draw < 0.1:
        return email.upper()
    if draw < 0.2:
        return email.title()
    return f"{email} " if draw < 0.23 else email


def spell_phone(phone: str, place: Place, chance: Random, *, local: bool = True) -> str:
    """Write a number of `place` (E.164) internationally or locally, grouped or not, also in the digits of the place."""
    national = phone.removeprefix(f"+{place.country_code}")
    spellings = [phone, f"+{place.country_code} {national[:2]} {national[2:5]} {national[5:]}"]
    if local:
        spellings += [f"00{place.country_code}{national}", f"0{national}", f"0{national[:3]}-{national[3:]}"]
    spelling = chance.choice(spellings)
    digits = _HOME_DIGITS.get(place.region)
    return spelling.translate(digits) if digits and chance.random() < 0.25 else spelling


def spell_name(name: str, place: Place, chance: Random) -> str:
    """Write a name of `place` with another keyboard's letters, capitals or decomposed accents."""
    draw = chance.random()
    if place.region == "SA" and draw < 0.1:
        return name.replace("ي", "ی").replace("ك", "ک")  # a Persian keyboard
    if place.region == "IR" and draw < 0.1:
        return name.replace("ی", "ي").replace("ک", "ك")  # an Arabic one
    if draw < 0.13:
        return unicodedata.normalize("NFD", name)
    return name.upper() if draw < 0.16 else name
