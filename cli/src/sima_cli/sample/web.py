"""What the pixel of the web shops sends: beacons with a batch of events, and pictures opened in e-mails."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import urlencode

from sima_cli.sample.delivery import Delivery, arrival
from sima_cli.sample.dirt import JUNK_EMAILS, spell_email
from sima_cli.sample.goods import CATALOGUE, Article
from sima_cli.sample.people import Person, Plan
from sima_cli.sample.truth import Known, Testimony, names

SOURCE = "web"

_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36"

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Browser:
    """A person at a browser; on the family's tablet the page also knows the device."""

    plan: Plan
    person: Person
    cookie: str
    chance: Random
    device: str | None = None

    def beacon(self, at: datetime, items: list[Item], known: tuple[Known, ...] = ()) -> Delivery:
        """Return what the pixel sends when a page is left: the events since it sent the last time."""
        body = json.dumps({"anonymous_id": self.cookie, "batch": items}, separators=(",", ":"), ensure_ascii=False)
        headers = {
            "Content-Type": "text/plain;charset=UTF-8",
            "Origin": f"https://{self.person.place.slug}.example.com",
            "User-Agent": _AGENT,
        }
        about = Testimony(self.person.number, (*names(anonymous_id=self.cookie, device_id=self.device), *known))
        return Delivery(SOURCE, body.encode(), arrival(self.plan, at, self.chance), about, headers, "/events")

    def item(self, at: datetime, **content: object) -> Item:
        """Return one event of a batch."""
        return {"id": f"{self.chance.getrandbits(128):032x}", "at": _instant(at), **content}


def deliver(plan: Plan, person: Person) -> Iterator[Delivery]:
    """Yield all that a person does in their browsers, and which of our letters they open."""
    chance = plan.random("web", person.number)
    for cookie in person.cookies:
        yield from _visits(_Browser(plan, person, cookie, chance), logs_in=cookie not in person.unknown_cookies)
    if person.tablet and person.tablet_cookie:
        yield from _visits(_Browser(plan, person, person.tablet_cookie, chance, person.tablet), logs_in=True)
    if person.email and chance.random() < 0.3:
        yield _opened(plan, person, chance)


def _visits(browser: _Browser, *, logs_in: bool) -> Iterator[Delivery]:
    """Yield one to three visits; who has an account logs in on one, and stays logged in or not."""
    chance = browser.chance
    count = chance.choice((1, 1, 2, 2, 3))
    begun = sorted(browser.plan.until - timedelta(days=chance.triangular(0, 120, 5)) for _ in range(count))
    logs_in = logs_in and browser.person.customer_id is not None
    login = chance.randrange(count) if logs_in else count
    for number, at in enumerate(begun):
        yield _visit(browser, at, logging_in=number == login, logged_in=number > login)


def _visit(browser: _Browser, at: datetime, *, logging_in: bool, logged_in: bool) -> Delivery:
    who: dict[str, str] = {"device_id": browser.device} if browser.device else {}
    if logged_in:
        who["user_id"] = _user_id(browser.person)
    items, known = list(_looked_at(browser, at, who)), names(user_id=who.get("user_id"))
    if logging_in:  # what was seen before is sent together with who it was
        items.append(_login(browser, at + timedelta(minutes=browser.chance.uniform(1, 5)), who))
        known = _account(browser.person)
    elif browser.chance.random() < browser.plan.junk:
        form = {**who, "email": browser.chance.choice(JUNK_EMAILS)}  # what one writes to see the offer behind it
        items.append(browser.item(at, name="newsletter_requested", identifiers=form))
    return browser.beacon(at, items, known)


def _looked_at(browser: _Browser, at: datetime, who: Mapping[str, str]) -> Iterator[Item]:
    chance = browser.chance
    named: dict[str, object] = {"identifiers": dict(who)} if who else {}
    for article in chance.sample(CATALOGUE, chance.choice((1, 1, 2, 3))):
        seconds = round(chance.uniform(2, 240), 1)
        yield browser.item(at, name="page_viewed", properties=_page(browser, article, seconds), **named)
        if chance.random() < 0.35:
            thing = {"sku": article.sku, "category": article.category, "price": article.euros}
            yield browser.item(at + timedelta(seconds=seconds / 2), name="product_added", properties=thing, **named)
        at += timedelta(seconds=seconds)


def _page(browser: _Browser, article: Article, seconds: float) -> dict[str, object]:
    path = f"/{article.category}/{article.sku.lower()}"
    return {
        "url": f"https://{browser.person.place.slug}.example.com{path}",
        "path": path,
        "title": article.title,
        "category": article.category,
        "duration_s": seconds,
    }


def _login(browser: _Browser, at: datetime, who: Mapping[str, str]) -> Item:
    person = browser.person
    account = {**who, "user_id": _user_id(person), "email": spell_email(person.email or "", browser.chance)}
    return browser.item(
        at, identifiers=account, traits={"first_name": person.given.native, "language": _language(person)}
    )


def _opened(plan: Plan, person: Person, chance: Random) -> Delivery:
    """Return the request of the picture in a letter; it states no time, so it happens when it arrives."""
    email = spell_email(person.email or "", chance)
    query = urlencode({"email": email, "campaign": "autumn", "id": f"autumn-{person.number}"})
    about = Testimony(person.number, names(email=person.email))
    return Delivery(SOURCE, b"", plan.until, about, {"User-Agent": _AGENT}, f"/pixel.gif?{query}", "GET")


def _account(person: Person) -> tuple[Known, ...]:
    return names(user_id=_user_id(person), email=person.email)


def _user_id(person: Person) -> str:
    return f"shopify:{person.customer_id}"


def _language(person: Person) -> str:
    return {"SA": "ar", "IR": "fa"}.get(person.place.region, "de")


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
