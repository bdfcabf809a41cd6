"""What a portfolio held of one instrument over time, and what that was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int64

from analytics.cents import Cents, common_unit, integers, products_in_cents, whole
from analytics.closes import CloseColumn
from portfolio.book import Mark

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Holding:
    """What was held of an instrument, from each of `starts` (days of a panel) until the next one.

    `quantities` and `trade_prices` are whole numbers. A close counts before the last trade's price if it is of the day
    `closes_from` (an ordinal) or later.
    """

    starts: list[int] = field(default_factory=list)
    quantities: list[int] = field(default_factory=list)
    trade_prices: list[int] = field(default_factory=list)
    closes_from: list[int] = field(default_factory=list)

    def note(self, day: int, quantity: Decimal, mark: Mark | None) -> None:
        """From `day` on, `quantity` is held, last traded at `mark`; None: as it was known before."""
        self.starts.append(day)
        self.quantities.append(whole(quantity))
        if mark is not None:
            self.trade_prices.append(whole(mark.price))
            self.closes_from.append(_first_close_after(mark.time))
        else:
            self.trade_prices.append(self.trade_prices[-1] if self.trade_prices else 0)
            self.closes_from.append(self.closes_from[-1] if self.closes_from else 0)

    def price(self, closes: CloseColumn, day: int) -> int | None:
        """What a unit is worth at the end of `day`, after what was noted last; None if no price is known."""
        closed = closes.price(day)
        if closed is not None and closes.sources[day] >= self.closes_from[-1]:
            return closed
        return self.trade_prices[-1] if self.closes_from[-1] else None

    def worth(self, closes: CloseColumn, end: int) -> Cents:
        """The market value of each day from the first start to before `end`, each rounded to the cent by itself."""
        quantity_unit = common_unit(self.quantities)
        price_unit = min(closes.unit, common_unit(self.trade_prices))
        quantities = [quantity // quantity_unit for quantity in self.quantities]
        trade_prices = [price // price_unit for price in self.trade_prices]
        factor = closes.unit // price_unit
        unit = quantity_unit * price_unit
        price_max = max(closes.price_max * factor, *trade_prices)
        kind = integers(max(map(abs, quantities)) * price_max, unit)
        prices = closes.prices[self.starts[0] : end].astype(kind, copy=False) * factor
        if not self._is_at_closes(closes):
            prices = np.where(self._has_closed(closes, end), prices, self._spread(trade_prices, kind, end))
        return products_in_cents(self._spread(quantities, kind, end), prices, unit)

    def carried(self, closes: CloseColumn, ordinals: Int64[np.ndarray, " day"], end: int) -> Bool[np.ndarray, " day"]:
        """On which of those days something was held that had no close of the day itself."""
        days = slice(self.starts[0], end)
        is_held = self._spread([quantity != 0 for quantity in self.quantities], np.bool_, end)
        carried: np.ndarray = is_held & (closes.sources[days] != ordinals[days])
        return carried

    def _is_at_closes(self, closes: CloseColumn) -> bool:
        """Whether every day is valued at its own close, as nearly always: then trades' prices need not be looked at."""
        return self.starts[0] >= closes.gapless_from and all(
            closes_from <= closes.sources[start]
            for start, closes_from in zip(self.starts, self.closes_from, strict=True)
            if start < len(closes.sources)
        )

    def _has_closed(self, closes: CloseColumn, end: int) -> Bool[np.ndarray, " day"]:
        """On which days the newest close counts, not the last trade."""
        closed: np.ndarray = closes.sources[self.starts[0] : end] >= self._spread(self.closes_from, np.int64, end)
        return closed

    def _spread(self, numbers: Sequence[int], kind: Any, end: int) -> np.ndarray:
        """Each number for all the days from its start to the next."""
        lengths = [after - start for start, after in zip(self.starts, [*self.starts[1:], end], strict=True)]
        return np.repeat(np.array(numbers, dtype=kind), lengths)


def _first_close_after(moment: datetime) -> int:
    """The day (an ordinal) whose close is the first to come after a trade: the same day's, but at its very last moment."""
    return (moment + _MICROSECOND).toordinal()
