"""`portfolio-state backup` and `restore` as an operator runs them, on the embedded Postgres of a data directory."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cluster.verifying.sources import Sources
from cluster.verifying.verification import verify
from persistence.data_dir_lock import DataDirLock
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.migrate import migrate
from portfolio.sharding import shard_of
from tests.oracles.builders import buy
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import postgres_shard

pytestmark = pytest.mark.timeout(180)

COMMAND = Path(sys.executable).with_name("portfolio-state")


def _run(data_dir: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PORTFOLIO_")}
    return subprocess.run(
        [COMMAND, *arguments],
        env=own | {"PORTFOLIO_DATA_DIR": str(data_dir), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def top(servers_dir: Path) -> Path:
    """A directory of the test's own that the user who runs Postgres can pass through."""
    path = Path(tempfile.mkdtemp(dir=servers_dir))
    path.chmod(0o711)
    return path


@contextmanager
def _serving(data_dir: Path) -> Iterator[str]:
    """A data directory held, and its Postgres run, as a service does."""
    data_dir.mkdir(mode=0o711, exist_ok=True)
    with DataDirLock(data_dir), EmbeddedPostgres(data_dir) as server:
        migrate(server.dsn)
        yield server.dsn


def _everything(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select * from journal order by shard_id, seq").fetchall()


async def _book(dsn: str) -> None:
    for shard_id in range(2):
        async with postgres_shard(dsn, shard_id=shard_id, shard_count=2) as running:
            number = next(one for one in itertools.count() if shard_of(portfolio(one), 2) == shard_id)
            await running.book(opened(number, cash="1000"))
            await running.book(updated(number, buy("2", "1.25")))
            await running.stop()


async def test_a_backup_of_a_running_service_is_restored_into_a_new_data_directory(top: Path) -> None:
    old, new, file = top / "old", top / "new", top / "file"
    with _serving(old) as dsn:
        await _book(dsn)
        before = _everything(dsn)
        done = _run(old, "backup", file)
        assert (done.returncode, "6 journal rows in 2 shards" in done.stdout) == (0, True), done.stdout
        refused = _run(old, "restore", file)
        assert (refused.returncode, "in use by the service" in refused.stdout) == (1, True), refused.stdout
    done = _run(new, "restore", file)
    assert done.returncode == 0, done.stdout
    assert "portfolio-state verify" in done.stdout
    refused = _run(new, "restore", file)
    assert (refused.returncode, "the database is not empty" in refused.stdout) == (1, True), refused.stdout
    with _serving(new) as dsn:
        assert _everything(dsn) == before
        found = await verify(Sources(postgres_dsn=dsn, owners=None, mirror=None, left_out={}), deep=True)
        assert (list(found.findings.kept), found.exit_status) == ([], 0)
        async with postgres_shard(dsn, shard_id=1, shard_count=2) as running:
            assert [book.version for book in running.shard.books] == [3]


@pytest.mark.soak
async def test_a_data_directory_without_a_service_is_backed_up_and_left_stopped(top: Path) -> None:
    with _serving(top / "data") as dsn:
        await _book(dsn)
    done = _run(top / "data", "backup", top / "file")
    assert (done.returncode, "6 journal rows" in done.stdout) == (0, True), done.stdout
    assert not (top / "data" / "postgres" / "data" / "postmaster.pid").exists()
    refused = _run(top / "data", "backup", top / "file")
    assert (refused.returncode, "--force overwrites it" in refused.stdout) == (1, True), refused.stdout
    assert _run(top / "data", "backup", "--force", top / "file").returncode == 0


def test_a_data_directory_that_never_served_is_not_backed_up_nor_made(top: Path) -> None:
    done = _run(top / "data", "backup", top / "file")
    assert (done.returncode, "There is no database" in done.stdout) == (1, True), done.stdout
    assert list(top.iterdir()) == []


def test_a_damaged_backup_makes_no_data_directory(top: Path) -> None:
    (top / "file").write_bytes(b"something else")
    done = _run(top / "data", "restore", top / "file")
    assert (done.returncode, "is no whole backup" in done.stdout) == (1, True), done.stdout
    assert not (top / "data").exists()
