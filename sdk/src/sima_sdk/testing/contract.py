"""What all contract suites share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from sima_sdk.testing.plugin import MUTATIONS_OPTION, SEED_OPTION


@dataclass(slots=True)
class Mutations:
    """A stream of chance for each of the mutated payloads of a suite; the same in every run.

    Attributes:
        count: How many.
        seed: Another seed, other mutations.
    """

    count: int
    seed: int
    number: int = 0

    def __iter__(self) -> Iterator[Random]:
        for number in range(self.count):
            self.number = number
            yield Random(f"{self.seed}:{number}")

    @contextmanager
    def explained(self, payload: str) -> Iterator[None]:
        """Add to whatever is raised inside which payload it is about."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"mutation {self.number} of seed {self.seed}: {payload[:4_000]}")
            raise


class Contract:
    """A suite of promises. A subclass gives the fixtures; it cannot drop a promise in silence."""

    def __init_subclass__(cls, **arguments: Any) -> None:  # noqa: ANN401 - passed on as it is
        """Refuse a subclass that replaces a promise without saying why."""
        super().__init_subclass__(**arguments)
        for name in vars(cls):
            if name.startswith("test_") and any(hasattr(base, name) for base in cls.__bases__):
                _require_reason(cls, name)

    @pytest.fixture
    def subject(self) -> Any:  # noqa: ANN401 - each suite has its own
        """What is tested; every subclass gives its own."""
        pytest.fail(f"{type(self).__name__} must override the fixture `subject`")

    @pytest.fixture
    def mutations(self, request: pytest.FixtureRequest) -> Mutations:
        """The mutated payloads, as many as the command line says."""
        return Mutations(request.config.getoption(MUTATIONS_OPTION), request.config.getoption(SEED_OPTION))


def require_at_least(least: int, what: str, count: int) -> None:
    """Refuse a subject with too little to test, of which promises would hold that nobody looked at.

    Raises:
        ValueError: There is less; the text names what is missing.
    """
    if count < least:
        raise ValueError(f"{what}: expected at least {least}, or promises count as kept that nothing has tested")


def _require_reason(cls: type, name: str) -> None:
    marks = getattr(getattr(cls, name), "pytestmark", [])
    if not any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks):
        raise TypeError(f"{cls.__name__}.{name} replaces a promise: mark it with pytest.mark.xfail(reason=...)")
