"""Daily prices side by side: what each instrument closed at on each day, and the returns made of that."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64, Shaped

from analytics.frames import float64
from portfolio.ids import InstrumentId, shared

COVERED_TENTHS: Final = 9
"""Risk takes an instrument that has at least this many tenths of a window's returns."""


class PriceStatus(StrEnum):
    """What a window has of an instrument's prices."""

    COMPLETE = "complete"
    GAPS = "gaps"
    """Days without a close lie between days with one."""
    SHORT_HISTORY = "short_history"
    """The first close is later than the window's beginning; from then on there is one every day."""
    STALE = "stale"
    """There is none on the window's last day."""
    NO_PRICES = "no_prices"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReturnPanel:
    """Simple returns, NaN where either of the two closes is missing. Nothing is filled.

    `days` are those on which the returns end; the first begins on `start` (None if there are no returns).
    """

    start: np.datetime64 | None
    days: Shaped[np.ndarray, " period"]
    instruments: tuple[InstrumentId, ...]
    values: Float64[np.ndarray, "period instrument"]
    statuses: tuple[PriceStatus, ...]

    @property
    def covered(self) -> Bool[np.ndarray, " instrument"]:
        """Which instruments have nine tenths of the returns or more; of 252, 227. Risk leaves the others out."""
        present = (~np.isnan(self.values)).sum(axis=0)
        covered: np.ndarray = (present > 0) & (10 * present >= COVERED_TENTHS * len(self.days))
        return covered

    def of(self, instruments: Sequence[InstrumentId]) -> ReturnPanel:
        """The returns of these instruments, in their order; of those that are not in the panel, all NaN."""
        columns = columns_of(self.instruments, instruments)
        values = np.full((len(self.days), len(columns)), np.nan)
        values[:, columns >= 0] = self.values[:, columns[columns >= 0]]
        return ReturnPanel(
            start=self.start,
            days=self.days,
            instruments=tuple(instruments),
            values=values,
            statuses=tuple(self.statuses[column] if column >= 0 else PriceStatus.NO_PRICES for column in columns),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PricePanel:
    """The closes of all instruments on all days on which at least one of them has one; NaN where there is none.

    `days` (datetime64[D]) and `instruments` ascend. `closes` are in the units of their day, and what a quantity of that
    day is multiplied with; `adjusted` have splits taken out, and returns are made of them.
    """

    days: Shaped[np.ndarray, " day"]
    instruments: tuple[InstrumentId, ...]
    closes: Float64[np.ndarray, "day instrument"]
    adjusted: Float64[np.ndarray, "day instrument"]

    def on(self, days: Bool[np.ndarray, " day"]) -> PricePanel:
        """The panel of some of its days; itself, if of all."""
        if days.all():
            return self
        return PricePanel(
            days=self.days[days],
            instruments=self.instruments,
            closes=self.closes[days],
            adjusted=self.adjusted[days],
        )

    def returns(self, window: int) -> ReturnPanel:
        """Of the adjusted closes of consecutive days, the last `window` returns, or as many as there are."""
        first = max(len(self.days) - window - 1, 0)
        adjusted, days = self.adjusted[first:], self.days[first:]
        return ReturnPanel(
            start=days[0] if len(days) > 1 else None,
            days=days[1:],
            instruments=self.instruments,
            values=adjusted[1:] / adjusted[:-1] - 1.0,
            statuses=_statuses(~np.isnan(adjusted)),
        )


class Calendars:
    """A panel without the weekends of others: Mondays to Fridays, and Saturdays and Sundays on which one's own has a close.

    Prices of what trades all week, or one that was recorded for a Saturday by mistake, make no days for those who do not
    hold it. Weekdays stay, so that an instrument without a close on some is seen to have gaps.
    """

    def __init__(self, panel: PricePanel) -> None:
        self._panel = panel
        self._is_weekday = np.is_busday(panel.days)
        self._weekend_closes = ~np.isnan(panel.closes[~self._is_weekday])
        self._known: dict[bytes, PricePanel] = {}

    def of(self, instruments: Iterable[InstrumentId]) -> PricePanel:
        """The days of those who hold these. The same object for the same days."""
        columns = columns_of(self._panel.instruments, list(instruments))
        own = self._weekend_closes[:, columns[columns >= 0]].any(axis=1)
        days = self._is_weekday.copy()
        days[~self._is_weekday] = own
        key = own.tobytes()
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._panel.on(days)
        return known


def price_panel(prices: pl.DataFrame) -> PricePanel:
    """Prices as `frames.prices` gives them, in any order, as a panel."""
    days, rows = np.unique(prices["price_date"].to_numpy(), return_inverse=True)
    names = prices["instrument_id"].unique().sort()
    columns = prices["instrument_id"].cast(pl.Enum(names)).to_physical().to_numpy()
    numbers = float64(prices)
    closes, adjusted = (np.full((len(days), len(names)), np.nan) for _ in range(2))
    closes[rows, columns] = numbers["close"].to_numpy()
    adjusted[rows, columns] = numbers["adjusted_close"].to_numpy()
    return PricePanel(
        days=days.astype("datetime64[D]"),
        instruments=tuple(map(shared, names)),
        closes=closes,
        adjusted=adjusted,
    )


def columns_of(
    ascending: Sequence[InstrumentId], instruments: Sequence[InstrumentId]
) -> Int64[np.ndarray, " instrument"]:
    """Where each of `instruments` is among those in ascending order; -1 for what is not there."""
    places = [bisect_left(ascending, name) for name in instruments]
    return np.array(
        [
            place if place < len(ascending) and ascending[place] == name else -1
            for place, name in zip(places, instruments, strict=True)
        ],
        dtype=np.int64,
    )


def _statuses(has: Bool[np.ndarray, "day instrument"]) -> tuple[PriceStatus, ...]:
    """The status of each instrument by the days on which it has a close, of those that the window's returns need."""
    ever = has.any(axis=0)
    always = has.all(axis=0)
    at_the_end = has[-1:].all(axis=0)
    since_the_first = (np.maximum.accumulate(has, axis=0) == has).all(axis=0)
    found = np.select(
        [~ever, always, ~at_the_end, since_the_first],
        [PriceStatus.NO_PRICES, PriceStatus.COMPLETE, PriceStatus.STALE, PriceStatus.SHORT_HISTORY],
        PriceStatus.GAPS,
    )
    return tuple(map(PriceStatus, found))
