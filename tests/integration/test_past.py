"""States of the past from a real Postgres: valued at the closes that were known, or at trades where these are newer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from actors.protocol import Answer
from persistence.history import PostgresHistory
from persistence.price_store import PostgresPriceStore
from portfolio.daily_price import DailyPrice
from portfolio.errors import PortfolioNotFound
from portfolio.ids import InstrumentId
from portfolio.transactions import Transaction
from serve_app.past import past_state
from tests.oracles.builders import X, buy, deposit, split, transaction
from tests.oracles.rows import opened, portfolio, updated
from tests.support.stored import StoredCluster

Y = InstrumentId("Y")
MONDAY = date(2022, 1, 3)
P = portfolio(1)


def at(day: int, hour: int = 0) -> datetime:
    """An hour of the week's day `day`, 0 being Monday; 24 is the day after at 0."""
    return datetime(2022, 1, 3, tzinfo=UTC) + timedelta(days=day, hours=hour)


def closes(instrument: InstrumentId, *prices: str) -> list[DailyPrice]:
    """Closes from Monday on; adjusted ones that nothing here must show."""
    return [
        DailyPrice(
            instrument_id=instrument,
            day=MONDAY + timedelta(days=day),
            close=Decimal(price),
            adjusted_close=Decimal("0.5"),
        )
        for day, price in enumerate(prices)
    ]


class Past:
    """A stored portfolio, and its states of the past."""

    def __init__(self, cluster: StoredCluster) -> None:
        self._cluster = cluster
        self.history = PostgresHistory(cluster.pool)
        self.prices = PostgresPriceStore(cluster.pool)

    async def book(self, moment: datetime, *transactions: Transaction) -> None:
        """Book transactions that took effect then."""
        await self._cluster.book(replace(updated(1, *transactions), effective_at=moment))

    async def answer(self, *, as_of: datetime | None = None, version: int | None = None) -> Answer:
        """The answer of then."""
        return await past_state(self.history, self.prices, P, version=version, as_of=as_of)

    async def state(self, *, as_of: datetime | None = None, version: int | None = None) -> Any:
        """The state in it."""
        return msgspec.json.decode((await self.answer(as_of=as_of, version=version)).body or b"")

    async def marks(self, *, as_of: datetime | None = None, version: int | None = None) -> list[tuple[str, str]]:
        """The price and its source of each position but cash."""
        state = await self.state(as_of=as_of, version=version)
        held = [position for position in state["positions"] if position["position_type"] != "CASH"]
        return [(f"{position['mark_price']:g}", position["mark_source"]) for position in held]


@pytest.fixture
async def past(database: str, pool: AsyncConnectionPool[Any]) -> AsyncIterator[Past]:
    """Opened today, with 10 X bought at 100 on Tuesday at 21:00, of a week in the past."""
    cluster = StoredCluster(database, pool, {0: 2, 1: 2})
    made = Past(cluster)
    await cluster.book(opened(1))
    await made.book(at(0), deposit("10000"))
    await made.book(at(1, 21), buy("10", "100"))
    yield made
    await cluster.close()


async def test_without_daily_prices_the_past_is_valued_at_trades(past: Past) -> None:
    assert await past.marks(as_of=at(4)) == [("100", "trade")]
    assert (await past.answer(as_of=at(4))).etag == '"3.0"'


async def test_a_close_shows_from_the_end_of_its_day_until_the_next(past: Past) -> None:
    await past.prices.record(closes(X, "90", "101", "102"))
    # Monday's close comes before the trade; Tuesday's after it.
    assert await past.marks(as_of=at(1, 22)) == [("100", "trade")]
    assert await past.marks(as_of=at(2)) == [("101", "market")]
    assert await past.marks(as_of=at(2, 23)) == [("101", "market")]
    assert await past.marks(as_of=at(3)) == [("102", "market")]
    assert await past.marks(as_of=at(900)) == [("102", "market")]


async def test_a_state_at_closes_adds_up_and_says_of_when_they_are(past: Past) -> None:
    await past.prices.record(closes(X, "90", "101.005"))
    state = await past.state(as_of=at(2))
    assert (state["cash_balance"], state["total_value"], state["unrealized_pnl"]) == (9000, 10010.05, 10.05)
    assert state["positions"][0]["mark_time"] == "2022-01-04T23:59:59.999999Z"


async def test_each_instrument_has_the_newest_of_what_is_known_of_it(past: Past) -> None:
    await past.book(at(1, 22), transaction("BUY", Y, "1", "7"))
    await past.book(at(3, 21), transaction("BUY", "Z", "1", "8"))
    await past.prices.record(
        [*closes(X, "90", "101"), *closes(Y, "6.5"), *closes(InstrumentId("Z"), "1", "2", "3", "4")]
    )
    assert await past.marks(as_of=at(3, 22)) == [("101", "market"), ("7", "trade"), ("8", "trade")]
    assert await past.marks(as_of=at(4)) == [("101", "market"), ("7", "trade"), ("4", "market")]


async def test_a_version_is_valued_at_the_closes_known_when_it_took_effect(past: Past) -> None:
    await past.prices.record(closes(X, "90", "101", "102", "103", "104"))
    await past.book(at(3, 21), deposit("1"))
    assert await past.marks(version=2) == []
    assert await past.marks(version=3) == [("100", "trade")]
    # Wednesday's close was the newest on Thursday, whenever the deposit of that day was booked.
    assert await past.marks(version=4) == [("102", "market")]
    # A late booking for an earlier day is of that day, and the newer trade goes on to mark.
    await past.book(at(0, 21), deposit("1"))
    assert await past.marks(version=5) == [("100", "trade")]


async def test_what_was_held_before_a_split_is_valued_in_the_units_of_then(past: Past) -> None:
    await past.book(at(3, 21), split("4:1"))
    await past.prices.record(closes(X, "90", "101", "104", "26", "27"))
    held = [(await past.state(as_of=moment))["positions"][0] for moment in (at(3), at(3, 22), at(4), at(5))]
    values = [(position["quantity"], position["market_value"]) for position in held]
    # Between the split and the close of its day, the trade's price in the new units.
    assert values == [(10, 1040), (40, 1000), (40, 1040), (40, 1080)]
    assert await past.marks(version=3) == [("100", "trade")]


async def test_a_corrected_close_gives_the_same_moment_another_tag(past: Past) -> None:
    await past.prices.record(closes(X, "90", "101"))
    first = await past.answer(as_of=at(2))
    assert await past.answer(as_of=at(2)) == first
    await past.prices.record(closes(X, "90", "101.01"))
    second = await past.answer(as_of=at(2))
    assert {str(answer.etag)[:3] for answer in (first, second)} == {'"3.'}
    assert second.etag != first.etag


async def test_a_moment_before_the_portfolio_is_not_found_whatever_closes_there_are(past: Past) -> None:
    await past.prices.record(closes(X, "90"))
    with pytest.raises(PortfolioNotFound):
        await past.answer(as_of=at(-1))
