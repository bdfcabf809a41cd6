"""What is to be optimised, in numbers: an objective, what is known of the market, and limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analytics.optimise.answer import SolveStatus
from analytics.optimise.limits import Limits
from analytics.optimise.request import Objective


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """`covariance` and `expected` are a year's; `scenarios` are returns of the horizon that CVaR is wanted for.

    `tracked_covariance` are the covariances of the assets with what is tracked, `tracked_variance` its own variance.
    `risk_free_rate` is a year's; `budgets` are shares of risk, None for equal ones.
    """

    objective: Objective
    limits: Limits
    covariance: Float64[np.ndarray, "asset asset"]
    expected: Float64[np.ndarray, " asset"]
    scenarios: Float64[np.ndarray, "scenario asset"] | None = None
    tracked_covariance: Float64[np.ndarray, " asset"] | None = None
    tracked_variance: float = 0.0
    risk_aversion: float = 1.0
    confidence_level: float = 0.95
    risk_free_rate: float = 0.0
    budgets: Float64[np.ndarray, " asset"] | None = None

    def variance(self, weights: Float64[np.ndarray, " asset"]) -> float:
        """A year's. Not below 0, as rounding would have it where fewer days than assets leave no risk."""
        return max(float(weights @ self.covariance @ weights), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """Weights in the order of the limits' names, None where there are none; residuals as docs/optimisation.md has them."""

    status: SolveStatus
    weights: Float64[np.ndarray, " asset"] | None
    iterations: int
    primal_residual: float | None
    dual_residual: float | None
    gap: float | None
    binding: tuple[str, ...] = ()
    conflict: tuple[str, ...] = ()
