"""The database of a service for a command that needs no Ray: the one given, the running one, or one started for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from cluster.console import Report
from cluster.settings import Settings
from persistence.data_dir_lock import DataDirLock
from persistence.embedded.errors import DataDirInUse, EmbeddedServerError
from persistence.embedded.postgres import EmbeddedPostgres, has_data, running_address


@contextmanager
def existing_database(settings: Settings, report: Report) -> Iterator[str]:
    """The address of the service's database; an embedded Postgres that does not run is started for the block.

    Raises a kind of EmbeddedServerError, also if there is none.
    """
    if settings.postgres_dsn is not None:
        yield settings.postgres_dsn
        return
    if not has_data(settings.data_dir):
        raise EmbeddedServerError(
            "There is no database", where=settings.data_dir, advice="Set PORTFOLIO_DATA_DIR or PORTFOLIO_POSTGRES_DSN."
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(DataDirLock(settings.data_dir))
        except DataDirInUse:
            yield running_address(settings.data_dir)
        else:
            report("starting Postgres, since no service runs on this data directory")
            yield stack.enter_context(EmbeddedPostgres(settings.data_dir, progress=report)).dsn


@contextmanager
def database_of_ours(settings: Settings, report: Report) -> Iterator[str]:
    """The address of a database that no service runs on; the embedded Postgres is made if need be, and runs for the block.

    For a database that is given, the operator answers for that. Raises a kind of EmbeddedServerError.
    """
    if settings.postgres_dsn is not None:
        yield settings.postgres_dsn
        return
    # Root's Postgres runs under another user, who has to get through.
    settings.data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    with DataDirLock(settings.data_dir):
        report("starting Postgres for the restore")
        with EmbeddedPostgres(settings.data_dir, progress=report) as postgres:
            yield postgres.dsn
