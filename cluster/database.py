"""Where the database of a service is, for tools that look into it beside the running service."""

from __future__ import annotations

from cluster.settings import Settings
from persistence.embedded.home import LOOPBACK
from persistence.embedded.postgres_files import read_note
from persistence.embedded.postgres_launch import PGPASS
from persistence.embedded.postgres_session import DATABASE, address


def postgres_dsn(settings: Settings) -> str:
    """The Postgres that the settings name, else the embedded one that runs in the data directory.

    Raises ConnectionError if there is neither.
    """
    if settings.postgres_dsn:
        return settings.postgres_dsn
    home = settings.data_dir.resolve() / "postgres"
    note = read_note(home / "data")
    if note is None:
        raise ConnectionError(
            f"no Postgres runs in {settings.data_dir}: start a service, or set PORTFOLIO_POSTGRES_DSN"
        )
    return address(DATABASE, host=note.sockets or LOOPBACK, port=note.port, password_file=home / PGPASS)
