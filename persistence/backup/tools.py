"""pg_dump and pg_restore, fed and read through pipes; no password is ever on their command lines."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from psycopg import pq
from psycopg.conninfo import make_conninfo

from persistence.backup.archive import CHUNK_BYTES
from persistence.backup.errors import BackupError
from persistence.embedded.binaries import postgres_binaries
from persistence.postgres import conninfo

_SAID_CHARACTERS_MAX: Final = 2_000
# Owners and privileges belong to the place, not to the data; extensions are for an administrator to install.
_DUMP: Final = ("--format=custom", "--compress=gzip:1", "--no-owner", "--no-privileges", "--exclude-extension=*")
# One transaction: whatever ends it half-way, the database is as empty as before.
_RESTORE: Final = ("--format=custom", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")


def dump(dsn: str, snapshot: str) -> Generator[bytes, None, None]:
    """The database as it is in an exported snapshot, in pg_dump's custom format, piece by piece. Raises BackupError."""
    with _running("pg_dump", (*_DUMP, f"--snapshot={snapshot}"), dsn) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(CHUNK_BYTES):
            yield chunk


def restore(dsn: str, chunks: Iterable[bytes]) -> None:
    """Put a dump into an empty database, all of it or nothing. Raises BackupError."""
    with _running("pg_restore", _RESTORE, dsn) as process:
        assert process.stdin is not None
        # Whoever does not listen any more has said why.
        with suppress(BrokenPipeError):
            for chunk in chunks:
                process.stdin.write(chunk)


@contextmanager
def _running(tool: str, options: Iterable[str], dsn: str) -> Iterator[subprocess.Popen[bytes]]:
    """The tool, connected to a database, killed if the block fails. Raises BackupError unless it ends well."""
    address, secrets = _without_secrets(conninfo(dsn))
    command: list[str | Path] = [postgres_binaries().bin / tool, *options, "--no-password", f"--dbname={address}"]
    # A file: a pipe that nobody reads meanwhile could fill up and hold the tool.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=os.environ | secrets, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
        )
        try:
            yield process
        except BaseException:
            # Before its input is closed, which it could take for the dump's end.
            process.kill()
            raise
        finally:
            _ended(process)
        if process.returncode != 0:
            raise BackupError(f"{tool} failed: {_tail(said)}")


def _ended(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _without_secrets(address: str) -> tuple[str, Mapping[str, str]]:
    """An address that anybody may see in a list of processes, and the environment that completes it."""
    shown, hidden = {}, {}
    for option in pq.Conninfo.parse(address.encode()):
        if option.val is None:
            continue
        keyword, value = option.keyword.decode(), option.val.decode()
        if option.dispchar != b"*":
            shown[keyword] = value
        elif option.envvar is not None:
            hidden[option.envvar.decode()] = value
        else:
            raise BackupError(f"{keyword} can be given to pg_dump in a connection service file only")
    return make_conninfo(**shown), hidden


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace").strip()[-_SAID_CHARACTERS_MAX:] or "it said nothing"
