"""The real closing prices that the sample trades at, the index of their market, and the stock splits of their time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Final

import polars as pl

from portfolio import money
from portfolio.book import Mark
from portfolio.daily_price import DailyPrice
from portfolio.ids import InstrumentId
from portfolio.transactions import Ratio

_EXAMPLES: Final = Path(__file__).parents[1] / "examples"
SAMPLE_PRICES: Final = _EXAMPLES / "sp500_closes.parquet"
SAMPLE_INDEX: Final = _EXAMPLES / "sp500_index.parquet"
"""The S&P 500 itself, as instrument SP500, for comparison: nothing trades it."""
AFTER_THE_CLOSE: Final = time(21, tzinfo=UTC)
"""New York's exchanges have closed by then, in summer and in winter."""


@dataclass(frozen=True, slots=True)
class Split:
    """A stock split: trades from `day` on are in new units."""

    instrument_id: InstrumentId
    day: date
    ratio: Ratio


# These are all that the 20 stocks had from 2018 to 2022. The source has taken them out of its prices, as if today's units
# had always been traded. The sample puts them back: before the day of a split it trades at the close in the units of
# that time (Apple at 4 times the source's close), on the day it books the SPLIT, and afterwards it trades at the close
# as it is. So a split changes no position's value, and no portfolio has a profit that nobody made.
SPLITS: Final = (
    Split(InstrumentId("AAPL"), date(2020, 8, 31), Ratio(4, 1)),
    Split(InstrumentId("GE"), date(2021, 8, 2), Ratio(1, 8)),
)


@dataclass(frozen=True, slots=True)
class Prices:
    """A close for every instrument on every one of `days`, in the units of the last day."""

    days: tuple[date, ...]
    closes: Mapping[InstrumentId, tuple[Decimal, ...]]

    @property
    def instruments(self) -> tuple[InstrumentId, ...]:
        """All instruments, ordered."""
        return tuple(sorted(self.closes))

    def on(self, day_index: int, instrument_id: InstrumentId) -> Decimal:
        """What one unit cost then, in the units of then: 163.328 for AAPL on the day whose close is 40.832."""
        close = self.closes[instrument_id][day_index]
        for split in SPLITS:
            if split.instrument_id == instrument_id and self.days[day_index] < split.day:
                close = money.divide(money.multiply(close, Decimal(split.ratio.new)), Decimal(split.ratio.old))
        return close

    def moment(self, day_index: int) -> datetime:
        """When the trades of a day take effect."""
        return datetime.combine(self.days[day_index], AFTER_THE_CLOSE)

    def last_marks(self) -> dict[InstrumentId, Mark]:
        """The last day's close of each instrument, as a market mark."""
        last = len(self.days) - 1
        return {instrument: Mark(self.on(last, instrument), self.moment(last)) for instrument in self.instruments}

    def daily(self) -> Iterator[DailyPrice]:
        """Every close: as it was in the units of then, and adjusted as the source has it."""
        for instrument in self.instruments:
            for index, day in enumerate(self.days):
                yield DailyPrice(
                    instrument_id=instrument,
                    day=day,
                    close=self.on(index, instrument),
                    adjusted_close=self.closes[instrument][index],
                )


def read_prices(path: Path = SAMPLE_PRICES) -> Prices:
    """The prices in a Parquet file of instrument_id, date and close. Raises ValueError if a day of a stock is missing."""
    frame = pl.read_parquet(path).sort("instrument_id", "date")
    days = frame["date"].unique().sort().to_list()
    closes: dict[InstrumentId, tuple[Decimal, ...]] = {}
    for (name,), rows in frame.group_by("instrument_id", maintain_order=True):
        if rows["date"].to_list() != days:
            raise ValueError(f"{path}: {name} has {rows.height} days, expected each of {len(days)} once")
        closes[InstrumentId(str(name))] = tuple(rows["close"].to_list())
    return Prices(tuple(days), closes)
