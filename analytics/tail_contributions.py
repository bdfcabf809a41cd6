"""What each holding adds to the historical tails of its portfolio: its weight times the tail's sensitivity to it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from analytics import samples
from analytics.batched import batched
from analytics.conventions import CONFIDENCE_LEVELS
from analytics.sensitivities import sensitivities_of_batch, sensitivities_of_each


class TailContributions(NamedTuple):
    """Parts of the loss of one day. A portfolio's add up to its VaR and CVaR; zero for what it does not hold, and where
    there is neither."""

    value_at_risk: Float64[np.ndarray, "portfolio level instrument"]
    conditional_value_at_risk: Float64[np.ndarray, "portfolio level instrument"]


def tail_contributions(
    weights: Float64[np.ndarray, "portfolio instrument"],
    returns: Float64[np.ndarray, "day instrument"],
    covered: Bool[np.ndarray, " instrument"],
) -> TailContributions:
    """Of today's holdings, on the days that `analyse_risk` takes; arguments are as there."""
    chosen = np.where(covered, weights, 0.0)
    count, instruments = weights.shape
    levels = np.arange(len(CONFIDENCE_LEVELS))
    found = TailContributions(*(np.zeros((count, len(levels), instruments)) for _ in TailContributions._fields))
    for batch, gradients in batched(chosen, samples.panel(returns, None), _of_batch, _of_each):
        held = chosen[np.ix_(batch.portfolios, batch.instruments)]
        for tail, gradient in zip(found, gradients, strict=True):
            cut = gradient[:, : len(batch.portfolios), : len(batch.instruments)]
            tail[np.ix_(batch.portfolios, levels, batch.instruments)] = np.moveaxis(held * cut, 0, 1)
    return found


def _of_batch(weights: Any, returns: Any, present: Any, _benchmark: Any) -> Any:
    return sensitivities_of_batch(weights, returns, present)


def _of_each(weights: Any, returns: Any, present: Any, _benchmark: Any) -> Any:
    return sensitivities_of_each(weights, returns, present)
