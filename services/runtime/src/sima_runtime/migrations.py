"""Applies a service's migrations: the Alembic scripts of its package, in its own schema, in one transaction.

A service only has `migrations/versions/*.py`; names in them need no schema, and the version table is in the schema too.
`python -m sima_<service> migrate` calls `migrate`; several at once wait for each other.
"""

from importlib import resources

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from sima_runtime.errors import FixConfigurationError


def migrate(database_url: str, package: str) -> None:
    """Bring the schema of a service up to date.

    Args:
        database_url: Address of the database, as `DatabaseSettings` describes it.
        package: The service's package, for example `sima_identity`; its schema is the name without `sima_`.

    Raises:
        FixConfigurationError: The database does not hold Unicode.
    """
    schema = package.removeprefix("sima_")
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, connect_args={"client_encoding": "utf8"})  # else not even SQLAlchemy can read SQL_ASCII
    try:
        with engine.begin() as connection:
            _require_unicode(connection)
            _prepare(connection, schema)
            command.upgrade(_config(connection, package, schema), "head")
    finally:
        engine.dispose()


def _require_unicode(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise FixConfigurationError(f"database_url must lead to a database with the encoding UTF8, not {encoding}")


def _prepare(connection: Connection, schema: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": f"migrate {schema}"})
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))


def _config(connection: Connection, package: str, schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("sima_runtime") / "alembic"))
    config.set_main_option("version_locations", str(resources.files(package) / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(connection=connection, schema=schema)
    return config
