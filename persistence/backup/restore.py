"""Restoring a backup into an empty database: all of it, checked, with no owner; or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from persistence.backup import tools
from persistence.backup.archive import Archive, open_archive
from persistence.backup.errors import BackupDamaged, BackupRefused
from persistence.backup.manifest import Contents, read_contents, require_known_schema
from persistence.backup.session import unhurried
from persistence.migrate import apply_missing
from persistence.statements import SQL

Connection = psycopg.Connection[tuple[Any, ...]]

_NAMED_MAX: Final = 3


@contextmanager
def open_backup(path: Path) -> Iterator[Archive]:
    """The backup in a file, whole, of a schema that this version knows. Raises a kind of BackupError."""
    with open_archive(path) as archive:
        require_known_schema(archive.manifest.contents)
        yield archive


def restore_backup(archive: Archive, dsn: str) -> None:
    """Fill an empty database with the backup, bring it to this version's schema, and free its shards.

    Whoever is killed meanwhile leaves it empty, or with all of the backup; then it is not empty, and refused next time.
    Raises a kind of BackupError, or ShardUnavailable if Postgres cannot be reached.
    """
    with _reserved(dsn) as connection:
        tools.restore(dsn, archive.dump())
        try:
            _finish(connection, archive.manifest.contents)
        except BaseException:
            # On the connection that keeps services away: had it gone, one might have begun to write here.
            with contextlib.suppress(psycopg.Error):
                connection.execute(SQL["drop_relations"])
            raise
        # A new database has no statistics, and the planner would scan the journal for each question.
        connection.execute(SQL["analyze"])


@contextmanager
def _reserved(dsn: str) -> Iterator[Connection]:
    """A connection to an empty database, which keeps services and other restores from setting it up."""
    with unhurried(dsn, "restoring a backup") as connection:
        row = connection.execute(SQL["try_to_lock_migrations"]).fetchone()
        if row is None or not row[0]:
            raise BackupRefused("a service or another restore is setting up this database right now")
        found = [name for (name,) in connection.execute(SQL["select_relations"])]
        if found:
            more = ", ..." if len(found) > _NAMED_MAX else ""
            raise BackupRefused(
                f"the database is not empty, it has {', '.join(found[:_NAMED_MAX])}{more}: a backup is restored into an "
                "empty one only. Name an empty database or data directory"
            )
        yield connection


def _finish(connection: Connection, expected: Contents) -> None:
    with connection.transaction():
        apply_missing(connection)
        found = read_contents(connection)
        if _restored(found, expected) != expected:
            raise BackupDamaged(f"restored is {found}, but the backup is of {expected}")
        connection.execute(SQL["free_shards"])


def _restored(found: Contents, expected: Contents) -> Contents:
    """What is found, without what migrations since the backup have added to it."""
    rows = {table: count for table, count in found.rows.items() if table in expected.rows}
    return msgspec.structs.replace(found, migrations=expected.migrations, rows=rows)
