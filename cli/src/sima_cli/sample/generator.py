"""A whole sample: all that the channels send, as requests and files, and the truth about it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sima_cli.sample import crm, shop, social, till, web
from sima_cli.sample.delivery import Delivery, with_retries
from sima_cli.sample.dirt import JUNK_NAMES
from sima_cli.sample.people import Person, Plan, make_people
from sima_cli.sample.places import PLACES, Place
from sima_cli.sample.truth import Testimony, Truth, truth_of, write_truth


@dataclass(frozen=True, slots=True)
class Sample:
    """All of it.

    Attributes:
        plan: By which it was made.
        people: Who is in it.
        deliveries: The requests of the channels, in order of arrival.
        files: The content of each file, by the source that it is for.
        truth: Whose each identifier is.
    """

    plan: Plan
    people: tuple[Person, ...]
    deliveries: tuple[Delivery, ...]
    files: Mapping[str, bytes]
    truth: Truth

    def sizes(self) -> Counter[str]:
        """Return how many requests and files each source sends."""
        return Counter(one.source for one in self.deliveries) + Counter(list(self.files))

    def write(self, folder: Path) -> dict[str, Path]:
        """Write files and truth into a folder; returns where the files are, by source."""
        folder.mkdir(parents=True, exist_ok=True)
        write_truth(self.truth, folder)
        paths = {source: folder / f"{source}.csv" for source in self.files}
        for source, path in paths.items():
            path.write_bytes(self.files[source])
        return paths


def generate(plan: Plan) -> Sample:
    """Make the sample of a plan."""
    people = make_people(plan)
    deliveries = with_retries(plan, (one for person in people for one in _deliveries(plan, person)))
    contacts = [crm.contact(plan, person) for person in people if person.contact_id is not None]
    sold = {place: _receipts(plan, people, place) for place in PLACES}
    files = {till.source_of(place): till.table(place, sold[place]) for place in PLACES}
    filed = [one.about for one in contacts] + [one.about for receipts in sold.values() for one in receipts]
    return Sample(
        plan=plan,
        people=tuple(people),
        deliveries=tuple(deliveries),
        files={**files, crm.SOURCE: crm.table(contacts)},
        truth=truth_of(_testimonies(deliveries, filed), JUNK_NAMES),
    )


def _deliveries(plan: Plan, person: Person) -> Iterator[Delivery]:
    yield from web.deliver(plan, person)
    yield from shop.deliver(plan, person)
    yield from social.deliver(plan, person)


def _receipts(plan: Plan, people: Iterable[Person], place: Place) -> list[till.Receipt]:
    sold = (receipt for person in people if person.place is place for receipt in till.receipts(plan, person))
    return till.late(plan, place, sold)


def _testimonies(deliveries: Iterable[Delivery], filed: Iterable[Testimony]) -> Iterator[Testimony]:
    yield from (one.about for one in deliveries)
    yield from filed
