"""Real records with the true answer, and real merges of a CRM: identifiers only, no names and no addresses."""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sima_identity.clustering import cluster_identifiers
from sima_identity.evidence import Edge, Node, Refusal, pair
from sima_identity.policy import Policy
from sima_sdk.errors import InvalidIdentifierError
from sima_sdk.identifiers import BUILT_IN_KINDS, IdentifierKinds

from .conftest import Named, Replica, together, user

DATA = Path(__file__).parents[3] / "shared" / "data"
KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "SSN_NUMBER": "national_id",
    "NATIONAL_ID_NUMBER": "national_id",
    "PASSPORT_NUMBER": "passport",
    "DRIVERS_LICENSE_NUMBER": "loyalty_card",  # a numbered document, as far as identity can tell
}
#: Evidence that people who are not one really have in common: an address and two telephones of families.
IDENTICAL = {Named("email", "kusha123@hmail.com"), Named("phone", "+3903526553537"), Named("phone", "+17022212211")}


class Record(NamedTuple):
    """A customer record: its id, the true person, and its identifiers as far as they can be read."""

    id: str
    person: str
    identifiers: frozenset[Named]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """The customers of the Senzing truth set."""
    folder = DATA / "identity" / "senzing"
    if not folder.is_dir():
        pytest.skip("real data lies in a folder beside the checkout, which is not there")
    with (folder / "actual_truthset_key.csv").open(newline="") as file:
        truth = {
            row["RECORD_ID"]: row["CLUSTER_ID"] for row in csv.DictReader(file) if row["DATA_SOURCE"] == "CUSTOMERS"
        }
    lines = map(json.loads, (folder / "customers.jsonl").read_text().splitlines())
    return [Record(line["RECORD_ID"], truth[line["RECORD_ID"]], frozenset(read(line))) for line in lines]


def read(line: dict[str, list[dict[str, str]]]) -> Iterator[Named]:
    """The identifiers of a record that have a normal form."""
    kinds = IdentifierKinds(BUILT_IN_KINDS)
    for name, value in (each for feature in line["FEATURES"] for each in feature.items() if each[0] in KINDS):
        try:
            yield Named(KINDS[name], kinds.normalise(KINDS[name], value, "US"))
        except InvalidIdentifierError:  # a local number without area code, for example
            continue


def pairs_found(records: list[Record], closed: set[Named]) -> set[tuple[Record, Record]]:
    """Which records are one person under the default policy, some values left out."""
    rules = Policy()
    keys = {named: repr(named).encode() for record in records for named in (*record.identifiers, user(record.id))}
    nodes = [
        Node(key, named.kind, Refusal.BLOCKED if named in closed or rules.blocks(*named) else None)
        for named, key in keys.items()
    ]
    edges = [
        Edge(*pair(keys[one], keys[other]), 0)
        for record in records
        for one, other in itertools.combinations((*record.identifiers, user(record.id)), 2)
    ]
    clusters = cluster_identifiers(nodes, edges, rules).clusters
    home = {key: number for number, members in enumerate(clusters) for key in members}
    return {
        (one, other)
        for one, other in itertools.combinations(records, 2)
        if home[keys[user(one.id)]] == home[keys[user(other.id)]]
    }


def test_true_pairs_are_found_and_false_ones_have_identical_evidence(records: list[Record]) -> None:
    """Nothing is written for this set: role addresses such as info@ are junk everywhere."""
    true = {ends for ends in itertools.combinations(records, 2) if ends[0].person == ends[1].person}
    sharing = {(one, other) for one, other in true if one.identifiers & other.identifiers}
    found = pairs_found(records, set())
    assert len(sharing) == 35
    assert len(sharing & found) == 33
    assert len(true & found) == 37
    assert len(found - true) == 12
    assert pairs_found(records, IDENTICAL) <= true


async def test_merges_of_a_crm_are_decisions_that_can_be_taken_back(identity: Replica, workspace: str) -> None:
    """Replayed, they give the groups of the CRM; withdrawn, every group comes apart again."""
    file = DATA / "crm" / "hubspot_contact_merge_audit.csv"
    if not file.exists():
        pytest.skip("real data lies in a folder beside the checkout, which is not there")
    with file.open(newline="") as lines:
        merges = [(user(row["canonical_vid"]), user(row["vid_to_merge"])) for row in csv.DictReader(lines)]
    contacts = sorted({contact for merge in merges for contact in merge})
    await identity.resolve(workspace, [together(contact) for contact in contacts])
    before = await identity.states(workspace, contacts)
    made = [(await identity.always(workspace, *merge, reason="merged in the CRM")).decision.id for merge in merges]
    states = await identity.states(workspace, contacts)
    groups = {frozenset(other for other in contacts if states[other] == states[each]) for each in contacts}
    assert groups == {frozenset(merge) for merge in merges}
    for decision in made:
        await identity.withdraw(workspace, decision, reason="taken back")
    assert await identity.states(workspace, contacts) == before
    assert len({state.profile_id for state in before.values()}) == len(contacts)
