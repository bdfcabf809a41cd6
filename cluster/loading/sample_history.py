"""Loading the daily prices of the sample: what its portfolios were worth on every day since they began."""

from __future__ import annotations

from itertools import chain

from cluster.sample_prices import SAMPLE_INDEX, SAMPLE_PRICES, Prices, read_prices
from persistence.price_store import PostgresPriceStore, RecordedPrices
from portfolio.daily_price import closing_mark


async def load_sample_history(store: PostgresPriceStore) -> RecordedPrices | None:
    """Record the prices of the stocks and of their index, or give None if they are there. Raises ShardUnavailable.

    What somebody corrected or added since stays as it is: once recorded, they are not recorded again.
    """
    histories = [read_prices(path) for path in (SAMPLE_PRICES, SAMPLE_INDEX)]
    if await _is_there(store, histories):
        return None
    return await store.record(chain.from_iterable(prices.daily() for prices in histories))


async def _is_there(store: PostgresPriceStore, histories: list[Prices]) -> bool:
    """Whether the last close of every instrument is: all of them were recorded at once."""
    last = {
        name: closing_mark(closes[-1], prices.days[-1]).time
        for prices in histories
        for name, closes in prices.closes.items()
    }
    found = await store.closing_marks(last, max(last.values()))
    return {name: mark.time for name, mark in found.items()} == last
