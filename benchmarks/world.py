"""A world of people and what they did in a year, made in DuckDB.

It is made once and used twice: its rows are loaded into a running Sima (`loading`), and its tables, with the person as
a plain column, are what the floor of every question is measured on (`evaluation`).

Nothing happens for three hours before and after the time of day at which the world was made. So no event crosses the
edge of a window of whole days while questions are asked, and everybody who is asked must answer the same.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import duckdb
import pyarrow as pa
from sima_identity.profile_ids import founded_id
from sima_sdk.identifiers import identifier_key

WORKSPACE = "main"
PEOPLE = 1_000_000
EVENTS = 10_000_000
DAYS = 365
THREADS = 2  # as many as the segment service has for a workspace
MEMORY = "2GB"  # likewise

CITIES = ["Riyadh", "الرياض", "Tehran", "تهران", "Berlin", "Hamburg", "Jeddah", "Shiraz"]
CATEGORIES = ["running", "cycling", "swimming", "climbing", "reading", "music", "garden", "kitchen"]
#: Of twenty events in a row.
NAMES = ["page_viewed"] * 11 + ["product_viewed"] * 5 + ["product_added"] * 2 + ["order_completed"] * 2
#: The properties of each event name.
PROPERTIES = {
    "page_viewed": ("url", "category", "duration_s"),
    "product_viewed": ("sku", "category", "price"),
    "product_added": ("sku", "category", "price"),
    "order_completed": ("total", "category", "currency", "first"),
}
#: Traits with their types.
TRAITS = {"city": "text", "age": "number", "newsletter": "boolean"}

# Throws a die of so many sides; always the same for the same number and die.
_DICE = "CREATE TEMP MACRO dice(number, die, sides) AS CAST(hash(number, die) % sides AS INTEGER)"
# One person in five has not told their age, one in three nothing about letters.
_PEOPLE = """CREATE TABLE people AS SELECT *,
    $cities[1 + dice(number, 1, 8)] AS city,
    CASE WHEN dice(number, 2, 5) > 0 THEN 18 + dice(number, 3, 60) END AS age,
    dice(number, 4, 3) = 0 AS newsletter,
    CASE WHEN dice(number, 5, 3) > 0 THEN dice(number, 6, 4) > 0 END AS granted
    FROM known ORDER BY number"""
# Some people do much more than others: the first of a million about a thousand things.
_EVENTS = """CREATE TABLE events AS SELECT
    place,
    CAST(floor($people * pow(hash(place, 1) / 18446744073709551616.0, 1.5)) AS INTEGER) AS number,
    $names[1 + place % 20] AS name,
    $start + to_microseconds(CAST(
        86400e6 * floor(place / $a_day) + 10800e6 + 64800e6 * (place / $a_day - floor(place / $a_day)) AS BIGINT
    )) AS occurred_at,
    '/p/' || dice(place, 2, 5000) AS url,
    's' || dice(place, 3, 3000) AS sku,
    $categories[1 + dice(place, 4, 8)] AS category,
    ['EUR', 'SAR', 'IRR'][1 + dice(place, 5, 3)] AS currency,
    CAST(dice(place, 6, 300) AS DOUBLE) AS duration_s,
    dice(place, 7, 30000) / 100.0 AS price,
    dice(place, 8, 30000) / 100.0 AS total,
    dice(place, 9, 10) = 0 AS first
    FROM range($events) AS places (place)"""
_EVENT_TABLE = """CREATE TABLE {name} AS SELECT person, occurred_at, {properties}
    FROM events JOIN people USING (number) WHERE name = '{name}' ORDER BY occurred_at"""
_TABLES = (
    "CREATE TABLE traits AS SELECT person, city, CAST(age AS DOUBLE) AS age, newsletter FROM people",
    """CREATE TABLE consents AS SELECT person, 'email_marketing' AS purpose, granted FROM people
        WHERE granted IS NOT NULL""",
)


@dataclass(frozen=True, slots=True)
class World:
    """A world that was made.

    Attributes:
        people: How many people; number `n` is known as `u{n}` and by `browser-{n}`.
        events: How many events they made.
        workspace: Whose world it is.
        start: When the story begins, in UTC, without zone as DuckDB has it.
        tables: The tables: `people`, `traits`, `consents`, one per event name, and `events` with all of them.
    """

    people: int
    events: int
    workspace: str
    start: datetime
    tables: duckdb.DuckDBPyConnection

    def ask(self, sql: str) -> tuple[float, int]:
        """Put whom a query finds into a table; the seconds that took, and how many they are.

        Args:
            sql: Gives a column `person`; `$instant` stands for now.
        """
        parameters = {"instant": now()} if "$instant" in sql else None
        began = time.perf_counter()
        self.tables.execute(f"CREATE OR REPLACE TEMP TABLE found AS {sql}", parameters)
        seconds = time.perf_counter() - began
        [(size,)] = self.tables.execute("SELECT count(DISTINCT person) FROM found").fetchall()
        return seconds, size

    def knows(self, persons: Iterable[str]) -> bool:
        """Whether profile ids, in hexadecimal, are all of this world."""
        wanted = [str(UUID(person)) for person in persons]
        query = "SELECT count(*) FROM people WHERE person IN (SELECT CAST(unnest($wanted) AS UUID))"
        return self.tables.execute(query, {"wanted": wanted}).fetchall() == [(len(wanted),)]

    def close(self) -> None:
        """Let go of the file."""
        self.tables.close()


def make(folder: Path, secret: bytes, people: int, events: int, workspace: str = WORKSPACE) -> World:
    """Make a world in a file of a folder.

    Args:
        folder: Where to.
        secret: Of the workspace; the keys of identifiers are made with it, as the services make them.
        people: How many people.
        events: How many events.
        workspace: Into which it will be loaded.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {"threads": THREADS, "memory_limit": MEMORY}
    tables = duckdb.connect(folder / "world.duckdb", config=settings)
    tables.execute(_DICE)
    tables.register("known", known(secret, people))
    tables.execute(_PEOPLE, {"cities": CITIES})
    tables.unregister("known")
    start = long_ago()
    sizes = {"people": people, "events": events, "a_day": events / DAYS}
    tables.execute(_EVENTS, {**sizes, "start": start, "names": NAMES, "categories": CATEGORIES})
    for name, properties in PROPERTIES.items():
        tables.execute(_EVENT_TABLE.format(name=name, properties=", ".join(properties)))
    for statement in _TABLES:
        tables.execute(statement)
    tables.execute("CHECKPOINT")
    return World(people, events, workspace, start, tables)


def known(secret: bytes, people: int) -> pa.Table:
    """Make the identifiers of everybody, and the profile ids that identity would give them."""
    users = [identifier_key(secret, "user_id", f"u{number}") for number in range(people)]
    browsers = [identifier_key(secret, "anonymous_id", f"browser-{number}") for number in range(people)]
    persons = [founded_id(secret, user) for user in users]
    columns = {"person": persons, "user_key": users, "browser_key": browsers}
    return pa.table({"number": pa.array(range(people), pa.int32())} | {name: _uuids(columns[name]) for name in columns})


def long_ago() -> datetime:
    """When the story begins, a year ago: in whole seconds of UTC, without zone."""
    return now().replace(microsecond=0) - timedelta(days=DAYS)


def now() -> datetime:
    """This instant in UTC, without zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def _uuids(keys: list[bytes]) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(keys, pa.binary(16)))
