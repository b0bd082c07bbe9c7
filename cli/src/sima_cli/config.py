"""`sima.yaml`: what a workspace says about itself in a file.

It is read strictly: what would be dropped in silence, such as a misspelt key or one that stands there twice, is a
mistake.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError
from sima_runtime.mistakes import mistakes

from sima_cli.errors import MisconfiguredError
from sima_cli.rules import IdentityRules, Strict

_SECTIONS = "expected a mapping with the section identity"


class Config(Strict):
    """What the file says: a field for each section. None: nothing about that."""

    identity: IdentityRules | None = None


@dataclass(frozen=True, slots=True)
class RulesFile:
    """The rules of identity that a file says; `name` is what errors call the file."""

    name: str
    rules: IdentityRules


def read_config(path: Path) -> Config:
    """Read a file; `-` is the standard input.

    Raises:
        MisconfiguredError: It is no such file; the text names all mistakes, each with its place, and no value.
        OSError: It cannot be read.
    """
    content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    try:
        return Config.model_validate(_loaded(content, _called(path)))
    except ValidationError as error:
        raise _mistaken(_called(path), mistakes(error, _SECTIONS)) from None


def read_rules(path: Path) -> RulesFile:
    """Read the rules of identity from a file, which must say some; raises as `read_config` does."""
    config = read_config(path)
    if config.identity is None:
        raise _mistaken(_called(path), ["identity: expected this section; {} stands for the rules of the installation"])
    return RulesFile(_called(path), config.identity)


def rules_at_start(path: Path) -> RulesFile | None:
    """Return the rules of identity that a file says, if it says any; raises as `read_config` does."""
    rules = read_config(path).identity
    return None if rules is None else RulesFile(_called(path), rules)


def _called(path: Path) -> str:
    return "the standard input" if str(path) == "-" else str(path)


def _loaded(content: bytes, name: str) -> object:
    try:
        node = yaml.compose(content.decode(), yaml.SafeLoader)
        if twice := sorted(set(_twice(node))):
            raise _mistaken(name, twice)
        return None if node is None else yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _mistaken(name, [f"expected YAML{where}"]) from None
    except (ValueError, RecursionError):  # no UTF-8, a day that no calendar has, or nested without end
        raise _mistaken(name, ["expected YAML in UTF-8"]) from None


def _twice(root: yaml.Node | None) -> Iterator[str]:
    """Yield the keys that stand in one mapping twice: YAML would take the last of them."""
    seen: set[int] = set()  # an alias leads to the same node again
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            inner = [(f"{path}.{key.value}".lstrip("."), value) for key, value in node.value if _is_plain(key)]
            yield from (f"{at}: expected once" for at, count in Counter(at for at, _ in inner).items() if count > 1)
            waiting += inner
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(f"{path}[{place}]", item) for place, item in enumerate(node.value)]


def _is_plain(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode)  # others are refused when the mapping is made


def _mistaken(name: str, problems: Iterable[str]) -> MisconfiguredError:
    return MisconfiguredError("\n".join([f"{name} has mistakes:", *(f"  {problem}" for problem in problems)]))
