"""Twenty questions about people: each as a rule, and as SQL that somebody wrote by hand for it alone.

The SQL is over tables with the person as a plain column. Where it is not plain which form is the fastest, there are
several: the fastest of them is the floor of the rule.
"""

from typing import NamedTuple


class Question(NamedTuple):
    """A rule, and SQL for the same question."""

    rule: str
    variants: tuple[str, ...]


_UNTIL_NOW = "occurred_at <= $instant"


def _within(days: int) -> str:
    return f"{_UNTIL_NOW} AND occurred_at > $instant - INTERVAL {days} DAY"


def _rows(event: str, condition: str = _UNTIL_NOW) -> str:
    return f"SELECT person FROM {event} WHERE {condition}"


def _groups(event: str, condition: str, having: str) -> str:
    return f"{_rows(event, condition)} GROUP BY person HAVING {having}"


_ORDERS_OF_YEAR = _within(365)
_GRANTED = "SELECT person FROM consents WHERE purpose = 'email_marketing' AND granted"
_RUNNING = "category = 'running' AND duration_s > 30"

QUESTIONS = (
    Question(
        'events("order_completed").within("90d").count() >= 3',
        (_groups("order_completed", _within(90), "count(*) >= 3"),),
    ),
    Question(
        'events("order_completed").within("365d").sum("total") > 1000.0',
        (_groups("order_completed", _ORDERS_OF_YEAR, "sum(total) > 1000"),),
    ),
    Question(
        'events("product_viewed").count() >= 10',
        (_groups("product_viewed", _UNTIL_NOW, "count(*) >= 10"),),
    ),
    Question(
        'events("order_completed").within("365d").avg("total") > 200.0',
        (_groups("order_completed", _ORDERS_OF_YEAR, "avg(total) > 200"),),
    ),
    Question(
        'events("product_added").within("2d").exists() && !events("order_completed").within("2d").exists()',
        (
            f"SELECT DISTINCT person FROM ({_rows('product_added', _within(2))})"
            f" ANTI JOIN ({_rows('order_completed', _within(2))}) USING (person)",
            f"SELECT DISTINCT person FROM product_added WHERE {_within(2)}"
            f" AND person NOT IN ({_rows('order_completed', _within(2))})",
        ),
    ),
    Question(
        'events("product_added").within("30d").exists() && !events("order_completed").within("30d").exists()',
        (
            f"SELECT DISTINCT person FROM ({_rows('product_added', _within(30))})"
            f" ANTI JOIN ({_rows('order_completed', _within(30))}) USING (person)",
            f"SELECT person FROM (SELECT DISTINCT person FROM ({_rows('product_added', _within(30))}))"
            f" ANTI JOIN ({_rows('order_completed', _within(30))}) USING (person)",
        ),
    ),
    Question(
        'events("product_viewed").within("180d").exists() && !events("order_completed").exists()',
        (
            f"SELECT DISTINCT person FROM ({_rows('product_viewed', _within(180))})"
            f" ANTI JOIN ({_rows('order_completed')}) USING (person)",
            f"SELECT person FROM (SELECT DISTINCT person FROM ({_rows('product_viewed', _within(180))}))"
            f" ANTI JOIN ({_rows('order_completed')}) USING (person)",
        ),
    ),
    Question(
        'events("page_viewed").within("30d").filter(e, e.category == "running").sum("duration_s") > 300',
        (_groups("page_viewed", f"{_within(30)} AND category = 'running'", "sum(duration_s) > 300"),),
    ),
    Question(
        'events("page_viewed").filter(e, e.category == "running" && e.duration_s > 30 || e.url.startsWith("/p/1"))'
        ".count() >= 4",
        (
            _groups("page_viewed", f"{_UNTIL_NOW} AND ({_RUNNING} OR url LIKE '/p/1%')", "count(*) >= 4"),
            _groups("page_viewed", f"{_UNTIL_NOW} AND ({_RUNNING} OR starts_with(url, '/p/1'))", "count(*) >= 4"),
        ),
    ),
    Question(
        'traits.city in ["Riyadh", "الرياض"] && traits.age >= 25 && traits.newsletter != true',
        ("SELECT person FROM traits WHERE city IN ('Riyadh', 'الرياض') AND age >= 25 AND NOT newsletter",),
    ),
    Question(
        'traits.city == "Berlin" && events("order_completed").within("90d").exists()',
        (
            f"SELECT person FROM traits SEMI JOIN ({_rows('order_completed', _within(90))}) USING (person)"
            " WHERE city = 'Berlin'",
            "SELECT DISTINCT person FROM order_completed SEMI JOIN (SELECT person FROM traits WHERE city = 'Berlin')"
            f" USING (person) WHERE {_within(90)}",
        ),
    ),
    Question(
        'traits.age > 40 && events("order_completed").within("365d").sum("total") > 300.0'
        ' && events("product_viewed").within("30d").exists()',
        (
            "SELECT person FROM traits"
            f" JOIN ({_groups('order_completed', _ORDERS_OF_YEAR, 'sum(total) > 300')}) USING (person)"
            f" SEMI JOIN ({_rows('product_viewed', _within(30))}) USING (person) WHERE age > 40",
            f"SELECT person FROM ({_groups('order_completed', _ORDERS_OF_YEAR, 'sum(total) > 300')})"
            f" SEMI JOIN ({_rows('product_viewed', _within(30))}) USING (person)"
            " SEMI JOIN (SELECT person FROM traits WHERE age > 40) USING (person)",
        ),
    ),
    Question(
        '!events("order_completed").exists()',
        (
            f"SELECT person FROM people ANTI JOIN ({_rows('order_completed')}) USING (person)",
            f"SELECT person FROM people WHERE person NOT IN ({_rows('order_completed')})",
        ),
    ),
    Question(
        'events("order_completed").within("30d").count() == 0 && events("order_completed").count() >= 2',
        (
            _groups("order_completed", _UNTIL_NOW, "count(*) >= 2 AND max(occurred_at) <= $instant - INTERVAL 30 DAY"),
            f"SELECT person FROM ({_groups('order_completed', _UNTIL_NOW, 'count(*) >= 2')})"
            f" ANTI JOIN ({_rows('order_completed', _within(30))}) USING (person)",
        ),
    ),
    Question(
        'consent("email_marketing") && events("product_viewed").within("90d").count() >= 2',
        (
            f"SELECT person FROM ({_groups('product_viewed', _within(90), 'count(*) >= 2')})"
            f" SEMI JOIN ({_GRANTED}) USING (person)",
            f"SELECT person FROM ({_GRANTED})"
            f" JOIN ({_groups('product_viewed', _within(90), 'count(*) >= 2')}) USING (person)",
        ),
    ),
    Question(
        'events("order_completed").within("30d").exists() && events("order_completed").within("365d").sum("total")'
        " > 500.0",
        (
            _groups(
                "order_completed",
                _ORDERS_OF_YEAR,
                "max(occurred_at) > $instant - INTERVAL 30 DAY AND sum(total) > 500",
            ),
            f"SELECT person FROM ({_groups('order_completed', _ORDERS_OF_YEAR, 'sum(total) > 500')})"
            f" SEMI JOIN ({_rows('order_completed', _within(30))}) USING (person)",
        ),
    ),
    Question(
        'events("order_completed").within("60d").count() >= 2 && events("order_completed").within("365d").count() >= 5',
        (
            _groups(
                "order_completed",
                _ORDERS_OF_YEAR,
                "count(*) >= 5 AND count(*) FILTER (occurred_at > $instant - INTERVAL 60 DAY) >= 2",
            ),
            f"SELECT person FROM ({_groups('order_completed', _ORDERS_OF_YEAR, 'count(*) >= 5')})"
            f" SEMI JOIN ({_groups('order_completed', _within(60), 'count(*) >= 2')}) USING (person)",
        ),
    ),
    Question(
        'traits.newsletter == true || events("order_completed").within("180d").sum("total") > 400.0',
        (
            "SELECT person FROM traits WHERE newsletter"
            f" UNION {_groups('order_completed', _within(180), 'sum(total) > 400')}",
        ),
    ),
    Question(
        'events("order_completed").sum("total") > events("product_viewed").count() * 20.0',
        (
            "SELECT person FROM"
            f" (SELECT person, sum(total) AS paid FROM order_completed WHERE {_UNTIL_NOW} GROUP BY person)"
            f" LEFT JOIN (SELECT person, count(*) AS seen FROM product_viewed WHERE {_UNTIL_NOW} GROUP BY person)"
            " USING (person) WHERE paid > coalesce(seen, 0) * 20",
        ),
    ),
    Question(
        'events("order_completed").filter(e, e.category in ["running", "music"] && e.total >= 50.0).count() >= 2'
        ' || events("order_completed").filter(e, e.first == true).count() >= 3',
        (
            _groups(
                "order_completed",
                _UNTIL_NOW,
                "count(*) FILTER (category IN ('running', 'music') AND total >= 50) >= 2"
                " OR count(*) FILTER (first) >= 3",
            ),
        ),
    ),
)
