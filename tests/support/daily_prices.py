"""Daily prices for a service that runs: random walks, recorded in its database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from persistence import postgres
from persistence.price_store import PostgresPriceStore
from portfolio.daily_price import DailyPrice
from portfolio.ids import InstrumentId

LAST_DAY: Final = date(2025, 6, 20)
DAYS: Final = 300


def walk(instrument_id: str, seed: int) -> list[DailyPrice]:
    """Closes from about 100 on, a day after another until LAST_DAY, weekends among them."""
    chance, close, prices = random.Random(seed), 100.0, []
    for back in range(DAYS - 1, -1, -1):
        close *= 1 + chance.gauss(0.0003, 0.01)
        rounded = Decimal(f"{close:.4f}")
        prices.append(
            DailyPrice(
                instrument_id=InstrumentId(instrument_id),
                day=LAST_DAY - timedelta(days=back),
                close=rounded,
                adjusted_close=rounded,
            )
        )
    return prices


def record(dsn: str, prices: Iterable[DailyPrice]) -> None:
    """Record them, as `portfolio-state prices` does."""

    async def recorded() -> None:
        async with postgres.pool(dsn, 1) as connections:
            await PostgresPriceStore(connections).record(prices)

    asyncio.run(recorded())
