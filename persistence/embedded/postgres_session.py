"""What is said to the embedded Postgres over a connection while it starts."""

from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg

from persistence.embedded.errors import ServerStartFailed
from persistence.embedded.postgres_files import ROLE
from persistence.embedded.postgres_settings import DURABILITY

DATABASE = "portfolio"
# initdb makes it; it is there before ours is.
MAINTENANCE_DATABASE = "postgres"
CONNECT_TIMEOUT_S = 5
# The only durability setting that a role or a database can carry; there it would outrank the command line.
FORGET_RELAXATIONS = (
    f"ALTER ROLE {ROLE} RESET synchronous_commit",
    f"ALTER ROLE {ROLE} IN DATABASE {DATABASE} RESET synchronous_commit",
    f"ALTER DATABASE {DATABASE} RESET synchronous_commit",
    "ALTER ROLE ALL RESET synchronous_commit",
)
REFUSED = "password authentication failed"


def address(database: str, *, host: Path | str, port: int, password_file: Path) -> str:
    """A libpq address; `host` is an internet address or a socket's directory.

    It names the password's file rather than the password, so that it may be logged and passed on.
    """
    options = {"host": str(host), "port": str(port), "user": ROLE, "passfile": str(password_file)}
    return f"postgresql:///{database}?{urlencode(options, quote_via=quote)}"


def answers(maintenance_dsn: str, *, password_file: Path) -> bool:
    """Whether the server takes connections; it does not while it starts, recovers or stops.

    Raises ServerStartFailed if it refuses our password, which no waiting cures.
    """
    try:
        with psycopg.connect(maintenance_dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S):
            return True
    except psycopg.OperationalError as error:
        if REFUSED in str(error):
            raise ServerStartFailed(
                f"Postgres refuses the password of role {ROLE!r}",
                where=password_file,
                advice="Restore this file from the backup that the data came from.",
            ) from error
        return False


def prepare_database(maintenance_dsn: str, dsn: str, *, data: Path) -> None:
    """Make the database `portfolio` if there is none, and check that the server keeps what it acknowledges.

    Raises ServerStartFailed if it does not, or if it cannot be asked.
    """
    try:
        with psycopg.connect(maintenance_dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchall():
                connection.execute(f"CREATE DATABASE {DATABASE}")
            for statement in FORGET_RELAXATIONS:
                connection.execute(statement)
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            rows = connection.execute(
                "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(DURABILITY)]
            ).fetchall()
    except psycopg.Error as error:
        raise ServerStartFailed(
            f"Postgres answers but its database cannot be prepared: {error}", where=data, advice="Start again."
        ) from error
    _require_durable(dict(rows), data)


def _require_durable(found: dict[str, str], data: Path) -> None:
    relaxed = [f"{name} is {value}" for name, value in found.items() if value != DURABILITY[name]]
    if relaxed:
        raise ServerStartFailed(
            f"Postgres could lose acknowledged commits: {', '.join(relaxed)}",
            where=data,
            advice="Stop every service on these data and start again; pg_checksums --enable switches checksums on.",
        )
