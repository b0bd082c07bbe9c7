"""The purchase with which the demo ends: large enough to bring its buyer into a segment."""

from collections.abc import Iterator
from datetime import datetime

from sima_cli.sample import shop
from sima_cli.sample.delivery import Delivery
from sima_cli.sample.goods import CATALOGUE, Basket, Line
from sima_cli.sample.people import Person, Plan
from sima_cli.sample.places import BERLIN

#: In euros; more than anybody's shopping in the sample.
PAID = 2_490.0


def candidates(people: tuple[Person, ...]) -> Iterator[Person]:
    """Yield people who could make it: with an account in Berlin."""
    return (person for person in people if person.place is BERLIN and person.customer_id is not None)


def purchase(plan: Plan, person: Person, at: datetime) -> Delivery:
    """Return the webhook of ten small carpets bought by a person."""
    kilim = next(article for article in CATALOGUE if article.title.startswith("Kilim"))
    basket = Basket((Line(kilim, 10, PAID / 10),))
    number = 6_000_000_000_000 + person.number
    payload = shop.order(person, number, at, basket, plan.random("last", person.number))
    return shop.webhook(person, "orders/create", payload, at)
