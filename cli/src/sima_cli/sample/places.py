"""The three cities of the sample: their shops, telephones, money and alphabets."""

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sima_cli.sample.names import ARABIC, LATIN, PERSIAN, NameBook


@dataclass(frozen=True, slots=True)
class Place:
    """A city with one shop.

    Attributes:
        slug: Ends the names of its sources, for example `shop-riyadh`.
        city: As the people there write it.
        city_abroad: As others write it.
        region: ISO 3166 code; local phone numbers are read in it.
        country_code: Of telephone numbers, without `+`.
        mobile_prefix: First digits of a mobile number behind the country code.
        mobile_digits: How many digits follow the prefix.
        currency: ISO 4217 code of its prices.
        postal_codes: First digits of the postal codes there.
        rate: How many units of it one euro buys in the sample.
        zone: Of the wall clock in the shop.
        names: How people there are called.
    """

    slug: str
    city: str
    city_abroad: str
    region: str
    country_code: str
    mobile_prefix: str
    mobile_digits: int
    currency: str
    postal_codes: str
    rate: float
    zone: ZoneInfo
    names: NameBook = field(repr=False)


RIYADH = Place("riyadh", "الرياض", "Riyadh", "SA", "966", "50", 7, "SAR", "12", 4.0, ZoneInfo("Asia/Riyadh"), ARABIC)
TEHRAN = Place(
    "tehran", "تهران", "Tehran", "IR", "98", "912", 7, "IRR", "15", 45_000.0, ZoneInfo("Asia/Tehran"), PERSIAN
)
BERLIN = Place("berlin", "Berlin", "Berlin", "DE", "49", "1512", 7, "EUR", "10", 1.0, ZoneInfo("Europe/Berlin"), LATIN)
PLACES = (RIYADH, TEHRAN, BERLIN)
