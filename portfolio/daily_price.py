"""The price of an instrument at the end of a day, and from when on it counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from portfolio.book import Mark
from portfolio.ids import InstrumentId

_LAST_MOMENT: Final = time(23, 59, 59, 999_999, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyPrice:
    """Prices above 0 at the scale of prices, in the currency of the portfolios that hold the instrument.

    `close` is in the units of the day; `adjusted_close` is what it would have been had later splits (and dividends, where
    the source takes them out) come before. Close 500, then a split 4:1: adjusted 125, so no return is made of the split.
    """

    instrument_id: InstrumentId
    day: date
    close: Decimal
    adjusted_close: Decimal


def closing_mark(close: Decimal, day: date) -> Mark:
    """A close as a mark: it holds from the end of its day (UTC) on, so every trade of that day comes before it."""
    return Mark(close, datetime.combine(day, _LAST_MOMENT))
