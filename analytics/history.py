"""What a portfolio was worth at the end of each day, and what came in and went out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Shaped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NavHistory:
    """A point for each day with prices since the portfolio's first, then one for the present; never without points.

    Amounts are in the base currency. `inflows` and `outflows` (both 0 or above) are deposits and withdrawals, and
    transfers at their market value, since the point before. `carried` tells the points at which something held had no close of that day.
    """

    days: Shaped[np.ndarray, " day"]
    values: Float64[np.ndarray, " day"]
    inflows: Float64[np.ndarray, " day"]
    outflows: Float64[np.ndarray, " day"]
    carried: Bool[np.ndarray, " day"]
