"""Taking a backup while the service serves: manifest and dump are read in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from persistence.backup import tools
from persistence.backup.archive import write_archive
from persistence.backup.manifest import FORMAT, Dump, Manifest, read_contents
from persistence.backup.session import unhurried
from persistence.statements import SQL
from persistence.whole_file import whole_file


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A moment of the database, held still for whoever names it."""

    connection: psycopg.Connection[tuple[Any, ...]]
    name: str
    taken_at: datetime
    postgres_version: str


def take_backup(dsn: str, path: Path, *, overwrite: bool = False) -> Manifest:
    """Write a backup of the database to a new file; commits go on meanwhile and are not in it.

    Raises a kind of BackupError or FileNotWritten, or ShardUnavailable if Postgres cannot be reached; then `path` is as it was.
    """
    with whole_file(path, overwrite=overwrite) as file, _snapshot(dsn) as snapshot:
        contents = read_contents(snapshot.connection)

        def describe(dump: Dump) -> Manifest:
            return Manifest(
                format=FORMAT,
                service_version=version("portfolio-state"),
                postgres_version=snapshot.postgres_version,
                taken_at=snapshot.taken_at,
                contents=contents,
                dump=dump,
            )

        with closing(tools.dump(dsn, snapshot.name)) as chunks:
            return write_archive(file, chunks, describe)


@contextmanager
def _snapshot(dsn: str) -> Iterator[_Snapshot]:
    with unhurried(dsn, "backing up the database") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # Kept open to the end: the name is good only as long as the transaction that gave it.
        with connection.transaction():
            row = connection.execute(SQL["export_snapshot"]).fetchone()
            assert row is not None
            yield _Snapshot(connection, *row)
