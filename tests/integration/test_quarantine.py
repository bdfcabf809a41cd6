"""One bad row or book in a real database: its portfolio is set apart or made anew, and everything else goes on."""

from __future__ import annotations

import asyncio
from typing import Any, LiteralString

import pytest
from psycopg_pool import AsyncConnectionPool

from persistence import postgres
from persistence.history import PostgresHistory
from persistence.journal import PostgresJournal
from portfolio.errors import Corrupt, PortfolioQuarantined
from portfolio.ids import ShardId
from portfolio.ports import StoredRow
from tests.integration.conftest import Inspector
from tests.oracles.builders import buy, split
from tests.oracles.rows import Scribe, opened, portfolio, updated
from tests.support.shards import RunningShard, postgres_shard


async def _booked(database: str) -> None:
    """Portfolios 1 and 2, mixed: openings, then trades. Of portfolio 1 are the rows 1, 3, 5 and 6."""
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        await running.book(opened(2))
        await running.book(updated(1, buy("10", "7"), key="k"))
        await running.book(updated(2, buy("10", "7")))
        await running.book(updated(1, split("2:1"), buy("1", "3")))
        await running.book(updated(2))


async def _save(running: RunningShard) -> None:
    serving = running.shard._serving
    assert serving is not None
    await serving.checkpointer.save()


def _unsaved(inspector: Inspector) -> None:
    """As if no checkpoint had come by itself meanwhile."""
    inspector.do("truncate positions, portfolios")
    inspector.do("update shards set checkpoint_seq = 0")


SPOILING: list[LiteralString] = [
    "update journal set value = value + 1 where seq = 3",
    "update journal set quantity = 'NaN' where seq = 3",
    "update journal set transaction_type = 'GIFT' where seq = 3",
    "update journal set detail = '[1]' where seq = 5",
    "update journal set format = 99 where seq = 5",
    "update journal set row_hash = '' where seq = 6",
]


@pytest.mark.parametrize("spoil", SPOILING)
async def test_a_bad_row_sets_its_portfolio_apart_for_as_long_as_it_is_bad(
    database: str, inspector: Inspector, spoil: LiteralString
) -> None:
    await _booked(database)
    _unsaved(inspector)
    inspector.do("create table before as select * from journal")
    inspector.connection.execute(spoil)
    for _ in range(2):
        async with postgres_shard(database) as running:
            assert portfolio(1) in running.shard.status().quarantined
            with pytest.raises(PortfolioQuarantined):
                running.shard.submit(updated(1))
            if spoil is not SPOILING[-1]:
                await running.book(updated(2))
            # The checkpoint moves on, so the next start does not come by the bad row.
            await running.stop()
        assert inspector.one("select count(*) from quarantine") >= 1
    inspector.do("update journal set (value, quantity, transaction_type, detail, format, row_hash) = (before.value,"
                 " before.quantity, before.transaction_type, before.detail, before.format, before.row_hash)"
                 " from before where before.seq = journal.seq")  # fmt: skip
    async with postgres_shard(database) as mended:
        assert mended.shard.status().quarantined_count == 0
        assert mended.shard.books.get(portfolio(1)).version == 4
        assert (await mended.book(updated(1))).version == 5
        await mended.stop()
    assert inspector.rows("select * from quarantine") == []
    assert inspector.sequence_is_gapless()


async def test_a_mended_row_is_taken_while_the_shard_serves(database: str, inspector: Inspector) -> None:
    await _booked(database)
    _unsaved(inspector)
    inspector.do("update journal set value = value + 1 where seq = 3")
    async with postgres_shard(database) as running, postgres.pool(database, size_max=2) as connections:
        history = PostgresHistory(connections)
        await running.book(updated(2))
        with pytest.raises(PortfolioQuarantined, match="row 3"):
            await running.shard.rebuild(portfolio(1))
        with pytest.raises(PortfolioQuarantined, match="row 3"):
            await history.entries(portfolio(1))
        with pytest.raises(PortfolioQuarantined, match="row 3"):
            await history.transactions(portfolio(1), before_version=9, limit=9)
        assert await history.entries(portfolio(2))
        inspector.do("update journal set value = value - 1 where seq = 3")
        await running.shard.rebuild(portfolio(1))
        assert (await running.book(updated(1))).version == 5
        await _save(running)
        assert await history.entries(portfolio(1))
        assert inspector.rows("select * from quarantine") == []
        before = running.everything()
    async with postgres_shard(database) as again:
        assert again.everything() == before


@pytest.mark.parametrize(
    "spoil",
    [
        "update portfolios set cash = cash + 1 where portfolio_id = 'P-1'",
        "update portfolios set cash = 'NaN' where portfolio_id = 'P-1'",
        "update portfolios set status = 'none' where portfolio_id = 'P-1'",
        "update positions set cost_basis = 'NaN' where portfolio_id = 'P-1'",
        "update positions set quantity = 0 where portfolio_id = 'P-1'",
        "delete from positions where portfolio_id = 'P-1'",
        "update portfolios set allow_short = false; update positions set quantity = -1, cost_basis = 0",
        "insert into positions overriding system value select 99, portfolio_id, 'GHOST', position_type, quantity, cost_basis, realized_pnl,"
        " trade_mark_price, trade_mark_time, mark_price, market_value, weight, unrealized_pnl, last_updated"
        " from positions where portfolio_id = 'P-1'",
    ],
)
async def test_a_wrong_checkpoint_heals_by_itself(
    database: str, inspector: Inspector, caplog: pytest.LogCaptureFixture, spoil: LiteralString
) -> None:
    await _booked(database)
    async with postgres_shard(database) as running:
        before = running.everything()
        await running.stop()
    tables: list[LiteralString] = ["portfolios", "positions"]
    stored = [inspector.rows(f"select * from {table} order by id") for table in tables]
    inspector.connection.execute(spoil)
    async with postgres_shard(database) as again:
        assert again.everything() == before
        assert "P-1 was made anew" in caplog.text
        await again.stop()
    assert inspector.rows("select * from quarantine") == []
    if not spoil.startswith("delete"):
        assert [inspector.rows(f"select * from {table} order by id") for table in tables] == stored
    caplog.clear()
    async with postgres_shard(database) as third:
        assert third.everything() == before
        assert "made anew" not in caplog.text


async def test_rows_of_a_branch_are_chained_to_the_row_it_branched_off(
    database: str, inspector: Inspector, pool: AsyncConnectionPool[Any]
) -> None:
    scribe = Scribe()
    parent = PostgresJournal(database, ShardId(0), "parent", pool)
    await parent.claim()
    await parent.append(scribe.rows(opened(1)) + scribe.rows(updated(1)))
    inspector.do(
        "update shards set parent_shard = 0, branch_seq = parent.head_seq, branch_hash = parent.head_hash,"
        " head_seq = parent.head_seq, head_hash = parent.head_hash"
        " from (select * from shards where shard_id = 0) parent where shards.shard_id = 1"
    )
    branch = PostgresJournal(database, ShardId(1), "branch", pool)
    await branch.claim()
    await branch.append(scribe.rows(updated(1)))
    await branch.append(scribe.rows(updated(1)))
    # What the parent goes on to write has numbers that the branch has too.
    await parent.append(scribe.rows(opened(2)))
    life = [row async for row in branch.life(portfolio(1))]
    assert [(row.seq, row.entry.version) for row in life if isinstance(row, StoredRow)] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    inspector.do("update shards set branch_hash = '' where shard_id = 1")
    life = [row async for row in branch.life(portfolio(1))]
    assert [isinstance(row, StoredRow) for row in life] == [True, True, False, True]
    await parent.close()
    await branch.close()


async def test_a_row_after_one_that_is_gone_cannot_be_trusted(database: str, inspector: Inspector) -> None:
    await _booked(database)
    inspector.do("delete from journal where seq = 2")
    async with postgres.pool(database, size_max=2) as connections:
        journal = PostgresJournal(database, ShardId(0), "reader", connections)
        life = [row async for row in journal.life(portfolio(1))]
    assert [getattr(row, "reason", None) for row in life] == [
        None,
        "journal row 3 follows one that is missing",
        None,
        None,
    ]


async def test_a_row_that_names_another_portfolio_stops_the_shard(database: str, inspector: Inspector) -> None:
    await _booked(database)
    _unsaved(inspector)
    inspector.do("update journal set portfolio_id = 'P-2', version = 9 where seq = 6")
    with pytest.raises(Corrupt, match="another portfolio"):
        async with postgres_shard(database):
            pass
    assert inspector.rows("select * from quarantine") == []


async def test_many_bad_books_do_not_keep_the_others_waiting_for_ever(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await asyncio.gather(*(running.book(opened(number, cash="5")) for number in range(300)))
    _unsaved(inspector)
    assert inspector.do("update journal set value = 6 where kind = 'BOOKED' and mod(seq, 3) = 0") > 50
    async with postgres_shard(database) as again:
        status = again.shard.status()
        assert status.portfolios + status.quarantined_count == 300
        assert status.quarantined_count == inspector.one("select count(*) from quarantine") > 50
