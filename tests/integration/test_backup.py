"""Backups of a real Postgres: taken under writes, restored whole into an empty place, refused where they must be."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cluster.verifying.sources import Sources
from cluster.verifying.verification import verify
from persistence.backup import tools
from persistence.backup.archive import write_archive
from persistence.backup.errors import BackupDamaged, BackupError, BackupRefused
from persistence.backup.manifest import FORMAT, Dump, Manifest, ShardHead
from persistence.backup.restore import open_backup, restore_backup
from persistence.backup.take import take_backup
from persistence.embedded.process import Deadline, wait_until
from persistence.migrate import migrate
from persistence.row_codec import decode
from persistence.statements import SQL
from persistence.whole_file import FileNotWritten, FileRefused
from portfolio.entries import Entry
from portfolio.errors import ShardUnavailable
from portfolio.ids import PortfolioId
from portfolio.ledger import replay
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy, deposit
from tests.oracles.rows import opened, portfolio, updated
from tests.support.file_size import files_of_at_most
from tests.support.shards import RunningShard, eventually, exactly, postgres_shard

PORTFOLIOS = 5
ROWS_PER_PORTFOLIO = 4

# Takes or restores a backup and says so once it is under way: its dump is cut after a first piece, for the test to act.
HALF_WAY = """
import sys, time
from pathlib import Path
from persistence.backup import tools
from persistence.backup.restore import open_backup, restore_backup
from persistence.backup.take import take_backup

def slowly(chunks):
    for chunk in chunks:
        yield chunk[: len(chunk) // 2]
        print("half-way", flush=True)
        time.sleep(600)

what, dsn, path = sys.argv[1:]
if what == "backup":
    dump = tools.dump
    tools.dump = lambda *arguments: slowly(dump(*arguments))
    take_backup(dsn, Path(path))
else:
    restore = tools.restore
    tools.restore = lambda dsn, chunks: restore(dsn, slowly(chunks))
    with open_backup(Path(path)) as archive:
        restore_backup(archive, dsn)
"""


@dataclass(slots=True)
class Writer:
    """Books into the portfolios of a running shard, one update after another, until told to stop."""

    running: RunningShard
    count: int = 0

    async def write(self) -> None:
        """Go on for ever."""
        for number in itertools.count():
            await self.running.book(updated(number % PORTFOLIOS, buy("1", str(1 + number % 7)), deposit("1")))
            self.count += 1


async def _filled(running: RunningShard) -> None:
    for number in range(PORTFOLIOS):
        await running.book(opened(number, cash="1000000"))
        await running.book(updated(number, buy("3", "1.5"), key=f"key-{number}"))


@pytest.fixture
async def filled(database: str) -> str:
    """The address of a database of one shard with some portfolios in it."""
    async with postgres_shard(database) as running:
        await _filled(running)
        await running.stop()
    return database


@pytest.fixture
def backup(filled: str, tmp_path: Path) -> Path:
    """A backup of it."""
    take_backup(filled, tmp_path / "backup")
    return tmp_path / "backup"


def _restore(path: Path, dsn: str) -> Manifest:
    with open_backup(path) as archive:
        restore_backup(archive, dsn)
        return archive.manifest


def _heads(dsn: str) -> tuple[ShardHead, ...]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select shard_id, head_seq, encode(head_hash, 'hex') from shards order by 1")
        return tuple(ShardHead(shard_id=shard, head_seq=seq, head_hash=text) for shard, seq, text in rows)


def _relations(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(SQL["select_relations"]).fetchall()


def _replayed(dsn: str, through_seq: int) -> dict[PortfolioId, str]:
    """Every book of shard 0 as its journal up to a row makes it."""
    entries: dict[PortfolioId, list[Entry]] = defaultdict(list)
    with psycopg.connect(dsn) as connection:
        connection.execute("set time zone 'UTC'")
        for row in map(
            decode,
            connection.execute(SQL["select_journal_tail"], {"shard_id": 0, "after_seq": 0, "until_seq": 2**63 - 1}),
        ):
            if row.seq <= through_seq:
                entries[row.entry.portfolio_id].append(row.entry)
    return {portfolio_id: exactly(replay(None, found)) for portfolio_id, found in entries.items()}


async def test_a_backup_under_writes_is_the_journal_up_to_its_heads_and_the_restored_shard_writes_on(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with postgres_shard(database) as running:
        await _filled(running)
        writer = Writer(running)
        writing = asyncio.ensure_future(writer.write())
        await eventually(lambda: writer.count > 50)
        before = writer.count
        manifest = await asyncio.to_thread(take_backup, database, tmp_path / "backup")
        during = writer.count
        await eventually(lambda: writer.count > during + 50)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    (head,) = manifest.contents.shards
    assert during > before
    assert 0 < head.head_seq < _heads(database)[0].head_seq

    await asyncio.to_thread(_restore, tmp_path / "backup", empty_database)
    assert _heads(empty_database) == manifest.contents.shards
    report = await verify(Sources(postgres_dsn=empty_database, owners=None, mirror=None, left_out={}), deep=True)
    assert (list(report.findings.kept), report.exit_status) == ([], 0)
    async with postgres_shard(empty_database) as restored:
        books = {book.portfolio_id: exactly(book) for book in restored.shard.books}
        assert books == _replayed(database, head.head_seq)
        await restored.book(updated(1, deposit("5")))
        await restored.kill()
    async with postgres_shard(empty_database) as again:
        assert (
            exactly(again.shard.books.get(portfolio(1))) == _replayed(empty_database, head.head_seq + 1)[portfolio(1)]
        )


def test_a_backup_is_private_and_read_by_common_tools(backup: Path, tmp_path: Path) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["backup"]
    subprocess.run(["tar", "-xf", backup, "-C", tmp_path], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "manifest.json.sha256"], cwd=tmp_path, check=True)
    manifest = msgspec.json.decode((tmp_path / "manifest.json").read_bytes(), type=Manifest)
    assert manifest.format == FORMAT
    assert manifest.contents.rows == {
        "journal": PORTFOLIOS * ROWS_PER_PORTFOLIO - PORTFOLIOS,
        "portfolios": PORTFOLIOS,
        "positions": PORTFOLIOS,
        "marks": 0,
        "quarantine": 0,
        "instrument_prices": 0,
    }
    listing = subprocess.run(
        ["sha256sum", tmp_path / "portfolio.dump"], check=True, capture_output=True, text=True
    ).stdout
    assert listing.split()[0] == manifest.dump.sha256


def test_a_restored_shard_is_nobodys_and_its_epoch_is_beyond_any_of_the_old_cluster(
    filled: str, backup: Path, empty_database: str
) -> None:
    _restore(backup, empty_database)
    question = "select owner, answering, actor, renewed_at, epoch from shards"
    with psycopg.connect(filled) as old, psycopg.connect(empty_database) as new:
        ((*_, old_epoch),) = old.execute(question).fetchall()
        ((*named, new_epoch),) = new.execute(question).fetchall()
    assert named == [None] * 4
    assert new_epoch == old_epoch + 1_000_000


def test_a_doubling_under_way_is_backed_up_as_far_as_it_came(
    filled: str, inspector: Inspector, empty_database: str, tmp_path: Path
) -> None:
    inspector.do("update cluster set doubling_to = 2")
    # A shard that has branched off and has no row of its own yet ends where its parent was split.
    inspector.do(
        "insert into shards (shard_id, modulus, parent_shard, branch_seq, branch_hash, head_seq, head_hash)"
        " select 1, 2, shard_id, head_seq, head_hash, head_seq, head_hash from shards"
    )
    take_backup(filled, tmp_path / "backup")
    _restore(tmp_path / "backup", empty_database)
    assert _heads(empty_database) == _heads(filled)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select shard_count, doubling_to from cluster").fetchall() == [(1, 2)]


def test_an_existing_file_is_overwritten_by_force_alone(filled: str, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_text("precious")
    with pytest.raises(FileRefused, match="exists already"):
        take_backup(filled, path)
    assert path.read_text() == "precious"
    take_backup(filled, path, overwrite=True)
    with open_backup(path) as archive:
        assert archive.manifest.contents.shards == _heads(filled)


def test_a_place_that_cannot_be_written_is_named(filled: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotWritten, match="missing/backup cannot be written: No such file or directory"):
        take_backup(filled, tmp_path / "missing" / "backup")
    with pytest.raises(FileRefused, match="is a directory"):
        take_backup(filled, tmp_path, overwrite=True)


def test_a_full_disk_leaves_nothing(filled: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotWritten, match="cannot be written: File too large"), files_of_at_most(1_000):
        take_backup(filled, tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_a_service_is_not_backed_up(empty_database: str, database: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="holds nothing of the portfolio state service"):
        take_backup(empty_database, tmp_path / "backup")
    with pytest.raises(BackupError, match="holds no cluster yet"):
        take_backup(database, tmp_path / "backup")
    migrate(empty_database, through=1)
    with pytest.raises(BackupError, match=r"schema ends with 0001_initial\.sql, this version's with"):
        take_backup(empty_database, tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_does_not_end_with_its_head_is_not_backed_up(
    filled: str, inspector: Inspector, tmp_path: Path
) -> None:
    inspector.do("delete from journal where seq = (select max(seq) from journal)")
    with pytest.raises(BackupError, match="shard 0: its head is row 15 but its journal ends at row 14"):
        take_backup(filled, tmp_path / "backup")


def test_an_unreachable_postgres_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ShardUnavailable, match="Postgres failed while backing up the database"):
        take_backup(f"host={tmp_path} dbname=portfolio", tmp_path / "backup")


def test_a_database_with_anything_in_it_is_left_alone(backup: Path, database: str, empty_database: str) -> None:
    before = _heads(database)
    with pytest.raises(
        BackupRefused, match=r"not empty, it has public\.cluster, public\.instrument_prices, public\.journal, \.\.\."
    ):
        _restore(backup, database)
    assert _heads(database) == before
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("create schema theirs; create table theirs.something (x int)")
    with pytest.raises(BackupRefused, match=r"it has theirs\.something: "):
        _restore(backup, empty_database)


def test_a_second_restore_into_one_place_is_refused(backup: Path, empty_database: str) -> None:
    _restore(backup, empty_database)
    with pytest.raises(BackupRefused, match="not empty"):
        _restore(backup, empty_database)


def test_a_place_that_a_service_is_setting_up_is_left_alone(backup: Path, empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute(SQL["lock_migrations"])
        with pytest.raises(BackupRefused, match="is setting up this database"):
            _restore(backup, empty_database)


def test_wherever_a_backup_is_cut_it_is_refused(backup: Path) -> None:
    content = backup.read_bytes()
    chance = random.Random(1)
    # The last two blocks are the end that a tar may do without.
    cuts = [0, 1, 511, 512, 600, *(chance.randrange(len(content) - 1024) for _ in range(40))]
    for cut in cuts:
        backup.write_bytes(content[:cut])
        with pytest.raises(BackupDamaged), open_backup(backup):
            pytest.fail(f"cut at {cut}")


def test_whichever_byte_is_flipped_the_backup_is_refused(backup: Path) -> None:
    """But for three of each header's checksum, that say the same with other bits."""
    content = backup.read_bytes()
    with tarfile.open(backup) as tar:
        parts = [range(found.offset, found.offset_data + found.size) for found in tar.getmembers()]
    # A header's checksum is a number in text: tar takes a blank for the first zero, and reads no further than the end.
    looked_at = [[place for place in part if place - part[0] not in (148, 154, 155)] for part in parts]
    chance = random.Random(2)
    for place in itertools.chain.from_iterable((part[0], part[-1], *chance.sample(part, 60)) for part in looked_at):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        backup.write_bytes(damaged)
        # A flip in the format's number makes it a later one; the checksum is looked at first.
        with pytest.raises(BackupDamaged), open_backup(backup):
            pytest.fail(f"flipped at {place}")


def test_a_file_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with pytest.raises(BackupError, match="backup cannot be read: No such file"), open_backup(path):
        pass
    path.write_bytes(b"PGDMP" + bytes(5_000))
    with pytest.raises(BackupDamaged, match="no whole backup"), open_backup(path):
        pass


def _rewritten(path: Path, **changes: object) -> None:
    """The backup with another manifest, all checksums right."""
    with open_backup(path) as archive:
        chunks, manifest = list(archive.dump()), archive.manifest

    def describe(dump: Dump) -> Manifest:
        assert dump == manifest.dump
        return msgspec.structs.replace(manifest, **changes)

    with path.open("wb") as file:
        write_archive(file, chunks, describe)


def test_a_newer_schema_or_format_is_refused(backup: Path) -> None:
    with open_backup(backup) as archive:
        contents = archive.manifest.contents
    newer = msgspec.structs.replace(contents, migrations=(*contents.migrations, "0099_next.sql"))
    _rewritten(backup, contents=newer)
    with pytest.raises(BackupRefused, match=r"newer than this version's, which does not know 0099_next\.sql"):
        _restore(backup, "")


def test_a_newer_format_is_refused(backup: Path) -> None:
    _rewritten(backup, format=FORMAT + 1)
    with pytest.raises(BackupRefused, match="format 2, this version reads 1"):
        _restore(backup, "")


def test_a_restore_that_is_not_what_the_manifest_says_leaves_the_place_empty(backup: Path, empty_database: str) -> None:
    with open_backup(backup) as archive:
        contents = archive.manifest.contents
    _rewritten(backup, contents=msgspec.structs.replace(contents, rows=contents.rows | {"journal": 7}))
    with pytest.raises(BackupDamaged, match=r"'journal': 15.* but .*'journal': 7"):
        _restore(backup, empty_database)
    assert _relations(empty_database) == []


def test_a_restore_that_postgres_refuses_half_way_leaves_the_place_empty(backup: Path, empty_database: str) -> None:
    with open_backup(backup) as archive, closing(archive.dump()) as whole:
        chunk = next(whole)
    with pytest.raises(BackupError, match="pg_restore failed"):
        tools.restore(empty_database, [chunk[: len(chunk) // 2]])
    assert _relations(empty_database) == []


def test_pg_dump_says_why_it_fails(filled: str) -> None:
    with pytest.raises(BackupError, match=r"pg_dump failed: .*invalid snapshot identifier"):
        list(tools.dump(filled, "nonsense"))


@contextmanager
def _half_way(what: str, dsn: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HALF_WAY, what, dsn, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "half-way\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_killed_backup_leaves_no_file_under_its_name(filled: str, tmp_path: Path) -> None:
    with _half_way("backup", filled, tmp_path / "backup") as child:
        child.send_signal(signal.SIGKILL)
    assert not (tmp_path / "backup").exists()
    assert all(found.name.startswith(".backup.unfinished-") for found in tmp_path.iterdir())


def _is_free(dsn: str) -> bool:
    """Whether nobody else is connected to a database."""
    with psycopg.connect(dsn) as connection:
        others = "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        return not connection.execute(others).fetchall()


def test_a_killed_restore_leaves_the_place_empty(backup: Path, empty_database: str) -> None:
    with _half_way("restore", empty_database, backup) as child:
        child.send_signal(signal.SIGKILL)
    # Its connections end when Postgres notices; its tables were never committed.
    assert wait_until(lambda: _is_free(empty_database), Deadline.after(30))
    assert _relations(empty_database) == []
    _restore(backup, empty_database)
    with open_backup(backup) as archive:
        assert _heads(empty_database) == archive.manifest.contents.shards


def test_a_password_is_never_on_a_command_line(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    popen = subprocess.Popen

    def spied(command: list[Any], **how: Any) -> subprocess.Popen[bytes]:
        seen.append([os.fspath(word) for word in command])
        assert how["env"]["PGPASSWORD"] == "hunter2"
        return popen(command, **how)

    monkeypatch.setattr(subprocess, "Popen", spied)
    with pytest.raises(BackupError, match="pg_dump failed"):
        list(tools.dump(make_conninfo(filled, password="hunter2", passfile="/dev/null"), "nonsense"))
    assert seen
    assert not [word for command in seen for word in command if "hunter2" in word]
