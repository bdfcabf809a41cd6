"""What portfolios hold now, as arrays: market values by portfolio and instrument, and the totals that they are fractions of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64

from analytics.frames import book_frames, float64
from portfolio.book import MarkedBook
from portfolio.ids import InstrumentId, PortfolioId

Amounts = Float64[np.ndarray, " portfolio"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Holdings:
    """Portfolios in the order given, `instruments` in ascending order; amounts are the float64 nearest to the exact ones."""

    portfolio_ids: Sequence[PortfolioId]
    versions: Sequence[int]
    as_of: Sequence[datetime]
    instruments: tuple[InstrumentId, ...]
    market_values: Float64[np.ndarray, "portfolio instrument"]
    total_value: Amounts
    cash: Amounts
    gross_exposure: Amounts
    net_exposure: Amounts

    @property
    def has_weights(self) -> Bool[np.ndarray, " portfolio"]:
        """Whether the total value is above zero, without which fractions of it mean nothing."""
        positive: np.ndarray = self.total_value > 0
        return positive

    @property
    def weights(self) -> Float64[np.ndarray, "portfolio instrument"]:
        """Market values as fractions of the total value; zero where that is not above zero."""
        totals = np.where(self.has_weights, self.total_value, 1.0)
        weights: np.ndarray = np.where(self.has_weights[:, None], self.market_values / totals[:, None], 0.0)
        return weights


def holdings(books: Sequence[MarkedBook]) -> Holdings:
    """Of portfolios at their marks, each portfolio once."""
    frames = book_frames(books)
    portfolios, positions = float64(frames.portfolios), float64(frames.positions)
    names = positions["instrument_id"].unique().sort()
    market_values = np.zeros((len(portfolios), len(names)))
    rows = positions["portfolio_id"].cast(pl.Enum(portfolios["portfolio_id"])).to_physical().to_numpy()
    columns = positions["instrument_id"].cast(pl.Enum(names)).to_physical().to_numpy()
    market_values[rows, columns] = positions["market_value"].to_numpy()
    return Holdings(
        portfolio_ids=portfolios["portfolio_id"].to_list(),
        versions=portfolios["version"].to_list(),
        as_of=portfolios["as_of"].to_list(),
        instruments=tuple(map(InstrumentId, names)),
        market_values=market_values,
        total_value=portfolios["total_value"].to_numpy(),
        cash=portfolios["cash_balance"].to_numpy(),
        gross_exposure=portfolios["gross_exposure"].to_numpy(),
        net_exposure=portfolios["net_exposure"].to_numpy(),
    )
