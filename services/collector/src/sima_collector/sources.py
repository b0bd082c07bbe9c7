"""The configured sources: which connector each uses, for which workspace, with which secrets.

The file is YAML or JSON::

    sources:
      - name: shop-riyadh
        workspace: main
        connector: shopify
        default_region: SA
        secrets:
          webhook: {file: /run/secrets/shop-riyadh}
          import_token: {value: not-for-production}
        options:
          currency: SAR
        keep_rejected: true

`default_region` is the region, two letters of ISO 3166, in which phone numbers without country code are read.

`keep_rejected` says whether bytes that the connector cannot read are kept with the refusal, or only their size and a
hash. Left out, they are kept unless they may hold values of protected kinds of identifiers (see `redaction`).
"""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sima_runtime.context import WORKSPACE_NAME
from sima_runtime.mistakes import mistakes
from sima_sdk.connectors import Source
from sima_sdk.identifiers import REGION_EXPECTED, is_region

from sima_collector.errors import FixSourcesError
from sima_collector.facts import ConfiguredSource

#: Purpose under which a source keeps the bearer token that uploads to it must show.
IMPORT_TOKEN = "import_token"  # noqa: S105 - the name of a secret, not one

_SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
_Workspace = Annotated[str, StringConstraints(pattern=f"^{WORKSPACE_NAME.pattern}$")]


def _region(text: str) -> str:
    if not (is_region(text) and text.isupper()):
        raise ValueError(REGION_EXPECTED)
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _Secret(_Strict):
    value: str | None = Field(None, min_length=1)
    file: str | None = None


class _Source(_Strict):
    name: _SourceName
    workspace: _Workspace
    connector: str
    default_region: Annotated[str, AfterValidator(_region)] | None = None
    secrets: dict[str, _Secret] = {}
    options: dict[str, str] = {}
    keep_rejected: bool | None = None


class _File(_Strict):
    sources: list[_Source]


@dataclass(slots=True)
class _Reading:
    """A file being read: where relative names begin, and what was found wrong with it."""

    folder: Path
    problems: list[str] = field(default_factory=list)


def read_sources(path: Path) -> dict[str, ConfiguredSource]:
    """Read the sources, by name.

    Raises:
        FixSourcesError: The file cannot be read or has mistakes; the text names all of them.
    """
    content = _parse(path)
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise FixSourcesError(path, mistakes(error, "expected a mapping with the key sources")) from None
    reading = _Reading(path.parent)
    found = [_configured(source, f"sources[{at}]", reading) for at, source in enumerate(file.sources)]
    counts = Counter(source.name for source in found)
    reading.problems += [f"sources: {count} have the name {name}" for name, count in counts.items() if count > 1]
    if reading.problems:
        raise FixSourcesError(path, reading.problems)
    return {source.name: source for source in found}


def _parse(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FixSourcesError(path, [f"cannot be read ({type(error).__name__})"]) from None
    with suppress(json.JSONDecodeError):  # most JSON is YAML as well, but not all of it
        return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FixSourcesError(path, [f"expected YAML or JSON{where}"]) from None


def _configured(source: _Source, where: str, reading: _Reading) -> ConfiguredSource:
    secrets = {
        purpose: _reveal(secret, f"{where}.secrets.{purpose}", reading) for purpose, secret in source.secrets.items()
    }
    return ConfiguredSource(
        source.workspace,
        source.connector,
        Source(source.name, secrets, source.default_region, source.options),
        source.keep_rejected,
    )


def _reveal(secret: _Secret, where: str, reading: _Reading) -> str:
    """Return a secret's text; a problem is noted, and the empty text stands in until the file is refused for it."""
    if (secret.value is None) == (secret.file is None):
        reading.problems.append(f"{where}: expected either value or file")
        return ""
    if secret.file is None:
        return secret.value or ""
    try:
        text = (reading.folder / secret.file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reading.problems.append(f"{where}.file: cannot be read ({type(error).__name__})")
        return ""
    if not text:
        reading.problems.append(f"{where}.file: is empty")
    return text
