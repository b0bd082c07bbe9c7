"""Migrations of a service: in its own schema, once, all or nothing."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sima_runtime.epochs import FEED_TABLES
from sima_runtime.errors import FixConfigurationError
from sima_runtime.migrations import migrate
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

FIRST = f"""
from alembic import op

revision, down_revision = "0001", None

def upgrade():
    for statement in {FEED_TABLES!r}:
        op.execute(statement)
    op.execute("CREATE TABLE things (name text)")
"""

SECOND = """
from alembic import op

revision, down_revision = "0002", "0001"

def upgrade():
    op.execute("ALTER TABLE things ADD COLUMN size integer")
    op.execute("{last}")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package of a service, with one migration."""
    folder = tmp_path / f"sima_s{uuid.uuid4().hex[:12]}"
    (folder / "migrations" / "versions").mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    add(folder, "0001", FIRST)
    return folder


def add(package: Path, name: str, content: str) -> None:
    """Add a migration to a package."""
    (package / "migrations" / "versions" / f"{name}.py").write_text(content)


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    """Rows of a query."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def columns(url: str, package: Path) -> list[tuple[object, ...]]:
    """Columns of the table, in the schema that the package has by its name."""
    schema = package.name.removeprefix("sima_")
    where = f"table_schema = '{schema}' AND table_name = 'things' ORDER BY ordinal_position"
    return query(url, f"SELECT column_name::text FROM information_schema.columns WHERE {where}")


@pytest.fixture
def ascii_url(postgres_url: str) -> Iterator[str]:
    """A database that knows nothing of letters beyond A to Z."""
    name = f"ascii_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0".encode())
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name}".encode())


def test_a_database_without_unicode_is_refused(ascii_url: str, package: Path) -> None:
    """Names in Arabic would fail one by one later on."""
    with pytest.raises(FixConfigurationError, match="encoding UTF8, not SQL_ASCII"):
        migrate(ascii_url, package.name)


def test_migrations_are_applied_in_the_schema_of_the_service(postgres_url: str, package: Path) -> None:
    """A new schema gets all tables, its own version table among them; applying again changes nothing."""
    for _ in range(2):
        migrate(postgres_url, package.name)
        assert columns(postgres_url, package) == [("name",)]
    schema = package.name.removeprefix("sima_")
    assert query(postgres_url, f"SELECT version_num FROM {schema}.alembic_version") == [("0001",)]
    assert query(postgres_url, "SELECT to_regclass('public.alembic_version')") == [(None,)]


def test_later_migrations_go_on_from_where_it_is(postgres_url: str, package: Path) -> None:
    """What is there stays, and what is new is added."""
    migrate(postgres_url, package.name)
    add(package, "0002", SECOND.format(last="SELECT 1"))
    migrate(postgres_url, package.name)
    assert columns(postgres_url, package) == [("name",), ("size",)]


def test_failed_migration_leaves_nothing_behind(postgres_url: str, package: Path) -> None:
    """A migration that fails half-way is undone completely."""
    migrate(postgres_url, package.name)
    add(package, "0002", SECOND.format(last="SELECT no_such_column"))
    with pytest.raises(ProgrammingError):
        migrate(postgres_url, package.name)
    assert columns(postgres_url, package) == [("name",)]


def test_migrations_at_once_wait_for_each_other(postgres_url: str, package: Path) -> None:
    """Several replicas that migrate at once all succeed."""
    with ThreadPoolExecutor(4) as replicas:
        list(replicas.map(lambda _: migrate(postgres_url, package.name), range(4)))
    assert columns(postgres_url, package) == [("name",)]
