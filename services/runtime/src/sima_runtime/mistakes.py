"""What is wrong with settings and files that operators write: in plain words, and never what stands there."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

# By pydantic's name of the mistake; its own words for these speak of Python. Others are left as they are.
_PLAIN = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "enum": "expected {expected}",
    "extra_forbidden": "expected no such key",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "list_type": "expected a list",
    "literal_error": "expected {expected}",
    "missing": "expected this key",
    "model_type": "expected a mapping",
    "string_type": "expected a text",
    "tuple_type": 'expected a JSON list such as ["one", "two"]',
    "unexpected_keyword_argument": "expected no such key",
}


def mistakes(error: ValidationError, whole: str) -> list[str]:
    """Return what is wrong, each with its place, such as `sources[0].name: expected this key`.

    Args:
        error: What pydantic found.
        whole: Says what was expected, where the mistake is the whole rather than a part of it.
    """
    return [_mistake(details, whole) for details in error.errors(include_input=False)]


def _mistake(details: Mapping[str, Any], whole: str) -> str:
    path = ""
    for step in details["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    plain = _PLAIN.get(details["type"])
    words = plain.format(**details.get("ctx", {})) if plain else details["msg"].removeprefix("Value error, ")
    return f"{path}: {words}" if path else whole
