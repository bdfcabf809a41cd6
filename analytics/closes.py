"""A panel's closes as whole numbers, each day with the newest one known by its end."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from jaxtyping import Int64, Shaped

from analytics.cents import WHOLE, common_unit
from analytics.panel import Calendars, PricePanel, columns_of
from portfolio import money
from portfolio.ids import InstrumentId

_FLOAT_EXACT: Final = 2**51
"""A float64 of a number with decimals gives its digits back while they make a whole number below this."""
_ORDINAL_1970: Final = 719_163


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloseColumn:
    """One instrument's newest close at or before each day of a panel.

    `prices` times `unit`, a power of ten, are hundred-millionths; 0 before the first close. `sources` are the days that
    they are from, as ordinals; 0 where there is none. From `gapless_from` on, every day has a close of its own. Closes
    below 22 million are as exact as they were recorded.
    """

    prices: Int64[np.ndarray, " day"]
    unit: int
    sources: Int64[np.ndarray, " day"]
    price_max: int
    gapless_from: int

    def price(self, day: int) -> int | None:
        """The newest close at the end of `day`, a whole number; None if there is none, as before the first day (-1)."""
        return int(self.prices[day]) * self.unit if day >= 0 and self.sources[day] else None


class ClosesByCalendar:
    """The closes of one panel on the days of whatever instruments are asked for, each calendar's kept."""

    def __init__(self, panel: PricePanel) -> None:
        self._calendars = Calendars(panel)
        self._known: dict[int, Closes] = {}

    def of(self, instruments: Iterable[InstrumentId]) -> Closes:
        """On the days of those who hold these."""
        panel = self._calendars.of(instruments)
        known = self._known.get(id(panel))
        if known is None:
            known = self._known[id(panel)] = Closes(panel)
        return known


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
            # A panel may know an instrument that closes only later.
            closes = self.panel.closes[:end, place] if place >= 0 else np.full(end, np.nan)
            found.update(f"{name}\n".encode() + closes.tobytes())
        return found.digest()

    def _column(self, instrument_id: InstrumentId) -> CloseColumn:
        place = columns_of(self.panel.instruments, [instrument_id])[0]
        if place < 0:
            nothing = np.zeros(len(self.ordinals), np.int64)
            return CloseColumn(prices=nothing, unit=WHOLE, sources=nothing, price_max=0, gapless_from=len(nothing))
        closes = self.panel.closes[:, place]
        has = ~np.isnan(closes)
        newest = np.maximum.accumulate(np.where(has, np.arange(len(closes)), -1))
        prices, unit = _whole_numbers(np.where(has, closes, 0.0))
        return CloseColumn(
            prices=np.where(newest >= 0, prices[newest], 0),
            unit=unit,
            sources=np.where(newest >= 0, self.ordinals[newest], 0),
            price_max=int(prices.max(initial=0)),
            gapless_from=int(np.flatnonzero(~has).max(initial=-1)) + 1,
        )


def ordinals_of(days: Shaped[np.ndarray, " day"]) -> Int64[np.ndarray, " day"]:
    """Days (datetime64[D]) as `date.toordinal` counts them."""
    counted: np.ndarray = days.astype(np.int64) + _ORDINAL_1970
    return counted


def days_of(ordinals: list[int]) -> Shaped[np.ndarray, " day"]:
    """Ordinals as datetime64[D]."""
    return np.array([date.fromordinal(ordinal) for ordinal in ordinals], dtype="datetime64[D]")


def _whole_numbers(closes: np.ndarray) -> tuple[Int64[np.ndarray, " day"], int]:
    """Closes as whole numbers, and how many hundred-millionths each counts: 12.5 and 20 are 125 and 200, of 10^7."""
    decimals = money.PRICE_SCALE
    while closes.max(initial=0.0) * 10**decimals >= _FLOAT_EXACT:
        decimals -= 1
    numbers = np.rint(closes * 10**decimals).astype(np.int64)
    common = common_unit([int(np.gcd.reduce(numbers))]) if len(numbers) else 1
    unit = min(common, 10**decimals)
    return numbers // unit, unit * 10 ** (money.PRICE_SCALE - decimals)
