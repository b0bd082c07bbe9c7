"""What operators write wrongly is told in plain words, and never repeated."""

from collections.abc import Mapping

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from sima_runtime.mistakes import mistakes


class Part(BaseModel):
    """A part of a file."""

    model_config = ConfigDict(extra="forbid")

    numbers: tuple[int, ...] = ()
    texts: list[str] = []
    names: dict[str, str] = {}

    @field_validator("names")
    @classmethod
    def _is_short(cls, names: dict[str, str]) -> dict[str, str]:
        if len(names) > 1:
            raise ValueError("expected one name")
        return names


class Whole(BaseModel):
    """A file."""

    parts: list[Part]


def told(content: object) -> list[str]:
    """What is wrong with this content."""
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(content)
    return mistakes(caught.value, "expected a mapping with the key parts")


@pytest.mark.parametrize(
    ("part", "mistake"),
    [
        ("secret-value", "parts[0]: expected a mapping"),
        ({"numbers": "secret-value"}, 'parts[0].numbers: expected a JSON list such as ["one", "two"]'),
        ({"texts": "secret-value"}, "parts[0].texts: expected a list"),
        ({"names": "secret-value"}, "parts[0].names: expected a mapping"),
        ({"names": {"a": "secret-value", "b": ""}}, "parts[0].names: expected one name"),
        ({"other": "secret-value"}, "parts[0].other: expected no such key"),
    ],
)
def test_a_mistake_is_named_with_its_place(part: str | Mapping[str, object], mistake: str) -> None:
    """In words that need no knowledge of Python."""
    assert told({"parts": [part]}) == [mistake]


@pytest.mark.parametrize("content", [None, [], "secret-value", 1])
def test_of_another_form_the_whole_is_said_to_be_expected(content: object) -> None:
    """There is no place to name."""
    assert told(content) == ["expected a mapping with the key parts"]
