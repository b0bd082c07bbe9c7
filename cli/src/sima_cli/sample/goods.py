"""What the shops of the sample sell."""

from dataclasses import dataclass
from random import Random

from sima_cli.sample.places import Place


@dataclass(frozen=True, slots=True)
class Article:
    """One thing on sale; `euros` is its price in euros."""

    sku: str
    title: str
    category: str
    euros: float

    @property
    def product_id(self) -> int:
        """A stable number for the shop's catalogue."""
        return 8_100_000 + int.from_bytes(self.sku.encode()[-3:])


@dataclass(frozen=True, slots=True)
class Line:
    """One position of a basket; `price` is that of one piece, in the currency of the place."""

    article: Article
    quantity: int
    price: float


@dataclass(frozen=True, slots=True)
class Basket:
    """What is bought at once."""

    lines: tuple[Line, ...]

    @property
    def total(self) -> float:
        """The sum, in the currency of the place."""
        return round(sum(line.price * line.quantity for line in self.lines), 2)

    @property
    def total_text(self) -> str:
        """The sum as a decimal text, for example `398.00`."""
        return f"{self.total:.2f}"


CATALOGUE = (
    Article("RUN-101", "Running shoe Zephyr", "running", 119.0),
    Article("RUN-205", "Trail shoe Alborz", "running", 139.0),
    Article("RUN-310", "Running socks", "running", 12.5),
    Article("TEA-011", "Black tea with cardamom", "tea", 9.9),
    Article("TEA-027", "Saffron tea", "tea", 14.9),
    Article("RUG-400", "Kilim, small", "home", 249.0),
    Article("LMP-032", "Brass lamp", "home", 79.0),
    Article("BOK-118", "Divan of Hafez, bilingual", "books", 24.0),
    Article("BOK-121", "Baking bread", "books", 29.0),
    Article("OUD-007", "Oud oil, 3 ml", "scent", 89.0),
)


def fill_basket(place: Place, chance: Random) -> Basket:
    """Return one to three articles in small numbers, priced in the currency of the place."""
    articles = chance.sample(CATALOGUE, chance.choice((1, 1, 2, 3)))
    return Basket(
        tuple(Line(article, chance.choice((1, 1, 1, 2)), round(article.euros * place.rate, 2)) for article in articles)
    )
