"""The arrows between the distributions: who may import whom, and who may read what."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("identity", "profile", "segment", "collector")
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))

# Distribution -> the Sima packages that it may import beside itself.
ALLOWED = {
    "protos": set(),
    "sdk": set(),
    "services/runtime": {"sima", "sima_sdk"},
    **{f"services/{service}": {"sima", "sima_sdk", "sima_runtime"} for service in SERVICES},
    "cli": {"sima", "sima_sdk", "sima_runtime", *(f"sima_{service}" for service in SERVICES)},
    **{f"plugins/{plugin}": {"sima_sdk"} for plugin in PLUGINS},
}


def sources(distribution: str) -> list[Path]:
    """All hand-written modules of a distribution."""
    return sorted((ROOT / distribution / "src").rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Everything that a file imports, by its full name: modules, and what is taken from them, which may be modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "expected absolute imports, which tell where they lead"
            assert not node.level, "expected absolute imports, which tell where they lead"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(distribution: str, forbidden: re.Pattern[str]) -> list[str]:
    """The imports of a distribution whose names match, as `file: module`."""
    return [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sources(distribution)
        for module in imports(path)
        if forbidden.match(module)
    ]


@pytest.mark.parametrize("distribution", ALLOWED)
def test_a_distribution_imports_only_what_its_arrow_allows(distribution: str) -> None:
    """Plugins see the SDK, services see runtime, contracts and SDK, and services never see each other."""
    own = {path.name for path in (ROOT / distribution / "src").iterdir() if path.is_dir()}
    wrong = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in sources(distribution)
        for module in imports(path)
        if (top := module.split(".")[0]) not in own | ALLOWED[distribution]
        and (top == "sima" or top.startswith("sima_"))
    ]
    assert wrong == []


def test_every_distribution_stands_under_these_rules() -> None:
    """A new distribution cannot slip past the arrows."""
    found = {
        path.parent.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("pyproject.toml")
        if path.parent != ROOT and ".venv" not in path.parts and "template" not in path.parts
    }
    assert found == set(ALLOWED)


def test_the_sdk_needs_neither_grpc_nor_a_database() -> None:
    """A partner installs the SDK without the weight of the services."""
    assert offenders("sdk", re.compile(r"grpc|google|sqlmodel|sqlalchemy|psycopg|starlette|uvicorn")) == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_store_and_models_speak_sql(service: str) -> None:
    """Queries live in `store.py`, tables in `models.py`; nothing else imports a database library.

    The rules of segments are compiled to SQL, which is their whole purpose; only the projection gives it to DuckDB.
    """
    databases = offenders(f"services/{service}", re.compile(r"sqlalchemy|sqlmodel|psycopg|sqlite3|duckdb"))
    assert [line for line in databases if not re.search(r"/(store|models|migrations|projection)\b", line)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_the_servicer_speaks_grpc(service: str) -> None:
    """Domain code raises domain errors and knows no transport; the generated messages stay at the edge."""
    assert [
        line
        for line in offenders(f"services/{service}", re.compile(r"grpc(\.|$)"))
        if not re.search(r"/(servicer|__main__)\.py", line)
    ] == []


@pytest.mark.parametrize("service", SERVICES)
def test_what_says_that_it_is_pure_asks_nobody(service: str) -> None:
    """A module whose docstring says "Pure" imports neither a store nor what speaks to a database.

    Only profile's `rows` fills the row types of its store.
    """
    stores = re.compile(r"sima_\w+\.store\b|sima_runtime\.database$")
    pure = {
        path.relative_to(ROOT).as_posix()
        for path in sources(f"services/{service}")
        if path.stem != "rows" and re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    assert [line for line in offenders(f"services/{service}", stores) if line.split(":")[0] in pure] == []


def test_nothing_but_the_generator_and_the_report_reads_the_truth() -> None:
    """Sima finds the people without ever seeing the answer."""
    makers = ("cli/src/sima_cli/sample/", "cli/src/sima_cli/report/")
    readers = {
        path.relative_to(ROOT).as_posix()
        for distribution in ALLOWED
        for path in sources(distribution)
        if "sima_cli.sample.truth" in imports(path) or "truth.jsonl" in path.read_text()
    }
    assert readers
    assert [reader for reader in readers if not reader.startswith(makers)] == []
