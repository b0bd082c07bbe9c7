"""The sample: the same for the same plan, in the formats of the real channels, dirty as life, and its truth is true."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import phonenumbers
import pytest
from sima_cli.sample.delivery import Delivery
from sima_cli.sample.dirt import JUNK_EMAILS, JUNK_NAMES, JUNK_PHONES
from sima_cli.sample.generator import Sample
from sima_cli.sample.places import PLACES
from sima_cli.sample.truth import Known, read_truth
from sima_identity.junk import is_junk

from tests.cli.conftest import Channels


def text_of(sample: Sample) -> str:
    """Everything that the channels send, as one text."""
    return "\n".join(
        [one.body.decode() for one in sample.deliveries] + [file.decode() for file in sample.files.values()]
    )


def written(sample: Sample, folder: Path) -> dict[str, bytes]:
    """The files of a sample as they lie in a folder."""
    sample.write(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_plan_makes_the_same_bytes(sample: Sample, make_sample: Callable[..., Sample], tmp_path: Path) -> None:
    """Two runs send the same requests in the same order, and write the same files and the same truth."""
    again = make_sample()
    assert again.deliveries == sample.deliveries
    assert written(again, tmp_path / "again") == written(sample, tmp_path / "first")


def test_another_seed_makes_other_people(sample: Sample, make_sample: Callable[..., Sample]) -> None:
    """Nothing of a sample but its shape is fixed."""
    assert make_sample(seed=2).truth.keys() != sample.truth.keys()


def test_more_people_leave_the_others_as_they_are(sample: Sample, make_sample: Callable[..., Sample]) -> None:
    """Person number seven is the same person in a larger sample."""
    larger = make_sample(people=400)
    assert [(one.email, one.phone) for one in larger.people[:300]] == [(one.email, one.phone) for one in sample.people]


def test_connectors_accept_every_request_and_read_what_the_truth_says(sample: Sample, channels: Channels) -> None:
    """Signatures hold, bodies parse, and the names in each message are those that the truth was told of."""
    for delivery in sample.deliveries:
        names = {name for fact in channels.receive(delivery) for name in channels.names(delivery.source, fact)}
        assert names - set(JUNK_NAMES) == set(delivery.about.names), delivery.body


def test_connectors_accept_every_record_of_the_files(sample: Sample, channels: Channels, tmp_path: Path) -> None:
    """Nothing in the files is refused, and their names are in the truth, the junk of three languages among them."""
    heard: set[Known] = set()
    for source, file in sample.write(tmp_path).items():
        facts = list(channels.pull(source, file))
        assert len(facts) == file.read_bytes().count(b"\n") - 1
        heard |= {name for fact in facts for name in channels.names(source, fact)}
    assert heard <= sample.truth.keys()
    assert {name for name in JUNK_NAMES if name.kind == "loyalty_card"} <= heard


def test_the_truth_is_told_in_normal_forms(sample: Sample, tmp_path: Path) -> None:
    """What is written is what is read, every phone number exists, and nobody's name is junk."""
    sample.write(tmp_path)
    truth = read_truth(tmp_path)
    assert truth == sample.truth
    assert {known for known in truth if is_junk(known.kind, known.value)} == set(JUNK_NAMES)
    phones = [phonenumbers.parse(known.value) for known in truth if known.kind == "phone"]
    assert phones
    assert all(map(phonenumbers.is_valid_number, phones))


def test_people_are_called_as_in_riyadh_tehran_and_berlin(sample: Sample) -> None:
    """Each place has people, and they write their names in its letters."""
    scripts = {"SA": "ARABIC", "IR": "ARABIC", "DE": "LATIN"}
    assert {person.place for person in sample.people} == set(PLACES)
    assert all(
        unicodedata.name(letter).startswith(scripts[person.place.region])
        for person in sample.people
        for letter in person.full_name.replace(" ", "")
    )


@pytest.mark.parametrize(
    "dirt",
    [
        r"[A-Z]+\.[A-Z]+\d+@EXAMPLE\.(COM|ORG|NET)",
        r'"phone":"0\d',
        r'"phone":"\+\d',
        r'"phone":"00\d',
        "[٠-٩]{4}",
        "[۰-۹]{4}",
        *(re.escape(junk) for junk in (*JUNK_EMAILS, *JUNK_PHONES)),
        r'"device_id":"tablet-',
    ],
)
def test_each_kind_of_dirt_occurs(sample: Sample, dirt: str) -> None:
    """Capitals, local and international numbers, digits of both scripts, every junk value, the family's tablet."""
    assert re.search(dirt, text_of(sample))


def test_some_messages_are_sent_again(sample: Sample) -> None:
    """A channel that saw no answer repeats the very same bytes."""
    bodies = Counter((one.source, one.path, one.body) for one in sample.deliveries if one.body)
    assert 0 < sum(count > 1 for count in bodies.values()) < len(bodies) / 20


def test_some_facts_arrive_days_late_and_out_of_order(sample: Sample, channels: Channels) -> None:
    """Arrival is not the order in which things happened."""
    ordered = [(fact.occurred_at, one.at) for one in sample.deliveries for fact in channels.receive(one)]
    happened = [(at, arrived) for at, arrived in ordered if at is not None]
    assert any(arrived - at > timedelta(days=1) for at, arrived in happened)
    assert [at for at, _ in happened] != sorted(at for at, _ in happened)
    assert all(arrived <= sample.plan.until for _, arrived in happened)


def test_families_of_two_share_tablets_with_one_browser_and_with_several(make_sample: Callable[..., Sample]) -> None:
    """A shared device or cookie is nobody's; an own cookie on the tablet is somebody's."""
    sample = make_sample(people=1_000)
    families: dict[str, list[str]] = {}
    for person in sample.people:
        if person.tablet and person.tablet_cookie:
            families.setdefault(person.tablet, []).append(person.tablet_cookie)
    sizes = {(len(cookies), len(set(cookies)) == 1) for cookies in families.values()}
    assert {(2, True), (2, False)} <= sizes
    assert sum(map(len, families.values())) == 50
    for tablet, cookies in families.items():
        assert sample.truth[Known("device_id", tablet)] is None
        assert {sample.truth[Known("anonymous_id", cookie)] is None for cookie in cookies} == {len(set(cookies)) == 1}


@pytest.mark.parametrize(("junk", "shared_devices"), [(0.0, 0.0), (0.1, 0.05)])
def test_dirt_comes_in_the_share_that_was_asked_for(
    make_sample: Callable[..., Sample], junk: float, shared_devices: float
) -> None:
    """No junk when none is wanted, and about a tenth of the orders when a tenth is."""
    sample = make_sample(junk=junk, shared_devices=shared_devices)
    orders = [one for one in sample.deliveries if is_order(one)]
    spoiled = sum(any(f'"email":"{wrong}"'.encode() in one.body for wrong in JUNK_EMAILS) for one in orders)
    assert junk / 2 * len(orders) <= spoiled <= junk * 2 * len(orders)
    assert any(person.tablet for person in sample.people) == (shared_devices > 0)


def is_order(delivery: Delivery) -> bool:
    """Whether a delivery is a new order of a shop."""
    return delivery.headers.get("X-Shopify-Topic") == "orders/create"
