"""What all tests share: a marker by folder, how properties are tested, and one real Postgres and Valkey when asked for."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo
from redis import Redis

from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.valkey import EmbeddedValkey
from persistence.migrate import migrate
from tests.support.removing import wait_until_removed

_HERE = Path(__file__).parent
_TEMPLATE = "migrated_template"
_numbers = itertools.count(1)

# The same examples on every run and machine, and no files left behind.
settings.register_profile(
    "tests",
    derandomize=True,
    database=None,
    deadline=None,  # A busy machine is no failure.
    # `make check` has less than a minute for everything; `make test` takes the full number.
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test bears the name of its top folder as a marker."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(item.path.relative_to(_HERE).parts[0])


@pytest.fixture(scope="session", autouse=True)
def _removed() -> Iterator[None]:
    """Nothing is left at the end of directories that are removed beside the tests."""
    yield
    wait_until_removed()


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """A directory for the servers' data that the user they run as can reach; pytest's own are closed to others."""
    top = Path(tempfile.mkdtemp(prefix="portfolio-test-", dir="/tmp"))
    try:
        top.chmod(0o711)
        yield top
    finally:
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_dir: Path) -> Iterator[EmbeddedPostgres]:
    """The Postgres of this run, on its socket and on TCP."""
    with EmbeddedPostgres(servers_dir / "postgres", listen_tcp=True) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(servers_dir: Path) -> Iterator[EmbeddedValkey]:
    """The Valkey of this run. A test that kills one starts its own."""
    with EmbeddedValkey(servers_dir / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """The name of a database with this version's schema and nothing in it."""
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
    migrate(make_conninfo(postgres_server.dsn, dbname=_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def empty_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The address of a database without a schema, dropped after the test."""
    yield from _database(postgres_server, "template1")


@pytest.fixture
def database(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """The address of a migrated database of the test's own, dropped after the test."""
    yield from _database(postgres_server, template_database)


def _database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        try:
            yield make_conninfo(server.dsn, dbname=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def redis_url(valkey_server: EmbeddedValkey) -> str:
    """The address of an empty Valkey."""
    with Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url
