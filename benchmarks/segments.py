"""A hundred segments, as a workspace in use would have them: windows, references to others, and everything else."""

from collections.abc import Iterator

from benchmarks.world import CATEGORIES, CITIES, PROPERTIES

#: The segment that probe people enter; nobody of the world ever paid as much at once.
PROBE = "probe"
PROBE_TOTAL = 5_000.0

WINDOWED = 20
REFERENCES = 10
OTHERS = 69


def rules() -> dict[str, str]:
    """Return the rules by name of the segment, each behind those that it refers to."""
    probe = f'events("order_completed").filter(e, e.total >= {PROBE_TOTAL}).exists()'
    windowed = {f"window-{number}": _windowed(number) for number in range(WINDOWED)}
    others = {f"other-{number}": rule for number, rule in enumerate(_others())}
    references = {f"reference-{number}": _reference(number) for number in range(REFERENCES)}
    return {PROBE: probe, **windowed, **others, **references}


def _windowed(number: int) -> str:
    """A window of days and six hours: the world sleeps at this time of day, but not six hours before."""
    event = list(PROPERTIES)[number % len(PROPERTIES)]
    return f'events("{event}").within("{1 + 2 * number}d6h").count() >= {3 + number % 3}'


def _others() -> Iterator[str]:
    for number in range(OTHERS):
        city, category = CITIES[number % len(CITIES)], CATEGORIES[number % len(CATEGORIES)]
        templates = (
            f'traits.city == "{city}" && traits.age >= {65 + number % 10}',
            f'events("order_completed").count() >= {5 + number % 7}',
            f'events("order_completed").sum("total") > {1_000 + 10 * number}.0',
            f'traits.newsletter == true && consent("email_marketing") && traits.age == {20 + number % 50}',
            f'events("page_viewed").filter(e, e.category == "{category}").sum("duration_s") > {900 + 10 * number}',
            f'events("product_added").count() >= {2 + number % 4} && !events("order_completed").exists()',
            f'events("product_viewed").max("price") > 299.0 && traits.city == "{city}"',
        )
        yield templates[number % len(templates)]


def _reference(number: int) -> str:
    if number % 2:
        return f'segment("window-{number}") && !segment("other-{number}")'
    return f'segment("other-{number + 1}") && consent("email_marketing")'
