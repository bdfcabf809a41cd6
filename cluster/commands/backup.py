"""`portfolio-state backup FILE` and `portfolio-state restore FILE`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cluster.database import database_of_ours, existing_database
from cluster.settings import Settings
from persistence.backup.errors import BackupError
from persistence.backup.manifest import Manifest
from persistence.backup.restore import open_backup, restore_backup
from persistence.backup.take import take_backup
from persistence.embedded.errors import EmbeddedServerError
from persistence.whole_file import FileNotWritten
from portfolio.errors import PortfolioError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
def backup(file: Path, force: bool) -> None:
    """Write a consistent backup of the database to FILE, while the service serves or while it is stopped.

    FILE holds everything, the cluster's link secret included: keep it where the data could be kept.
    """
    with _orderly_end(), existing_database(Settings(), click.echo) as dsn:
        manifest = take_backup(dsn, file, overwrite=force)
    click.echo(f"{file}: {_described(manifest)}; {manifest.dump.size_bytes:,} bytes")


@click.command()
@click.argument("file", type=_FILE)
def restore(file: Path) -> None:
    """Restore the backup in FILE into an empty data directory, or the empty database at PORTFOLIO_POSTGRES_DSN."""
    with _orderly_end(), open_backup(file) as archive:
        click.echo(f"{file} is whole: {_described(archive.manifest)}")
        with database_of_ours(Settings(), click.echo) as dsn:
            restore_backup(archive, dsn)
    click.echo("restored; every journal ends with the row and the hash that the backup names\nnow:")
    click.echo("  portfolio-state up              (with the same PORTFOLIO_ settings)")
    click.echo("  portfolio-state verify --deep   (recomputes every portfolio from its journal)")
    click.echo("What was acknowledged after the backup is gone: see docs/operations.md, Backup and restore.")


@contextmanager
def _orderly_end() -> Iterator[None]:
    """TERM cleans up as Ctrl-C does, and what is wrong is said in a line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (BackupError, EmbeddedServerError, FileNotWritten, PortfolioError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _described(manifest: Manifest) -> str:
    contents = manifest.contents
    return (
        f"taken at {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"{contents.rows['journal']:,} journal rows in {len(contents.shards)} shards"
    )
