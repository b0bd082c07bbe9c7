"""Exceptions of the collector itself, grouped like those of the runtime."""

from collections.abc import Iterable
from pathlib import Path

from sima_runtime.errors import FixConfigurationError


class FixSourcesError(FixConfigurationError):
    """The file of sources has mistakes; `problems` names all of them, each with its place in the file."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n  ".join((f"sources file {path}:", *self.problems)))
