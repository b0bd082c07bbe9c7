"""The projection of the feeds in DuckDB: what rules find in it."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import starmap
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import duckdb
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sima_profile import survivorship as profile_survivorship
from sima_runtime.errors import FixConfigurationError
from sima_segment.plan import Plan
from sima_segment.projection import Configuration, Limits, Projection, ProjectionError, Resources, exchange, is_broken
from sima_segment.projection.evaluation import evaluate
from sima_segment.rules import parse
from sima_segment.rules.schema import event_table
from sima_segment.survivorship import Survivorship, TraitPolicy

from .builders import START, Happened, Moved, Observed, Row, Stated, Withdrawn, change_page, fact_page, json_of

ANN, BOB = 101, 102
POLICIES = {
    "interests": TraitPolicy(Survivorship.UNION),
    "trusted": TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm", "shop")),
    "declared": TraitPolicy(Survivorship.DECLARED_FIRST),
}


@pytest.fixture
def projection() -> Iterator[Projection]:
    """A projection in which key 1 is Ann's and key 2 is Bob's."""
    opened = Projection(None, Configuration(policies=POLICIES))
    opened.apply([change_page(Moved(1, ANN), Moved(2, BOB))], [])
    yield opened
    opened.close()


def take(projection: Projection, *rows: Row) -> None:
    """Take in one page of facts."""
    projection.apply([], [fact_page(*rows)])


def whom(projection: Projection, rule: str, instant: datetime = START) -> set[int]:
    """For whom a rule holds."""
    projection.commit(instant, projection.position.tick + 1)
    size, found = projection.preview(Plan({"x": parse(rule, {})}), "x", instant, 1_000)
    people = {UUID(bytes=person).int for person in exchange.people(found)}
    assert len(people) == size
    return people


def test_each_type_of_a_property_has_its_own_column(projection: Projection) -> None:
    """A text that looks like a number is no number, whichever came first."""
    take(projection, Happened(1, (1,), properties={"total": "12"}), Happened(2, (2,), properties={"total": 12}))
    assert whom(projection, 'events("order").sum("total") == 12.0') == {BOB}
    assert whom(projection, 'events("order").filter(e, e.total == "12").exists()') == {ANN}


def test_nested_objects_are_read_with_dots(projection: Projection) -> None:
    """A property inside an object has the path as its name."""
    take(projection, Happened(1, (1,), properties={"address": {"geo": {"city": "Riyadh"}}}))
    assert whom(projection, 'events("order").filter(e, e.address.geo.city == "Riyadh").exists()') == {ANN}


def test_lists_of_plain_values_can_be_searched(projection: Projection) -> None:
    """Lists keep their values by type; nulls, objects and lists in lists are left out."""
    take(
        projection,
        Happened(1, (1,), properties={"tags": ["sale", 3, None, True], "lines": [{"sku": 1}], "deep": [[1]]}),
        Happened(2, (2,), properties={"tags": ["3"]}),
    )
    assert whom(projection, 'events("order").filter(e, "sale" in e.tags).exists()') == {ANN}
    assert whom(projection, 'events("order").filter(e, 3 in e.tags).exists()') == {ANN}
    assert whom(projection, 'events("order").filter(e, has(e.lines) || has(e.deep)).exists()') == set()


@pytest.mark.parametrize(
    "name", ["Total", "TOTAL", "total ", 'a"b', "a/b", "a~b", "مبلغ", "نام‌کالا", "a__number", "x" * 200]
)
def test_property_names_are_told_apart(projection: Projection, name: str) -> None:
    """Upper and lower case, signs and any script make different properties."""
    take(projection, Happened(1, (1,), properties={name: 5, "total": 7}))
    quoted = name.replace('"', '\\"')
    assert whom(projection, f'events("order").filter(e, e["{quoted}"] == 5.0).exists()') == {ANN}
    assert whom(projection, 'events("order").filter(e, e.total == 7.0).exists()') == {ANN}


@pytest.mark.parametrize("name", ["Order", "ORDER", "order ", "سفارش", "x" * 200])
def test_event_names_are_told_apart(projection: Projection, name: str) -> None:
    """Each event name has its own table, whatever it is made of."""
    take(projection, Happened(1, (1,), name), Happened(2, (2,), "order"))
    assert whom(projection, f'events("{name}").exists()') == {ANN}
    assert whom(projection, 'events("order").exists()') == {BOB}


@pytest.mark.parametrize("broken", [b"{", b'{"total":"\\ud800"}', b"", b"null", b"[1]", b'{"total":1e999}', b'{"":1}'])
def test_broken_properties_do_no_harm(projection: Projection, broken: bytes) -> None:
    """An event whose properties cannot be read still happened, and the others of its page are untouched."""
    take(projection, Happened(1, (1,), properties=broken), Happened(2, (2,), properties={"total": 3}))
    assert whom(projection, 'events("order").exists()') == {ANN, BOB}
    assert whom(projection, 'events("order").filter(e, has(e.total)).exists()') == {BOB}


@pytest.mark.parametrize("depth", [128, 130, 254])
def test_properties_nested_too_deep_do_no_harm(projection: Projection, depth: int) -> None:
    """Their event still happened; whether they are seen does not depend on what comes with them."""
    deep = b'{"total":5,"a":' * depth + b"{}" + b"}" * depth
    take(projection, Happened(1, (1,), properties=deep), Happened(2, (2,), properties={"total": 3}))
    assert whom(projection, 'events("order").exists()') == {ANN, BOB}
    assert whom(projection, 'events("order").filter(e, has(e.total)).exists()') == {BOB}


def test_what_is_beyond_the_limits_is_kept_and_reported() -> None:
    """Names and properties beyond the limits cannot be asked for; the rest of their events can."""
    projection = Projection(None, Configuration(limits=Limits(names=1, properties=2, traits=1)))
    projection.apply([change_page(Moved(1, ANN))], [])
    take(projection, Happened(1, (1,), "order", {"a": 1, "b": 1}), Observed(2, (1,), "city", "Riyadh"))
    take(
        projection, Happened(3, (1,), "order", {"a": 2, "c": 1}), Happened(4, (1,), "view"), Observed(5, (1,), "age", 3)
    )
    assert whom(projection, 'events("order").sum("a") == 3.0 && traits.city == "Riyadh"') == {ANN}
    assert whom(projection, 'events("order").filter(e, has(e.c)).exists() || events("view").exists()') == set()
    assert projection.beyond() == {"events": 1, "properties": 1, "traits": 1}
    projection.close()


def test_a_name_that_a_rule_asks_for_has_room() -> None:
    """Whoever floods the limit with names of their own keeps no segment from working, before or after it is created."""
    projection = Projection(None, Configuration(limits=Limits(names=1)))
    projection.apply([change_page(Moved(1, ANN), Moved(2, BOB))], [])
    take(projection, *(Happened(number, (1,), f"junk {number}") for number in range(10)))
    take(projection, Happened(20, (1,), "order", {"total": 5}), Happened(21, (2,), "order"))
    rule = 'events("order").exists() && events("order").sum("total") == 5.0'
    assert whom(projection, rule) == set()
    assert projection.ask_for(["order", "view", "it's"])
    assert whom(projection, rule) == {ANN}
    take(projection, Happened(22, (2,), "order", {"total": 5}), Happened(23, (2,), "view"), Withdrawn(20))
    assert whom(projection, rule) == {BOB}
    assert whom(projection, 'events("view").exists()') == {BOB}
    assert not projection.ask_for(["order", "view", "it's"])
    projection.apply([change_page(Moved(2, ANN))], [])
    assert whom(projection, rule) == {ANN}
    projection.close()


def test_an_event_may_be_as_wide_as_the_limit(projection: Projection) -> None:
    """Each of 300 properties can be asked for, and what comes beyond them does not hide them."""
    wide = {f"property {number}": number for number in range(300)}
    take(projection, Happened(1, (1,), properties=wide))
    take(projection, Happened(2, (2,), properties=wide | {"one more": True}))
    for number in (0, 299):
        assert whom(projection, f'events("order").sum("property {number}") == {number}.0') == {ANN, BOB}
    assert projection.beyond()["properties"] == 1


def test_facts_that_come_again_count_once(projection: Projection) -> None:
    """Reading a page twice changes nothing, also when its events have more properties by now."""
    page = fact_page(
        Happened(1, (1,), properties={"total": 5}),
        Observed(2, (1,), "city", "Riyadh"),
        Stated(3, (1,), "mail", granted=True),
    )
    projection.apply([], [page])
    take(projection, Happened(4, (1,), properties={"other": True}))
    projection.apply([], [page, page])
    assert whom(projection, 'events("order").count() == 2 && events("order").sum("total") == 5.0') == {ANN}
    assert whom(projection, 'traits.city == "Riyadh" && consent("mail")') == {ANN}


def test_what_is_retracted_is_gone(projection: Projection) -> None:
    """Retracted events, observations and statements do not count, until the same id comes again."""
    rows = (Happened(1, (1,)), Observed(2, (1,), "city", "Riyadh"), Stated(3, (1,), "mail", granted=True))
    everything = 'events("order").exists() || has(traits.city) || consent("mail")'
    take(projection, *rows)
    assert whom(projection, everything) == {ANN}
    take(projection, Withdrawn(1), Withdrawn(2), Withdrawn(3))
    assert whom(projection, everything) == set()
    take(projection, Withdrawn(1), *rows)
    assert whom(projection, 'events("order").count() == 1 && traits.city == "Riyadh" && consent("mail")') == {ANN}


def test_the_strongest_key_that_is_not_shared_owns_a_fact(projection: Projection) -> None:
    """Facts pass to the next key while the strongest is shared, and come back afterwards."""
    take(projection, Happened(1, (1, 2)))
    assert whom(projection, 'events("order").exists()') == {ANN}
    projection.apply([change_page(Moved(1, ANN, shared=True))], [])
    assert whom(projection, 'events("order").exists()') == {BOB}
    projection.apply([change_page(Moved(1, ANN))], [])
    assert whom(projection, 'events("order").exists()') == {ANN}


def test_a_fact_with_shared_keys_only_is_the_strongest_ones(projection: Projection) -> None:
    """What is known of a shared device alone belongs to the device's own profile; of blocked keys, to nobody."""
    projection.apply(
        [change_page(Moved(1, ANN, shared=True), Moved(2, BOB, shared=True), Moved(3, 0, blocked=True))], []
    )
    take(projection, Happened(1, (3, 2, 1)), Happened(2, (3,), "view"))
    assert whom(projection, 'events("order").exists()') == {BOB}
    assert whom(projection, 'events("view").exists()') == set()


def test_what_companies_alone_own_is_settled(projection: Projection) -> None:
    """Once they are known, no change of the grouping looks at it again, whatever becomes of them; it is nobody's."""
    take(projection, Happened(1, (7,)), Happened(2, (7, 8)), Observed(3, (8,), "city", "Riyadh"), Happened(4, (1, 7)))
    for companies in (
        [Moved(7, 0, account=True)],
        [Moved(8, 0, account=True)],
        [Moved(7, 0, shared=True, account=True)],
    ):
        projection.apply([change_page(*companies)], [])
        assert whom(projection, 'events("order").exists() || has(traits.city)') == {ANN}
    for table in (event_table("order"), "observations"):
        assert projection._connection.sql(f'FROM "{table}" WHERE displaced').fetchall() == []


def test_facts_of_unknown_keys_wait_for_the_grouping(projection: Projection) -> None:
    """A fact that comes before its identifiers counts as soon as they are known."""
    take(projection, Happened(1, (7,)), Observed(2, (7,), "city", "Riyadh"), Stated(3, (7,), "mail", granted=True))
    everything = 'events("order").exists() && traits.city == "Riyadh" && consent("mail")'
    assert whom(projection, everything) == set()
    projection.apply([change_page(Moved(7, BOB))], [])
    assert whom(projection, everything) == {BOB}


def test_facts_of_very_many_event_names_follow_their_people(projection: Projection) -> None:
    """Those that wait for the grouping, those of somebody who is joined, and those that are withdrawn."""
    names = [f"event {number}" for number in range(100)]
    take(projection, *(Happened(number, (1 + 2 * (number % 2),), name=name) for number, name in enumerate(names)))
    take(projection, Withdrawn(98), Withdrawn(99))
    projection.commit(START, 1)
    projection.apply([change_page(Moved(1, BOB), Moved(3, BOB))], [])
    rule = " && ".join(f'events("{name}").exists()' for name in names[:98])
    assert whom(projection, f'{rule} && !events("event 98").exists() && !events("event 99").exists()') == {BOB}


def test_everybody_with_an_identifier_that_names_somebody_is_a_person(projection: Projection) -> None:
    """Who lost all identifiers is no person any more, and blocked ones make none."""
    projection.apply([change_page(Moved(3, 103), Moved(4, 104, blocked=True))], [])
    assert whom(projection, "true") == {ANN, BOB, 103}
    projection.apply([change_page(Moved(1, BOB), Moved(1, 103), Moved(3, 105))], [])
    assert whom(projection, "true") == {BOB, 103, 105}


def test_one_denial_denies(projection: Projection) -> None:
    """Per identifier the latest statement counts, a tie is a denial; over the person one denial denies."""
    minute = timedelta(minutes=1)
    projection.apply([change_page(Moved(3, ANN))], [])
    take(projection, Stated(1, (1, 3), "mail", False, START), Stated(2, (1,), "mail", True, START + minute))
    assert whom(projection, 'consent("mail")') == set()
    take(
        projection,
        Stated(3, (3,), "mail", True, START + minute),
        Stated(4, (2,), "mail", True),
        Stated(5, (2,), "mail", False),
    )
    assert whom(projection, 'consent("mail")') == {ANN}


def test_values_of_all_types_are_folded(projection: Projection) -> None:
    """Texts, numbers, truths and times of traits can be compared."""
    day = datetime(2020, 2, 29, 12, 30, tzinfo=UTC)
    take(
        projection, *(Observed(number, (1,), f"t{number}", value) for number, value in enumerate(["a", 1.5, True, day]))
    )
    rule = 'traits.t0 == "a" && traits.t1 == 1.5 && traits.t2 == true && traits.t3 == timestamp("2020-02-29T12:30:00Z")'
    assert whom(projection, rule) == {ANN}


OBSERVATIONS = st.lists(
    st.builds(
        profile_survivorship.Observation,
        observed_at=st.integers(0, 2),
        confidence=st.sampled_from([0.5, 1.0]),
        source=st.sampled_from(["shop", "crm", "till"]),
        method=st.sampled_from(["declared", "observed", "acquired"]),
        type=st.just("text"),
        value=st.sampled_from(["a", "b", "é", "ی"]).map(json_of),
    ),
    min_size=1,
    max_size=6,
)


def test_a_source_has_one_place_in_the_order_of_trust() -> None:
    """As for the profile service: with two places, the two services could choose different values."""
    with pytest.raises(ValueError, match="each source once in trusted_sources"):
        TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm", "shop", "crm"))


@settings(max_examples=40)
@given(observations=OBSERVATIONS, trait=st.sampled_from(["plain", *POLICIES]))
def test_traits_are_folded_as_the_profile_service_does(
    observations: list[profile_survivorship.Observation], trait: str
) -> None:
    """The value that a rule sees is the one that a profile shows, under every rule of survivorship."""
    policy = POLICIES.get(trait, TraitPolicy())
    theirs = profile_survivorship.TraitPolicy(
        profile_survivorship.Survivorship(policy.survivorship), policy.trusted_sources
    )
    shown = {each.value for each in profile_survivorship.fold_trait(trait, observations, theirs).values}
    projection = Projection(None, Configuration(policies=POLICIES))
    projection.apply([change_page(Moved(1, ANN))], [])
    rows = [
        Observed(
            number,
            (1,),
            trait,
            orjson.loads(each.value),
            START + timedelta(each.observed_at),
            *each[2:4],
            each.confidence,
        )
        for number, each in enumerate(observations)
    ]
    take(projection, *rows)
    for value in {each.value for each in observations}:
        test = (
            f"{value} in traits.{trait}" if policy.survivorship is Survivorship.UNION else f"traits.{trait} == {value}"
        )
        assert whom(projection, test) == ({ANN} if value in shown else set())
    projection.close()


def test_a_projection_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    """Opened again it knows its position, its columns and whom it has still to look at."""
    plan = Plan({"x": parse('events("order").sum("total") > 1.0', {})})
    first = Projection(tmp_path / "w.duckdb", Configuration())
    first.apply([change_page(Moved(1, ANN), cursor="c1")], [fact_page(cursor="f1")])
    first.commit(START, 1)
    first.apply([], [fact_page(Happened(1, (1,), properties={"total": 2}), cursor="f2")])
    first.save()
    first.apply([], [fact_page(Happened(2, (1,)), cursor="f3")])
    first.close()
    again = Projection(tmp_path / "w.duckdb", Configuration())
    assert (again.position.changes, again.position.facts, again.position.tick) == ("c1", "f2", 1)
    assert again.position.lineage == first.position.lineage
    people = again.affected(plan, START)
    assert people is not None
    assert exchange.people(people) == [UUID(int=ANN).bytes]
    assert whom(again, 'events("order").sum("total") == 2.0 && events("order").count() == 1') == {ANN}
    again.close()


def test_what_is_rolled_back_never_was(projection: Projection) -> None:
    """New tables and columns go with the rows that brought them, and can come again."""
    projection.commit(START, 1)
    page = fact_page(Happened(1, (1,), "view", {"seconds": 3}))
    projection.apply([], [page])
    projection.rollback()
    assert whom(projection, 'events("view").exists()') == set()
    projection.apply([], [page])
    assert whom(projection, 'events("view").sum("seconds") == 3.0') == {ANN}


def test_what_was_taken_in_is_durable_before_more_is(projection: Projection) -> None:
    """DuckDB cannot move rows of the open transaction: only what was taken in last can be rolled back."""
    projection.commit(START, 1)
    projection.apply([], [fact_page(Happened(1, (1,)))])
    projection.apply([change_page(Moved(1, BOB))], [])
    projection.rollback()
    people = projection.affected(Plan({}), START)
    assert people is not None
    assert exchange.people(people) == [UUID(int=ANN).bytes]
    assert whom(projection, 'events("order").exists()') == {ANN}


def test_many_rows_are_moved_right_after_they_came(tmp_path: Path) -> None:
    """Facts and then changes, again and again, with indexes: nothing is lost, and nothing crashes."""
    projection = Projection(tmp_path / "w.duckdb", Configuration())
    chance, strongest = random.Random(6), []
    homes = {key: 10**6 + key // 2 for key in range(1, 3_000)}
    projection.apply([change_page(*starmap(Moved, homes.items()))], [])
    for batch, size in enumerate((20_000, *[2_000] * 12)):
        keys = [(chance.randint(1, 2_999), chance.randint(1, 2_999)) for _ in range(size)]
        strongest += [first for first, _ in keys]
        rows = (Happened(10**6 * batch + i, each, properties={"p": i}) for i, each in enumerate(keys))
        projection.apply([], [fact_page(*rows)])
        moved = {chance.randint(1, 2_999): 10**6 + chance.randint(1, 1_500) for _ in range(500)}
        if batch:
            projection.apply([change_page(*starmap(Moved, moved.items()))], [])
            homes |= moved
        projection.commit(START, batch + 1)
    count = Counter(homes[key] for key in strongest)
    often = {person for person, events in count.items() if events >= 30}
    assert often
    assert whom(projection, 'events("order").count() >= 30') == often
    projection.close()


def test_who_is_no_longer_blocked_has_their_facts_back(projection: Projection) -> None:
    """Also if nothing else is known of anybody on the same page."""
    projection.apply([], [fact_page(Happened(1, (3,)))])
    projection.apply([change_page(Moved(3, 0, blocked=True))], [])
    projection.apply([change_page(Moved(3, ANN))], [])
    assert whom(projection, 'events("order").exists()') == {ANN}


def test_a_preview_is_of_one_state(projection: Projection, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made durable between its statements is not seen, and the next one sees it."""
    take(projection, Happened(1, (2,)))
    projection.commit(START, 1)
    rules = {"a": 'events("order").exists()', "b": '!segment("a") && events("order").exists()'}
    plan = Plan({name: parse(text, {}) for name, text in rules.items()})

    def evaluate_slowly(*arguments: Any) -> None:
        evaluate(*arguments)
        take(projection, Happened(2, (1,)))
        projection.commit(START, 2)

    monkeypatch.setattr("sima_segment.projection.projection.evaluate", evaluate_slowly)
    assert projection.preview(plan, "b", START, 10)[0] == 0
    assert projection.preview(plan, "a", START, 10)[0] == 2


@pytest.mark.parametrize(
    "changed",
    [
        Configuration(policies={"city": TraitPolicy(Survivorship.MOST_TRUSTED_SOURCE, ("crm",))}),
        Configuration(limits=Limits(names=2_000)),
        Configuration(limits=Limits(properties=500)),
        Configuration(limits=Limits(traits=2_000)),
    ],
)
def test_another_policy_or_limit_holds_for_everything_that_arrived(tmp_path: Path, changed: Configuration) -> None:
    """What was folded by another policy, or kept out by another limit, does not stay so: the file is built again."""
    path = tmp_path / "w.duckdb"
    for configuration, cursor in ((Configuration(), ""), (Configuration(), "f"), (changed, ""), (changed, "f")):
        projection = Projection(path, configuration)
        assert projection.position.facts == cursor
        projection.apply([], [fact_page(cursor="f")])
        projection.commit(START, projection.position.tick + 1)
        projection.close()


def test_what_changes_no_row_keeps_the_file() -> None:
    """Neither the order of policies nor what DuckDB may use makes another layout."""
    reordered = dict(reversed(POLICIES.items()))
    assert Configuration(policies=POLICIES).layout() == Configuration(policies=reordered).layout()
    assert Configuration(resources=Resources(1)).layout() == Configuration().layout()


def test_a_file_that_could_not_be_opened_is_given_back(tmp_path: Path) -> None:
    """Whoever tries again, once there is what was missing, finds the file free."""
    path = tmp_path / "w.duckdb"
    with pytest.raises(ProjectionError):
        Projection(path, Configuration(resources=Resources(memory="much")))
    Projection(path, Configuration()).close()


@pytest.mark.parametrize("damage", [b"", b"no database", b"\0" * 20_000])
def test_a_file_that_cannot_be_read_is_built_again(tmp_path: Path, damage: bytes) -> None:
    """The projection is a cache: a broken one begins from nothing."""
    path = tmp_path / "w.duckdb"
    path.write_bytes(damage)
    projection = Projection(path, Configuration())
    assert (projection.position.facts, projection.position.everybody) == ("", True)
    projection.close()


def test_a_file_with_a_wrong_checksum_is_broken(tmp_path: Path) -> None:
    """DuckDB says so once it reads the damaged place, which may be late."""
    path = tmp_path / "w.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT range AS number, hash(range) AS noise FROM range(200_000)")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"damage" * 1_000)
    with duckdb.connect(path) as connection, pytest.raises(ProjectionError) as told:
        connection.execute("SELECT sum(noise) FROM numbers").fetchall()
    assert is_broken(told.value)


@pytest.mark.parametrize(
    "error",
    [
        duckdb.Error("Corrupted LIST column: offset exceeds the child column count"),
        duckdb.TransactionException(
            "TransactionContext Error: Failed to commit: Corrupted uncompressed string segment"
        ),
        duckdb.TransactionException("TransactionContext Error: Conflict on tuple deletion!"),
        duckdb.InternalException("INTERNAL Error: UndoBuffer - don't know how to commit this type!"),
    ],
)
def test_what_does_not_fit_together_is_broken(error: ProjectionError) -> None:
    """Whatever DuckDB calls it: nothing but a new file mends it."""
    assert is_broken(error)


@pytest.mark.parametrize(
    "error",
    [
        duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate"),
        duckdb.TransactionException("Failed to commit: Could not write file: No space left on device"),
        duckdb.FatalException("FATAL Error: Failed to create checkpoint because of error: Could not write file"),
        duckdb.InvalidInputException("Invalid Input Error: JSON exceeds maximum recursion depth"),
        duckdb.InterruptException("Interrupted!"),
    ],
)
def test_what_a_new_file_would_not_mend_does_not_break_it(error: ProjectionError) -> None:
    """A full disk, little memory or a strange fact would be there again after hours of reading."""
    assert not is_broken(error)


def test_a_file_that_cannot_be_opened_for_want_of_memory_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened with the memory and threads of the settings, and once there is enough, it is as it was."""
    path = tmp_path / "w.duckdb"
    first = Projection(path, Configuration())
    first.commit(START, 1)
    first.close()
    with monkeypatch.context() as scarce:
        error = duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")
        scarce.setattr("sima_segment.projection.file.has_layout", Mock(side_effect=error))
        with pytest.raises(duckdb.OutOfMemoryException):
            Projection(path, Configuration())
    again = Projection(path, Configuration())
    assert again.position == first.position
    again.close()


def test_two_processes_cannot_share_a_projection(tmp_path: Path) -> None:
    """The second one is refused, and destroys nothing."""
    path = tmp_path / "w.duckdb"
    projection = Projection(path, Configuration())
    projection.apply([change_page(Moved(1, ANN))], [])
    projection.commit(START, 1)
    with pytest.raises(FixConfigurationError, match="another process"):
        Projection(path, Configuration())
    assert whom(projection, "true") == {ANN}
    projection.close()
