"""Databases of tests."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from sima_runtime.migrations import migrate


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Give the address of an empty database, which is dropped at the end."""
    name = sql.Identifier(own := f"sima_{uuid.uuid4().hex}")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    yield urlunsplit(urlsplit(server)._replace(path=f"/{own}"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def migrating(url: str) -> Callable[[str], str]:
    """Give a function that applies the migrations of a package (`sima_identity`), once, and gives the address."""
    done: set[str] = set()

    def apply(package: str) -> str:
        if package not in done:
            migrate(url, package)
            done.add(package)
        return url

    return apply
