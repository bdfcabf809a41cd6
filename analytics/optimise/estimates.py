"""What the market is taken to do, from the daily returns of a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from analytics.conventions import OBSERVATIONS_MIN, PERIODS_PER_YEAR
from analytics.covariance import ewma_covariance, ledoit_wolf_covariance, sample_covariance
from analytics.optimise.request import Covariance
from analytics.panel import Calendars, PricePanel
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId


def complete_returns(
    prices: PricePanel, instruments: Sequence[InstrumentId], window: int
) -> Float64[np.ndarray, "day instrument"]:
    """The returns of a window of the instruments' own days, without those on which one of the instruments has none. Nothing is filled.

    Raises InvalidRequest, naming the first instrument that has less than nine tenths of them.
    """
    panel = Calendars(prices).of(instruments).returns(window).of(instruments)
    for name, status, is_covered in zip(panel.instruments, panel.statuses, panel.covered, strict=True):
        if not is_covered:
            raise InvalidRequest(
                f"{name} has too few prices to be optimised ({status}): nine tenths of the last {window} returns are "
                "needed; left out of instruments, it is held as it is",
                field="instruments",
                instrument_id=name,
            )
    returns: Float64[np.ndarray, "day instrument"] = panel.values[~np.isnan(panel.values).any(axis=1)]
    if len(returns) < OBSERVATIONS_MIN:
        raise InvalidRequest(
            f"the window has {len(returns)} days on which all instruments have a return, expected {OBSERVATIONS_MIN} or more",
            field="window",
        )
    return returns


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
