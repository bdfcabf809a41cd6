"""What a backup says about itself, read in the very snapshot that was dumped."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from persistence.backup.errors import BackupDamaged, BackupError, BackupRefused
from persistence.migrate import migrations
from persistence.statements import SQL

FORMAT: Final = 1


class ShardHead(msgspec.Struct, frozen=True, kw_only=True):
    """Where a shard's journal ends; the hash, in hexadecimal, stands for every row up to there."""

    shard_id: int
    head_seq: int
    head_hash: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a database holds: `migrations` are the names of those applied, `rows` are counted by table."""

    migrations: tuple[str, ...]
    shard_count: int
    shards: tuple[ShardHead, ...]
    rows: dict[str, int]


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """The dump as it stands in the file."""

    sha256: str
    size_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that a restore checks. `taken_at` is the server's time of the snapshot."""

    format: int
    service_version: str
    postgres_version: str
    taken_at: datetime
    contents: Contents
    dump: Dump

    def encoded(self) -> bytes:
        """As JSON for people to read."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decoded(content: bytes) -> Manifest:
    """The manifest of that JSON. Raises BackupDamaged, or BackupRefused if a later version wrote it."""
    try:
        # Asked for alone first: of a later format nothing else is known.
        found = msgspec.json.decode(content, type=_Format).format
        if found > FORMAT:
            raise BackupRefused(
                f"the backup has format {found}, this version reads {FORMAT}: restore it with a newer one"
            )
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise BackupDamaged(f"the backup's manifest cannot be read: {error}") from error


class _Format(msgspec.Struct):
    format: int


def read_contents(connection: psycopg.Connection[tuple[Any, ...]]) -> Contents:
    """What the connection's snapshot holds. Raises BackupError if that is no sound database of this version.

    A backup whose journals do not end where their shards say could not be restored, so it is not taken.
    """
    applied = _applied_migrations(connection)
    cluster = connection.execute(SQL["select_cluster"]).fetchone()
    if cluster is None:
        raise BackupError("the database holds no cluster yet")
    return Contents(
        migrations=applied,
        shard_count=cluster[0],
        shards=tuple(_head(*row) for row in connection.execute(SQL["select_heads"])),
        rows=dict(connection.execute(SQL["count_rows"]).fetchall()),
    )


def _applied_migrations(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, ...]:
    try:
        applied = tuple(name for (name,) in connection.execute(SQL["select_migration_names"]))
    except psycopg.errors.UndefinedTable as error:
        raise BackupError("the database holds nothing of the portfolio state service") from error
    if applied != (known := tuple(step.name for step in migrations())):
        raise BackupError(
            f"the database's schema ends with {applied[-1] if applied else 'nothing'}, this version's with {known[-1]}: "
            "back it up with the version that wrote it"
        )
    return applied


def _head(shard_id: int, head_seq: int, head_hash: str, journal_seq: int, journal_hash: str) -> ShardHead:
    if (head_seq, head_hash) != (journal_seq, journal_hash):
        raise BackupError(
            f"shard {shard_id}: its head is row {head_seq} but its journal ends at row {journal_seq}, or with another "
            "hash; `portfolio-state verify` tells more"
        )
    return ShardHead(shard_id=shard_id, head_seq=head_seq, head_hash=head_hash)


def require_known_schema(contents: Contents) -> None:
    """Raises BackupRefused if the backup has a migration that this version does not know."""
    known = {step.name for step in migrations()}
    if unknown := [name for name in contents.migrations if name not in known]:
        raise BackupRefused(
            f"the backup's schema is newer than this version's, which does not know {', '.join(unknown)}: "
            "restore it with the version that took it, or a newer one"
        )
