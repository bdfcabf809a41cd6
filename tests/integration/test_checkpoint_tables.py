"""What psql shows of a checkpoint: the tables and columns that DESIGN promises, filled with the figures of REST."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from portfolio.book import Mark
from portfolio.commands import ChangeStatus
from portfolio.ids import InstrumentId
from portfolio.status import Status
from tests.integration.conftest import Inspector
from tests.oracles.builders import X, buy, deposit, sell, transaction
from tests.oracles.rows import opened, portfolio, updated
from tests.support.shards import FAST, RunningShard, eventually, postgres_shard


async def _save(running: RunningShard) -> None:
    serving = running.shard._serving
    assert serving is not None
    await serving.checkpointer.save()


def _columns(inspector: Inspector, table: str) -> set[str]:
    found = inspector.rows("select column_name from information_schema.columns where table_name = %s", table)
    return {name for (name,) in found}


def test_the_tables_have_the_columns_that_were_promised(inspector: Inspector) -> None:
    assert _columns(inspector, "portfolios") >= {
        "id", "portfolio_id", "name", "total_value", "cash", "status", "created_at", "updated_at"
    }  # fmt: skip
    assert _columns(inspector, "positions") >= {
        "id", "portfolio_id", "instrument_id", "position_type", "quantity", "cost_basis", "market_value", "weight",
        "unrealized_pnl", "last_updated",
    }  # fmt: skip
    assert _columns(inspector, "portfolio_transactions") == {
        "id", "portfolio_id", "instrument_id", "transaction_type", "quantity", "price", "transaction_value",
        "transaction_date",
    }  # fmt: skip
    assert _columns(inspector, "marks") >= {"instrument_id", "price", "as_of", "recorded_at"}


async def test_a_checkpoint_holds_the_figures_of_the_books_and_the_marks(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1, cash="100"))
        await running.book(updated(1, buy("10", "7"), transaction("SHORT", "S", "-2", "5", fee="0.5")))
        later = datetime.now(UTC) + timedelta(seconds=5)
        running.shard.show_marks({X: Mark(Decimal("8.00000000"), later)})
        await _save(running)
        book = running.shard.books.get(portfolio(1))
    assert inspector.rows(
        "select portfolio_id, name, total_value, cash, status, version, updated_at from portfolios"
    ) == [("P-1", "Portfolio 1", Decimal("109.50"), Decimal("39.50"), "ACTIVE", 4, book.last_updated)]
    found = inspector.rows(
        "select instrument_id, position_type, quantity, cost_basis, market_value, weight, unrealized_pnl"
        " from positions order by 1"
    )
    assert found == [
        ("S", "SHORT", Decimal(-2), Decimal(-10), Decimal("-10.00"), Decimal("-0.091324"), Decimal("0.00")),
        ("X", "LONG", Decimal(10), Decimal(70), Decimal("80.00"), Decimal("0.730594"), Decimal("10.00")),
    ]
    assert inspector.rows("select head_seq, checkpoint_seq from shards") == [(4, 4)]


async def test_a_later_checkpoint_keeps_ids_and_leaves_out_what_was_closed(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, buy("10", "7"), transaction("BUY", "Y", "1", "1")))
        await _save(running)
        ids = inspector.rows("select id from portfolios union all select id from positions where instrument_id = 'Y'")
        await running.book(updated(1, sell("10", "8"), transaction("BUY", "Y", "1", "1")))
        await running.book(ChangeStatus(portfolio_id=portfolio(1), status=Status.SUSPENDED))
        await _save(running)
    assert inspector.rows("select instrument_id, quantity from positions") == [("Y", Decimal(2))]
    assert inspector.one("select status from portfolios") == "SUSPENDED"
    after = inspector.rows("select id from portfolios union all select id from positions where instrument_id = 'Y'")
    assert after == ids


async def test_a_portfolio_worth_nothing_has_no_weights(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        await running.book(opened(1))
        await running.book(updated(1, buy("1", "7")))
        await _save(running)
        assert inspector.rows("select weight, market_value from positions") == [(None, Decimal("7.00"))]
    async with postgres_shard(database) as again:
        assert b'"weight":null' in again.shard.books.documents(portfolio(1)).state


async def test_values_beyond_what_can_be_booked_are_saved_too(database: str, inspector: Inspector) -> None:
    """A market price is not bounded by what somebody paid."""
    async with postgres_shard(database) as running:
        await running.book(opened(1, cash="0.01"))
        await running.book(updated(1, buy("999999999999", "0.00000001"), transaction("SHORT", "S", "-1", "10000")))
        later = datetime.now(UTC) + timedelta(seconds=5)
        huge = Mark(Decimal("999999999999.99999999"), later)
        running.shard.show_marks({X: huge, InstrumentId("S"): huge})
        await _save(running)
        # The mirror may have had the documents written at the trade prices, and the next revaluation be still to come.
        running.shard.books.revalue()
        before = running.everything()
        await running.shard.record_marks({X: huge, InstrumentId("S"): huge})
    async with postgres_shard(database) as again:
        assert again.everything() == before
    assert inspector.one("select total_value from portfolios") > Decimal(10) ** 23


async def test_checkpoints_come_by_themselves(database: str, inspector: Inspector) -> None:
    limits = replace(FAST, checkpoint_rows=50)
    async with postgres_shard(database, limits=limits) as running:
        await running.book(opened(1))
        await running.book(updated(1, *[deposit("1")] * 60))
        await eventually(lambda: running.shard.status().checkpoint_seq == 61)
        assert inspector.one("select cash from portfolios") == 60


async def test_many_books_are_saved_in_one_transaction(database: str, inspector: Inspector) -> None:
    async with postgres_shard(database) as running:
        answers = [running.shard.submit(opened(number)) for number in range(700)]
        answers += [running.shard.submit(updated(number, buy("1", "2"))) for number in range(700)]
        for answer in answers:
            await answer
        await _save(running)
        before = running.everything()
        await running.kill()
    assert inspector.rows("select count(*), sum(quantity) from positions") == [(700, Decimal(700))]
    assert inspector.one("select count(distinct xmin::text) from positions") == 1
    async with postgres_shard(database) as again:
        assert again.everything() == before
        assert again.shard.status().tail_rows_recovered == 0
