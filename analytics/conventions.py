"""The conventions that every figure follows. docs/analytics.md has the formulas and where each comes from."""

from __future__ import annotations

import math
from typing import Final

PERIODS_PER_YEAR: Final = 252
"""Trading days. Means are annualised by this factor, deviations by its square root."""

DDOF: Final = 1
"""Deviations and covariances divide by the number of observations less this."""

DAYS_PER_YEAR: Final = 365
"""Of money-weighted returns: ACT/365."""

CONFIDENCE_LEVELS: Final = (0.95, 0.99)

EWMA_DECAY: Final = 0.94
"""RiskMetrics' for daily returns."""

OBSERVATIONS_MIN: Final = 2
"""With one, there is no deviation."""

DEVIATION_MIN: Final = 1e-12
"""A standard deviation a day below this is rounding: returns that are all the same leave about 1e-18."""

COUNT_GUARD: Final = 1e-9
"""More than the rounding of alpha * T, and less than any such product is short of the next whole number."""


def level_name(confidence: float) -> str:
    """0.95 is "0.95" in every document."""
    return f"{confidence:g}"


def per_period(annual_rate: float) -> float:
    """The rate that compounds to `annual_rate` over a year of periods. 0.02 a year is 0.0000785850... a day."""
    return math.expm1(math.log1p(annual_rate) / PERIODS_PER_YEAR)


def tail_count(observations: int, confidence: float) -> int:
    """How many of the worst observations make the tail: ceil(alpha * T).

    0.05 * 1,000 is 50: the floats' 1 - 0.95 is a little more than 0.05, and without a guard the ceiling would be 51.
    """
    return max(1, math.ceil((1 - confidence) * observations - COUNT_GUARD))
