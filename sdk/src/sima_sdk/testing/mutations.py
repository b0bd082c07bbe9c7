"""Payloads that were real once, with parts missing, misplaced, overlong or of another type."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from random import Random
from typing import Any

from sima_sdk.testing.soundness import CANARY

# Texts that stand in for what json.dumps cannot write.
_INFINITE, _BOMB = "<1e999>", "<bomb>"
_UNWRITABLE = {f'"{_INFINITE}"': "1e999", f'"{_BOMB}"': "[" * 2_000 + "]" * 2_000}

TEXTS = (
    "",
    " ",
    *[CANARY] * 3,
    "n/a",
    "0",
    "-1",
    "1e999",
    "1_000",
    "٣٫٥",
    "nan",
    "true",
    "x" * 10_000,
    "\x00",
    "\ud800",
    "\u202eabc",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00",
)
_NESTED: list[Any] = [[[[[["deep"]]]]]]
VALUES: tuple[Any, ...] = (
    *TEXTS,
    *(None, True, False, 0, -1, 0.5, 1e308, -1e308, 2**53 + 1, 2**63, -(10**30), 10**400, float("nan")),
    *(_INFINITE, _BOMB, [], {}, [None], {"": None}, {"id": CANARY}, _NESTED),
)


def mutate_body(body: bytes, chance: Random) -> bytes:
    """Return a body with one to three changes: mostly of its values if it is JSON, else of its bytes."""
    try:
        value = [json.loads(body)]
    except ValueError:
        return _damaged(body, chance)
    if chance.random() < 0.2:
        return _damaged(body, chance)
    for _ in range(_count(chance)):
        _edit(value, chance)
    text = json.dumps(value[0]) if value else ""
    for stand_in, real in _UNWRITABLE.items():
        text = text.replace(stand_in, real)
    return text.encode()


def mutate_query(query: Mapping[str, str], chance: Random) -> dict[str, str]:
    """Return a query with one to three parameters changed, missing or new."""
    changed = dict(query)
    for _ in range(_count(chance)):
        name = chance.choice([*query, "unknown", ""])
        if chance.random() < 0.3:
            changed.pop(name, None)
        else:
            changed[name] = chance.choice(TEXTS)
    return changed


def mutate_table(table: bytes, chance: Random, delimiter: bytes = b",") -> bytes:
    """Return a CSV file with one to three changes: mostly of single fields, else of its bytes."""
    if chance.random() < 0.3:
        return _damaged(table, chance)
    lines = [line.split(delimiter) for line in table.splitlines(keepends=True)]
    for _ in range(_count(chance)):
        fields = chance.choice(lines)
        fields[chance.randrange(len(fields))] = chance.choice(TEXTS).encode("utf-8", "surrogatepass")
    return b"".join(delimiter.join(fields) for fields in lines)


def _count(chance: Random) -> int:
    return chance.choice((1, 1, 2, 3))


def _damaged(body: bytes, chance: Random) -> bytes:
    for _ in range(_count(chance)):
        at, noise = chance.randrange(len(body) + 1), chance.randbytes(chance.randint(1, 6))
        body = chance.choice((body[:at], body[:at] + noise + body[at:], body[:at] + noise + body[at + len(noise) :]))
    return body


def _edit(value: list[Any], chance: Random) -> None:
    """Change one place of a JSON value; the list around it makes the value itself such a place."""
    places = list(_places(value))
    if places:
        container, key = chance.choice(places)
        other, other_key = chance.choice(places)
        _change(container, key, deepcopy(other[other_key]), chance)


def _change(container: Any, key: Any, other: Any, chance: Random) -> None:  # noqa: ANN401 - any JSON
    changes: tuple[Callable[[], Any], ...] = (
        lambda: deepcopy(chance.choice(VALUES)),
        lambda: deepcopy(chance.choice(VALUES)),  # twice as often
        lambda: CANARY,  # often, so that a reason that repeats a value is found
        lambda: other,
        lambda: [container[key], deepcopy(container[key])],
        lambda: {"value": container[key]},
    )
    fate = chance.random()
    if fate < 0.15:
        del container[key]
    elif fate < 0.25 and isinstance(container, dict):
        container[f"{key}_"] = container.pop(key)
    else:
        container[key] = chance.choice(changes)()


def _places(container: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - any JSON
    """Yield every place of a JSON value, as container and key."""
    for key in range(len(container)) if isinstance(container, list) else list(container):
        yield container, key
        if isinstance(container[key], dict | list):
            yield from _places(container[key])
