"""The price of an instrument at the end of a day: its limits, and from when on it counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from portfolio import money
from portfolio.book import Mark
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId, instrument_id

FIRST_DAY: Final = date(1900, 1, 1)
_LAST_MOMENT: Final = time(23, 59, 59, 999_999, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyPrice:
    """Prices per unit, in the currency of the portfolios that hold the instrument.

    `close` is in the units of the day; `adjusted_close` is what it would have been had later splits (and dividends, where
    the source takes them out) come before. Close 500, then a split 4:1: adjusted 125, so no return is made of the split.
    """

    instrument_id: InstrumentId
    day: date
    close: Decimal
    adjusted_close: Decimal


def checked(price: DailyPrice, *, last_day: date) -> DailyPrice:
    """The same with both prices at the scale of prices.

    Raises InvalidRequest, naming the field: a price that is not above 0, has more than 8 decimals or 12 digits before the
    point; a day before 1900 or after `last_day`.
    """
    if not FIRST_DAY <= price.day <= last_day:
        raise InvalidRequest(f"date is {price.day}, expected one from {FIRST_DAY} to {last_day}", field="date")
    return DailyPrice(
        instrument_id=instrument_id(price.instrument_id),
        day=price.day,
        close=_above_zero(price.close, "close"),
        adjusted_close=_above_zero(price.adjusted_close, "adjusted_close"),
    )


def _above_zero(price: Decimal, field: str) -> Decimal:
    exact = money.exact(price, field=field, scale=money.PRICE_SCALE)
    if exact <= 0:
        raise InvalidRequest(f"{field} is {money.shown(price)}, expected above 0", field=field)
    return exact


def closing_mark(close: Decimal, day: date) -> Mark:
    """A close as a mark: it holds from the end of its day (UTC) on, so every trade of that day comes before it."""
    return Mark(close, datetime.combine(day, _LAST_MOMENT))
