"""Closes as whole numbers, and what a holding was worth at them: exact to the cent, without a Decimal a day."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from analytics.panel import PricePanel, columns_of
from portfolio import money
from portfolio.book import Mark
from portfolio.ids import InstrumentId

WHOLE: Final = 10**money.QUANTITY_SCALE
"""Quantities and prices have eight decimals; as whole numbers they count hundred-millionths."""
_CENT: Final = WHOLE * WHOLE // 100
"""A cent, in the units of a quantity times a price."""
_FLOAT_EXACT: Final = 2**51
"""A float64 of a number with decimals gives its digits back while they make a whole number below this."""
_PRODUCT_LIMIT: Final = 2**62
_CENTS_LIMIT: Final = 2**45
"""350 billion, of which int64 adds up 100,000 without overflow."""
_ORDINAL_1970: Final = 719_163
_MICROSECOND: Final = timedelta(microseconds=1)

Cents = Shaped[np.ndarray, " day"]
"""Whole cents: int64, or Python's integers (dtype object) where those would be too small."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloseColumn:
    """One instrument's newest close at or before each day of a panel.

    `prices` times `unit`, a power of ten, are hundred-millionths; 0 before the first close. `sources` are the days that
    they are from, as ordinals; 0 where there is none. Closes below 22 million are as exact as they were recorded.
    """

    prices: Int64[np.ndarray, " day"]
    unit: int
    sources: Int64[np.ndarray, " day"]

    def price(self, day: int) -> int | None:
        """The newest close at the end of `day`, a whole number; None if there is none, as before the first day (-1)."""
        return int(self.prices[day]) * self.unit if day >= 0 and self.sources[day] else None


class Closes:
    """A panel's closes, column by column as they are asked for. `ordinals` are its days as `date.toordinal` counts."""

    def __init__(self, panel: PricePanel) -> None:
        self.panel = panel
        self.ordinals: Int64[np.ndarray, " day"] = ordinals_of(panel.days)
        self._ordinals: list[int] = self.ordinals.tolist()
        self._columns: dict[InstrumentId, CloseColumn] = {}

    def days_before(self, ordinal: int) -> int:
        """How many days of the panel are before a day; the index of the first that is not."""
        return bisect_left(self._ordinals, ordinal)

    @property
    def last(self) -> int:
        """The last day, an ordinal; 0 if there is none."""
        return self._ordinals[-1] if self._ordinals else 0

    def of(self, instrument_id: InstrumentId) -> CloseColumn:
        """An instrument's column; without a close if the panel does not have it."""
        found = self._columns.get(instrument_id)
        if found is None:
            found = self._columns[instrument_id] = self._column(instrument_id)
        return found

    def digest(self, instruments: Iterable[InstrumentId], end: int) -> bytes:
        """Stands for the days before the index `end`, and the closes of these instruments on them."""
        found = hashlib.blake2b(self.panel.days[:end].tobytes(), digest_size=16)
        for name in instruments:
            place = columns_of(self.panel.instruments, [name])[0]
            found.update(f"{name}\n".encode() + (self.panel.closes[:end, place].tobytes() if place >= 0 else b""))
        return found.digest()

    def _column(self, instrument_id: InstrumentId) -> CloseColumn:
        place = columns_of(self.panel.instruments, [instrument_id])[0]
        if place < 0:
            nothing = np.zeros(len(self.ordinals), np.int64)
            return CloseColumn(prices=nothing, unit=WHOLE, sources=nothing)
        closes = self.panel.closes[:, place]
        has = ~np.isnan(closes)
        newest = np.maximum.accumulate(np.where(has, np.arange(len(closes)), -1))
        prices, unit = _whole_numbers(np.where(has, closes, 0.0))
        return CloseColumn(
            prices=np.where(newest >= 0, prices[newest], 0),
            unit=unit,
            sources=np.where(newest >= 0, self.ordinals[newest], 0),
        )


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
        days, lengths = self._days(end)
        quantity_unit = _common_unit(self.quantities)
        price_unit = min(closes.unit, _common_unit(self.trade_prices))
        quantities = [quantity // quantity_unit for quantity in self.quantities]
        trade_prices = [price // price_unit for price in self.trade_prices]
        factor = closes.unit // price_unit
        price_max = max(int(closes.prices[days].max(initial=0)) * factor, *trade_prices)
        unit = quantity_unit * price_unit
        kind = _kind(max(map(abs, quantities)) * price_max, unit)
        is_closed = closes.sources[days] >= np.repeat(self.closes_from, lengths)
        traded = np.repeat(np.array(trade_prices, kind), lengths)
        prices = np.where(is_closed, closes.prices[days].astype(kind) * factor, traded)
        return _in_cents(np.repeat(np.array(quantities, kind), lengths), prices, unit)

    def carried(self, closes: CloseColumn, ordinals: Int64[np.ndarray, " day"], end: int) -> Bool[np.ndarray, " day"]:
        """On which of those days something was held that had no close of the day itself."""
        days, lengths = self._days(end)
        is_held = np.repeat([quantity != 0 for quantity in self.quantities], lengths)
        carried: np.ndarray = is_held & (closes.sources[days] != ordinals[days])
        return carried

    def _days(self, end: int) -> tuple[slice, Int64[np.ndarray, " start"]]:
        """The days from the first start to before `end`, and for how many of them each start holds."""
        return slice(self.starts[0], end), np.diff([*self.starts, end])


def whole(number: Decimal) -> int:
    """A quantity or a price in hundred-millionths: 1.5 gives 150,000,000."""
    return int(number.scaleb(money.QUANTITY_SCALE))


def in_cents(quantity: int, price: int) -> int:
    """round2(quantity * price) in cents, of whole numbers: 3 units at 0.335 are 1.01, so 101."""
    cents = (abs(quantity) * price + _CENT // 2) // _CENT
    return cents if quantity > 0 else -cents


def cents(amount: Decimal) -> int:
    """An amount of two decimals in cents."""
    return int(amount.scaleb(money.CASH_SCALE))


def ordinals_of(days: Shaped[np.ndarray, " day"]) -> Int64[np.ndarray, " day"]:
    """Days (datetime64[D]) as `date.toordinal` counts them."""
    counted: np.ndarray = days.astype(np.int64) + _ORDINAL_1970
    return counted


def days_of(ordinals: list[int]) -> Shaped[np.ndarray, " day"]:
    """Ordinals as datetime64[D]."""
    return np.array([date.fromordinal(ordinal) for ordinal in ordinals], dtype="datetime64[D]")


def as_cents(numbers: list[int]) -> Cents:
    """Cents as an array."""
    return np.array(numbers, dtype=np.int64 if max(map(abs, numbers), default=0) < _CENTS_LIMIT else object)


def _in_cents(quantities: np.ndarray, prices: np.ndarray, unit: int) -> Cents:
    """`in_cents` of arrays whose products count `unit`."""
    products = np.abs(quantities) * prices
    if unit >= _CENT:
        rounded = products * (unit // _CENT)
    else:
        divisor = _CENT // unit
        rounded = (products + divisor // 2) // divisor
    return np.where(quantities < 0, -rounded, rounded)


def _kind(product_max: int, unit: int) -> Any:
    fits = product_max < _PRODUCT_LIMIT and product_max * unit // _CENT < _CENTS_LIMIT
    return np.int64 if fits else object


def _whole_numbers(closes: np.ndarray) -> tuple[Int64[np.ndarray, " day"], int]:
    """Closes as whole numbers, and how many hundred-millionths each counts: 12.5 and 20 are 125 and 200, of 10^7."""
    decimals = money.PRICE_SCALE
    while closes.max(initial=0.0) * 10**decimals >= _FLOAT_EXACT:
        decimals -= 1
    numbers = np.rint(closes * 10**decimals).astype(np.int64)
    common = _common_unit([int(np.gcd.reduce(numbers))]) if len(numbers) else 1
    unit = min(common, 10**decimals)
    return numbers // unit, unit * 10 ** (money.PRICE_SCALE - decimals)


def _common_unit(numbers: Iterable[int]) -> int:
    """The largest power of ten, up to 10^8, that divides all of them."""
    divisor = math.gcd(WHOLE, *numbers)
    unit = 1
    while divisor % (10 * unit) == 0:
        unit *= 10
    return unit


def _first_close_after(moment: datetime) -> int:
    """The day (an ordinal) whose close is the first to come after a trade: the same day's, but at its very last moment."""
    return (moment + _MICROSECOND).toordinal()
