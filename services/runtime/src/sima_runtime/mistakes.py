"""What is wrong with settings and files that operators write: in plain words, and never what stands there."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

# By pydantic's name of the mistake; its own words for these speak of Python. Others are left as they are.
_PLAIN = {
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "model_type": "expected a mapping",
    "tuple_type": 'expected a JSON list such as ["one", "two"]',
    "unexpected_keyword_argument": "expected no such key",
    "extra_forbidden": "expected no such key",
}


def mistakes(error: ValidationError, whole: str) -> list[str]:
    """Return what is wrong, each with its place, such as `sources[0].name: Field required`.

    Args:
        error: What pydantic found.
        whole: Says what was expected, where the mistake is the whole rather than a part of it.
    """
    return [_mistake(details, whole) for details in error.errors(include_input=False)]


def _mistake(details: Mapping[str, Any], whole: str) -> str:
    path = ""
    for step in details["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    words = _PLAIN.get(details["type"], details["msg"].removeprefix("Value error, "))
    return f"{path}: {words}" if path else whole
