"""What the market is taken to do, from the daily returns of a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from analytics.conventions import OBSERVATIONS_MIN, PERIODS_PER_YEAR
from analytics.covariance import ewma_covariance, ledoit_wolf_covariance, sample_covariance
from analytics.document import WindowDocument
from analytics.figures import as_date
from analytics.optimise.request import Covariance
from analytics.panel import Calendars, PricePanel
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompleteReturns:
    """Daily returns without gaps, [day, instrument], of some days or all of a window."""

    instruments: Sequence[InstrumentId]
    values: Float64[np.ndarray, "day instrument"]
    window: WindowDocument


def complete_returns(prices: PricePanel, named: Mapping[str, Sequence[InstrumentId]], window: int) -> CompleteReturns:
    """The returns of a window of the instruments' own days, without those on which one of the instruments has none. Nothing is filled.

    `named`: the instruments by the field of the request that they are for. Raises InvalidRequest, naming field and instrument
    of the first that has less than nine tenths of them.
    """
    instruments = [name for names in named.values() for name in names]
    panel = Calendars(prices).of(instruments).returns(window).of(instruments)
    fields = [field for field, names in named.items() for _ in names]
    for field, name, status, is_covered in zip(fields, instruments, panel.statuses, panel.covered, strict=True):
        if not is_covered:
            raise InvalidRequest(
                f"{name} has too few prices ({status}): nine tenths of the last {window} returns are needed"
                + ("; leave it out of instruments to optimise the others" if field == "instruments" else ""),
                field=field,
                instrument_id=name,
            )
    has_all = ~np.isnan(panel.values).any(axis=1)
    count = int(has_all.sum())
    if panel.start is None or count < OBSERVATIONS_MIN:
        raise InvalidRequest(
            f"the window has {count} days on which all instruments have a return, expected {OBSERVATIONS_MIN} or more",
            field="window",
        )
    days = WindowDocument(periods=len(panel.days), start=as_date(panel.start), end=as_date(panel.days[-1]))
    return CompleteReturns(instruments=instruments, values=panel.values[has_all], window=days)


def yearly_covariance(
    returns: Float64[np.ndarray, "day instrument"], kind: Covariance
) -> Float64[np.ndarray, "instrument instrument"]:
    """Daily covariances times 252."""
    by_instrument = np.ascontiguousarray(returns.T)
    present: Bool[np.ndarray, " day"] = np.ones(len(returns), dtype=bool)
    daily = np.asarray(_DAILY[kind](by_instrument, present), dtype=np.float64)
    # Products of matrices are symmetric to the last bit but one.
    symmetric: Float64[np.ndarray, "instrument instrument"] = (daily + daily.T) * (PERIODS_PER_YEAR / 2)
    return symmetric


_DAILY: Final[Mapping[Covariance, Callable[[np.ndarray, np.ndarray], object]]] = {
    Covariance.SAMPLE: sample_covariance,
    Covariance.EWMA: ewma_covariance,
    Covariance.LEDOIT_WOLF: lambda returns, present: ledoit_wolf_covariance(returns, present).covariance,
}


def yearly_means(
    returns: Float64[np.ndarray, "day instrument"], instruments: Sequence[InstrumentId], given: Mapping[str, float]
) -> Float64[np.ndarray, " instrument"]:
    """What is given, else daily means times 252."""
    means = returns.mean(axis=0) * PERIODS_PER_YEAR
    return np.array([given.get(name, mean) for name, mean in zip(instruments, means, strict=True)], dtype=float)
