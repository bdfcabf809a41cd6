"""`verify` says of a sound cluster that it is sound, and of a corrupted one what is corrupt and where."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple

import pytest
from psycopg_pool import AsyncConnectionPool
from redis import Redis

from cluster.verifying import memory
from cluster.verifying.findings import Kind
from cluster.verifying.report import Report
from cluster.verifying.sources import Sources
from cluster.verifying.verification import verify
from persistence.mirror_reader import MirrorReader
from persistence.row_codec import decode, rehashed
from persistence.statements import SQL
from portfolio.commands import Command
from portfolio.entries import Booked
from portfolio.errors import ShardUnavailable
from portfolio.ids import PortfolioId
from tests.integration.conftest import Inspector
from tests.oracles.builders import X, buy, sell, transaction
from tests.oracles.rows import opened, portfolio, updated
from tests.support.stored import MemoryOwners, StoredCluster

PORTFOLIOS = 12
SETTLE_S = 0.15


@pytest.fixture
async def stored(database: str, pool: AsyncConnectionPool[Any]) -> AsyncIterator[StoredCluster]:
    """Shards 0 and 1 of two, of which 0 has branched into 0 and 2 of four; checkpoints behind, in part before the branch."""
    cluster = StoredCluster(database, pool, {0: 2, 1: 2})
    commands: list[Command] = []
    numbers = range(PORTFOLIOS)
    for number in numbers:
        lot = buy("3", "7"), buy("1", "8")
        commands += [opened(number, cash="1000", key="open"), updated(number, *lot, key="a")]
    await cluster.book(*commands)
    for shard in (0, 1):
        await cluster.save(shard)
    lot = sell("1", "9"), transaction("BUY", "Y", "2", "3.5")
    await cluster.book(*(updated(number, *lot, key="b") for number in numbers[::3]))
    await cluster.branch(0)
    await cluster.book(*(updated(number, buy("0.5", "10"), key="c") for number in numbers))
    await cluster.book(*(updated(number, sell("1", "11")) for number in numbers))
    await cluster.save(1)
    await cluster.book(*(updated(number) for number in numbers))
    yield cluster
    await cluster.close()


@pytest.fixture
def owners(stored: StoredCluster) -> MemoryOwners:
    """Owners who have in memory what is stored."""
    return MemoryOwners(stored, dict(stored.scribe.books))


@pytest.fixture
async def mirror(stored: StoredCluster, redis_url: str) -> AsyncIterator[MirrorReader]:
    """A mirror that shows what is stored."""
    await stored.mirror(redis_url)
    reader = MirrorReader(redis_url)
    yield reader
    await reader.close()


@pytest.fixture
def valkey(redis_url: str) -> Iterator[Redis]:
    """A way to tamper with the mirror."""
    with Redis.from_url(redis_url) as client:
        yield client


async def _verified(
    stored: StoredCluster,
    owners: MemoryOwners | None = None,
    mirror: MirrorReader | None = None,
    *,
    deep: bool = False,
) -> Report:
    sources = Sources(postgres_dsn=stored.dsn, owners=owners, mirror=mirror, settle_s=SETTLE_S)
    return await verify(sources, deep=deep)


def _said(report: Report, kind: Kind) -> list[str]:
    return [str(found) for found in report.findings.kept if found.kind is kind]


@pytest.mark.parametrize("deep", [False, True])
async def test_a_sound_cluster_is_consistent_everywhere(
    stored: StoredCluster, owners: MemoryOwners, mirror: MirrorReader, inspector: Inspector, deep: bool
) -> None:
    report = await _verified(stored, owners, mirror, deep=deep)
    assert [str(found) for found in report.findings.kept] == []
    assert (report.consistency, report.exit_status) == ("100.0000", 0)
    counts = report.counts
    assert (counts.shards, counts.portfolios, counts.rows) == (
        3,
        PORTFOLIOS,
        inspector.one("select count(*) from journal"),
    )
    assert counts.checkpoint == counts.memory == counts.mirror == PORTFOLIOS
    assert counts.memory_positions == sum(len(book.positions) for book in stored.scribe.books.values())
    assert counts.checkpoint_positions == inspector.one("select count(*) from positions")
    assert counts.documents == (PORTFOLIOS if deep else 0)
    # Every shard has portfolios, and the branch has rows on both sides of its parent's checkpoint.
    assert all(stored.portfolios(shard) for shard in (0, 1, 2))
    assert inspector.one("select count(*) from shards where checkpoint_seq < branch_seq") == 1


async def test_what_is_stored_is_verified_without_a_service(stored: StoredCluster, mirror: MirrorReader) -> None:
    alone = await _verified(stored, deep=True)
    assert (alone.exit_status, alone.counts.memory, alone.counts.mirror) == (0, 0, 0)
    mirrored = await _verified(stored, mirror=mirror, deep=True)
    assert (mirrored.exit_status, mirrored.counts.mirror) == (0, PORTFOLIOS)


async def test_an_empty_cluster_is_consistent_and_none_at_all_is_an_error(
    database: str, pool: AsyncConnectionPool[Any], empty_database: str
) -> None:
    assert (await verify(Sources(postgres_dsn=database), deep=True)).exit_status == 0
    with pytest.raises(ShardUnavailable, match="shards"):
        await verify(Sources(postgres_dsn=empty_database), deep=False)


SHARD = 1


class Planted(NamedTuple):
    """A corruption, the kind of difference that it is, and what must be said of it."""

    name: str
    statement: LiteralString
    kind: Kind
    words: str


PLANTED: list[Planted] = [
    Planted(
        "a changed amount",
        "update journal set value = value + 1 where shard_id = 1 and seq = 12",
        Kind.JOURNAL_HASH,
        "row 12",
    ),
    Planted(
        "a changed time",
        "update journal set effective_at = effective_at + interval '1 day' where shard_id = 1 and seq = 12",
        Kind.JOURNAL_HASH,
        "row 12",
    ),
    Planted(
        "a deleted row",
        "delete from journal where shard_id = 1 and seq = 12",
        Kind.JOURNAL_GAP,
        "missing before it: 12",
    ),
    Planted(
        "deleted rows",
        "delete from journal where shard_id = 1 and seq between 12 and 14",
        Kind.JOURNAL_GAP,
        "missing before it: 12 to 14",
    ),
    Planted(
        "the last row deleted",
        "delete from journal where shard_id = 1 and seq = (select head_seq from shards where shard_id = 1)",
        Kind.JOURNAL_HEAD,
        "last row is",
    ),
    Planted(
        "another head",
        "update shards set head_hash = '\\x00' where shard_id = 1",
        Kind.JOURNAL_HEAD,
        "hash of the last row is",
    ),
    Planted(
        "an older epoch",
        "update journal set epoch = 0 where shard_id = 1 and seq = 12",
        Kind.JOURNAL_EPOCH,
        "epoch is 0",
    ),
    Planted(
        "an epoch to come",
        "update journal set epoch = 7 where shard_id = 1 and seq = 12",
        Kind.JOURNAL_EPOCH,
        "epoch is 7",
    ),
    Planted(
        "a detail that is none",
        "update journal set detail = '[1]' where shard_id = 1 and seq = 12",
        Kind.JOURNAL_UNREADABLE,
        "row 12",
    ),
    Planted(
        "a time without end",
        "update journal set recorded_at = 'infinity' where shard_id = 1 and seq = 12",
        Kind.JOURNAL_UNREADABLE,
        "row 12",
    ),
    Planted(
        "a number that is none",
        "update journal set quantity = 'NaN' where shard_id = 1 and seq = 12",
        Kind.JOURNAL_HASH,
        "row 12",
    ),
    Planted(
        "a row of no shard",
        "update journal set shard_id = 9 where shard_id = 1 and seq = 12",
        Kind.JOURNAL_SHARD,
        "shard 9",
    ),
    Planted(
        "a branch that does not fit",
        "update shards set branch_hash = '\\x00' where shard_id = 2",
        Kind.JOURNAL_BRANCH,
        "shard 2",
    ),
    Planted(
        "a row before the branch",
        "update journal set seq = 1 where shard_id = 2 and seq = (select head_seq from shards where shard_id = 2)",
        Kind.JOURNAL_ORDER,
        "shard 2, row 1",
    ),
    Planted(
        "a stale checkpoint",
        "update portfolios set version = version - 1 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_STALE,
        "version is",
    ),
    Planted(
        "a checkpoint ahead",
        "update shards set checkpoint_seq = head_seq + 1 where shard_id = 1",
        Kind.CHECKPOINT_AHEAD,
        "checkpoint_seq",
    ),
    Planted(
        "a checkpoint that says it is newer",
        "update shards set checkpoint_seq = head_seq where shard_id = 1",
        Kind.CHECKPOINT_STALE,
        "version is",
    ),
    Planted(
        "a changed total",
        "update portfolios set cash = cash + 0.01 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_DIFFERS,
        "cash is",
    ),
    Planted(
        "a changed cost",
        "update positions set cost_basis = cost_basis + 1 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_DIFFERS,
        "positions[X].cost_basis is",
    ),
    Planted(
        "a missing position",
        "delete from positions where portfolio_id = {portfolio} and instrument_id = 'X'",
        Kind.CHECKPOINT_DIFFERS,
        "positions[X] is nothing, expected",
    ),
    Planted(
        "a surplus position",
        "insert into positions (portfolio_id, instrument_id, position_type, quantity, cost_basis, realized_pnl,"
        " trade_mark_price, trade_mark_time, mark_price, market_value, weight, unrealized_pnl, last_updated)"
        " values ({portfolio}, 'Z', 'LONG', 1, 1, 0, 1, now(), 1, 1, 0, 0, now())",
        Kind.CHECKPOINT_DIFFERS,
        "positions[Z] is 1.00000000 units, expected nothing",
    ),
    Planted(
        "a missing portfolio",
        "with gone as (delete from positions where portfolio_id = {portfolio})"
        " update portfolios set shard_id = 0 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_MISSING,
        "version is no such portfolio",
    ),
    Planted(
        "a surplus portfolio",
        "insert into portfolios (shard_id, portfolio_id, name, base_currency, allow_short, status, version, total_value, cash,"
        " realized_pnl, income, fees, taxes, net_deposits, transfers_at_cost, created_at, updated_at)"
        " values (1, 'GHOST', 'g', 'USD', true, 'ACTIVE', 1, 0, 0, 0, 0, 0, 0, 0, 0, now(), now())",
        Kind.CHECKPOINT_SURPLUS,
        "GHOST",
    ),
    Planted(
        "a quarantined portfolio",
        "insert into quarantine (portfolio_id, shard_id, reason) values ({portfolio}, 1, 'it looked at me')",
        Kind.QUARANTINED,
        "it looked at me",
    ),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
async def test_a_planted_corruption_is_named(
    stored: StoredCluster, owners: MemoryOwners, inspector: Inspector, planted: Planted
) -> None:
    name = stored.portfolios(SHARD)[0]
    inspector.do(planted.statement.replace("{portfolio}", f"'{name}'"))
    report = await _verified(stored, owners)
    assert any(planted.words in said for said in _said(report, planted.kind)), report.findings.kept
    assert report.exit_status == 1
    assert report.consistency != "100.0000"


async def test_a_changed_amount_is_named_in_the_row_and_wherever_it_shows(
    stored: StoredCluster, owners: MemoryOwners, inspector: Inspector
) -> None:
    inspector.do("update journal set value = value + 1 where shard_id = 1 and seq = 12")
    name = inspector.one("select portfolio_id from journal where shard_id = 1 and seq = 12")
    report = await _verified(stored, owners)
    assert {found.kind for found in report.findings.kept} >= {
        Kind.JOURNAL_HASH,
        Kind.CHECKPOINT_DIFFERS,
        Kind.MEMORY_DIFFERS,
    }
    assert report.findings.portfolios == {name}
    assert len(_said(report, Kind.JOURNAL_HASH)) == 1
    assert report.consistency == "91.6666"


async def test_a_changed_amount_with_a_hash_made_to_fit_is_named_by_the_row_after_it(
    stored: StoredCluster, inspector: Inspector
) -> None:
    rows = [
        decode(row)
        for row in inspector.rows(
            SQL["select_journal_tail"]
            .replace("%(shard_id)s", "1")
            .replace("%(after_seq)s", "0")
            .replace("%(until_seq)s", "1000")
        )
    ]
    before, row = rows[10], rows[11]
    assert isinstance(row.entry, Booked)
    changed = replace(row, entry=replace(row.entry, value=row.entry.value + 1))
    inspector.do(
        "update journal set value = value + 1, row_hash = %s where shard_id = 1 and seq = 12",
        rehashed(changed, before.row_hash),
    )
    report = await _verified(stored)
    assert [said.split(": ")[1] for said in _said(report, Kind.JOURNAL_HASH)] == [
        f"shard 1, row 13, {rows[12].entry.portfolio_id}"
    ]


async def test_two_rows_in_the_wrong_order_are_named(stored: StoredCluster, inspector: Inspector) -> None:
    for old, new in ((12, -1), (13, 12), (-1, 13)):
        inspector.do("update journal set seq = %s where shard_id = 1 and seq = %s", new, old)
    report = await _verified(stored)
    assert [found.seq for found in report.findings.kept if found.kind is Kind.JOURNAL_HASH] == [12, 13, 14]


async def test_a_row_in_the_wrong_shard_is_named(stored: StoredCluster, owners: MemoryOwners) -> None:
    stranger = int(stored.portfolios(0)[0].removeprefix("P-"))
    await stored.book(updated(stranger), shard=1)
    report = await _verified(stored, owners)
    (said,) = _said(report, Kind.JOURNAL_SHARD)
    assert f"P-{stranger}: shard is 1, expected 0" in said
    # A row of the parent's after the branch is as wrong, although rows before it are right.
    moved = int(stored.portfolios(2)[0].removeprefix("P-"))
    await stored.book(updated(moved), shard=0)
    assert f"P-{moved}: shard is 0, expected 2" in _said(await _verified(stored), Kind.JOURNAL_SHARD)[0]


async def test_an_unreadable_row_stops_neither_the_walk_nor_the_chain(
    stored: StoredCluster, inspector: Inspector
) -> None:
    inspector.do("update journal set recorded_at = 'infinity' where shard_id = 1 and seq in (5, 12)")
    inspector.do("update journal set detail = '[1]' where shard_id = 1 and seq = 20")
    last = inspector.one("select max(seq) from journal where shard_id = 1 and kind = 'BOOKED'")
    inspector.do("update journal set fee = fee + 1 where shard_id = 1 and seq = %s", last)
    report = await _verified(stored)
    assert [found.seq for found in report.findings.kept if found.kind is Kind.JOURNAL_UNREADABLE] == [5, 12, 20]
    assert [found.seq for found in report.findings.kept if found.kind is Kind.JOURNAL_HASH] == [last]
    assert report.counts.rows == inspector.one("select count(*) from journal")


DEEP: list[Planted] = [
    Planted(
        "a lost request hash",
        "update journal set request_hash = null where shard_id = 1 and seq = 3",
        Kind.JOURNAL_KEY,
        "row 3",
    ),
    Planted(
        "a key that breaks a command up",
        "update journal set idempotency_key = 'other' where shard_id = 1 and seq = 4",
        Kind.JOURNAL_KEY,
        "'other'",
    ),
    Planted(
        "a market value that does not follow",
        "update positions set market_value = market_value + 1 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_VALUES,
        "positions[X].market_value is",
    ),
    Planted(
        "a weight that does not follow",
        "update positions set weight = 1 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_VALUES,
        "positions[X].weight is 1.000000",
    ),
    Planted(
        "a total that does not follow",
        "update portfolios set total_value = total_value + 1 where portfolio_id = {portfolio}",
        Kind.CHECKPOINT_VALUES,
        "total_value is",
    ),
]


@pytest.mark.parametrize("planted", DEEP, ids=lambda planted: planted.name)
async def test_a_deep_verification_names_what_lies_deeper(
    stored: StoredCluster, inspector: Inspector, planted: Planted
) -> None:
    name = stored.portfolios(SHARD)[0]
    inspector.do(planted.statement.replace("{portfolio}", f"'{name}'"))
    assert not _said(await _verified(stored), planted.kind)
    report = await _verified(stored, deep=True)
    assert any(planted.words in said for said in _said(report, planted.kind)), report.findings.kept


async def test_an_index_that_lacks_a_row_is_named(stored: StoredCluster, inspector: Inspector) -> None:
    """A partial index in the place of the whole one leaves out rows, as a broken one would."""
    inspector.do("alter table journal drop constraint journal_version_key")
    inspector.do("alter table journal drop constraint journal_pkey")
    inspector.do("create unique index journal_pkey on journal (shard_id, seq)")
    inspector.do("create unique index journal_version_key on journal (portfolio_id, version)")
    assert (await _verified(stored, deep=True)).exit_status == 0
    # The index is told that it is whole again, which it is not.
    inspector.do("create table kept as select * from journal where shard_id = 1 and seq = 12")
    inspector.do("delete from journal where shard_id = 1 and seq = 12")
    for index in ("journal_pkey", "journal_version_key"):
        inspector.do("update pg_index set indisready = false where indexrelid = %s::regclass", index)
    inspector.do("insert into journal select * from kept")
    for index in ("journal_pkey", "journal_version_key"):
        inspector.do("update pg_index set indisready = true where indexrelid = %s::regclass", index)
    report = await _verified(stored, deep=True)
    said = _said(report, Kind.JOURNAL_INDEX)
    assert any("rows by the primary key" in words for words in said), report.findings.kept


Tamper = Callable[[dict[PortfolioId, Any], PortfolioId], None]


def _change_cash(books: dict[PortfolioId, Any], name: PortfolioId) -> None:
    books[name] = replace(books[name], cash=books[name].cash + 1)


def _change_quantity(books: dict[PortfolioId, Any], name: PortfolioId) -> None:
    held = books[name].positions
    books[name] = replace(books[name], positions={**held, X: replace(held[X], quantity=held[X].quantity + 1)})


def _forget(books: dict[PortfolioId, Any], name: PortfolioId) -> None:
    del books[name]


def _go_back(books: dict[PortfolioId, Any], name: PortfolioId) -> None:
    books[name] = replace(books[name], version=books[name].version - 1)


def _go_ahead(books: dict[PortfolioId, Any], name: PortfolioId) -> None:
    books[name] = replace(books[name], version=books[name].version + 1)


def _invent(books: dict[PortfolioId, Any], name: PortfolioId) -> None:
    books[PortfolioId("GHOST")] = replace(books[name], portfolio_id=PortfolioId("GHOST"))


@pytest.mark.parametrize(
    ("tamper", "kind", "words"),
    [
        (_change_cash, Kind.MEMORY_DIFFERS, "cash is"),
        (_change_quantity, Kind.MEMORY_DIFFERS, "positions[X].quantity is"),
        (_forget, Kind.MEMORY_MISSING, "version is no such portfolio"),
        (_go_back, Kind.MEMORY_STALE, "version is"),
        (_go_ahead, Kind.MEMORY_DIFFERS, "version is"),
        (_invent, Kind.MEMORY_SURPLUS, "GHOST"),
    ],
)
async def test_memory_that_differs_is_named(
    stored: StoredCluster, owners: MemoryOwners, tamper: Tamper, kind: Kind, words: str
) -> None:
    tamper(owners.books_held, stored.portfolios(SHARD)[0])
    report = await _verified(stored, owners)
    assert [words in said for said in _said(report, kind)] == [True]
    assert len(report.findings.portfolios) == report.findings.count == 1


async def test_memory_may_be_newer_than_the_snapshot(stored: StoredCluster, owners: MemoryOwners) -> None:
    old = dict(stored.scribe.books)

    class Writing(MemoryOwners):
        async def books(self, shard_id: Any, after: str, limit: int) -> Any:
            if not self.pages:
                await stored.book(updated(1, buy("1", "2")), updated(1), opened(77, cash="5"))
                self.books_held = dict(stored.scribe.books)
            return await super().books(shard_id, after, limit)

    report = await _verified(stored, Writing(stored, old))
    assert (report.exit_status, report.counts.memory) == (0, PORTFOLIOS + 1)
    owners.books_held = dict(stored.scribe.books)
    _change_cash(owners.books_held, portfolio(77))
    assert (await _verified(stored, owners)).exit_status == 1


async def test_a_row_after_the_snapshot_that_cannot_be_read_is_named(
    stored: StoredCluster, inspector: Inspector
) -> None:
    class Writing(MemoryOwners):
        async def books(self, shard_id: Any, after: str, limit: int) -> Any:
            if not self.pages:
                await stored.book(updated(1), updated(3))
                self.books_held = dict(stored.scribe.books)
                version = stored.scribe.books[portfolio(1)].version
                inspector.do("update journal set detail = '[1]' where portfolio_id = 'P-1' and version = %s", version)
            return await super().books(shard_id, after, limit)

    report = await _verified(stored, Writing(stored, dict(stored.scribe.books)))
    assert [found.portfolio_id for found in report.findings.kept] == ["P-1"]
    assert len(_said(report, Kind.JOURNAL_UNREADABLE)) == 1


async def test_a_shard_that_stays_away_leaves_the_rest_compared_and_the_verdict_open(
    stored: StoredCluster, owners: MemoryOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PATIENCE_S", 0.1)
    owners.away = {1}
    report = await _verified(stored, owners)
    assert (report.exit_status, list(report.failed)) == (2, ["shard 1"])
    assert report.counts.memory == PORTFOLIOS - len(stored.portfolios(1))


async def test_quarantined_portfolios_are_not_compared(
    stored: StoredCluster, owners: MemoryOwners, inspector: Inspector
) -> None:
    name = stored.portfolios(1)[0]
    inspector.do("insert into quarantine (portfolio_id, shard_id, reason) values (%s, 1, 'broken')", name)
    inspector.do("update portfolios set version = 1 where portfolio_id = %s", name)
    _forget(owners.books_held, name)
    report = await _verified(stored, owners)
    assert [found.kind for found in report.findings.kept] == [Kind.QUARANTINED]


async def test_a_wrong_value_in_the_mirror_is_named(
    stored: StoredCluster, owners: MemoryOwners, mirror: MirrorReader, valkey: Redis
) -> None:
    name = stored.portfolios(1)[0]
    right: Any = valkey.get(f"portfolio:{name}:state")
    cash = json.loads(right, parse_float=Decimal)["cash_balance"]
    valkey.set(f"portfolio:{name}:state", right.replace(f'"cash_balance":{cash}'.encode(), b'"cash_balance":1.00'))
    valkey.set(f"portfolio:{name}:weights", b"not JSON")
    for sources in (owners, None):
        for deep in (False, True):
            said = _said(await _verified(stored, sources, mirror, deep=deep), Kind.MIRROR_DIFFERS)
            assert any(f"{name}: state.cash_balance is 1.00, expected {cash}" in words for words in said)
            assert any("weights is not JSON" in words for words in said)


async def test_a_mirror_that_is_too_new_or_stays_too_old_is_named(
    stored: StoredCluster, owners: MemoryOwners, mirror: MirrorReader, valkey: Redis
) -> None:
    new, old = stored.portfolios(1)[:2]
    version = stored.scribe.books[new].version
    valkey.set(f"portfolio:{new}:version", f"{version + 1:020d}.{0:030d}")
    valkey.set(f"portfolio:{old}:version", f"{1:020d}.{0:030d}")
    report = await _verified(stored, owners, mirror)
    assert [
        f"{new}: version and revaluation is {version + 1}.0, expected {version}.0" in words
        for words in _said(report, Kind.MIRROR_AHEAD)
    ] == [True]
    assert [f"{old}: version and revaluation is 1.0" in words for words in _said(report, Kind.MIRROR_STALE)] == [True]
    assert report.findings.count == 2


async def test_what_the_mirror_has_let_expire_is_counted(
    stored: StoredCluster, owners: MemoryOwners, mirror: MirrorReader, valkey: Redis
) -> None:
    gone, partly, unguarded = stored.portfolios(1)[:3]
    valkey.delete(*(f"portfolio:{gone}:{part}" for part in ("state", "positions", "weights")))
    valkey.delete(f"portfolio:{partly}:positions")
    valkey.delete(f"portfolio:{unguarded}:version")
    report = await _verified(stored, owners, mirror)
    assert (report.exit_status, report.counts.mirror, report.counts.mirror_expired) == (0, PORTFOLIOS - 1, 1)


async def test_a_mirror_that_catches_up_is_no_difference(
    stored: StoredCluster, owners: MemoryOwners, mirror: MirrorReader, redis_url: str
) -> None:
    await stored.book(updated(1), updated(2))
    owners.books_held = dict(stored.scribe.books)

    class CatchingUp(MirrorReader):
        looks = 0

        async def read(self, portfolio_ids: Any) -> Any:
            self.looks += 1
            shown = await super().read(portfolio_ids)
            await stored.mirror(redis_url)
            return shown

    reader = CatchingUp(redis_url)
    report = await _verified(stored, owners, reader)
    await reader.close()
    assert (report.exit_status, report.counts.mirror) == (0, PORTFOLIOS)


async def test_a_redis_that_is_away_leaves_the_verdict_open(stored: StoredCluster, owners: MemoryOwners) -> None:
    reader = MirrorReader("redis://127.0.0.1:1/0")
    report = await _verified(stored, owners, reader)
    await reader.close()
    assert (report.exit_status, list(report.failed)) == (2, ["mirror"])


async def test_an_owner_whose_documents_are_not_its_books_is_named(stored: StoredCluster) -> None:
    class Lying(MemoryOwners):
        async def state(self, portfolio_id: PortfolioId, if_none_match: str | None = None) -> Any:
            answer = await super().state(portfolio_id)
            body = (answer.body or b"").replace(b'"status":"ACTIVE"', b'"status":"CLOSED"')
            return replace_body(answer, body) if portfolio_id == portfolio(1) else answer

    report = await _verified(stored, Lying(stored, dict(stored.scribe.books)), deep=True)
    assert _said(report, Kind.DOCUMENT_DIFFERS) == [
        f"document-differs: shard {stored.shard_of(portfolio(1))}, P-1: state.status is CLOSED, expected ACTIVE"
    ]


def replace_body(answer: Any, body: bytes) -> Any:
    return type(answer)(body, answer.etag)
