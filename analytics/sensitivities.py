"""How a portfolio's risk changes with each weight, by differentiating the figures themselves.

For volatility this is the closed form (Sigma w) / sigma of the contributions. For historical VaR it is minus the returns of
the day that is the VaR, and for CVaR their mean over the tail, Tasche (1999): exact until a weight moves enough to change
the order of days.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float

from analytics.conventions import CONFIDENCE_LEVELS, DDOF, PERIODS_PER_YEAR, tail_count
from analytics.jax_setup import jax, jnp

Weights: TypeAlias = Float[Array, "portfolio instrument"]
Figures: TypeAlias = Float[Array, " portfolio"]


class Sensitivities(NamedTuple):
    """Derivatives with respect to weights: the volatility's a year's, the tails' a day's, at each of `CONFIDENCE_LEVELS`."""

    volatility: Weights
    value_at_risk: Float[Array, "level portfolio instrument"]
    conditional_value_at_risk: Float[Array, "level portfolio instrument"]


@jax.jit
def sensitivities(weights: Weights, returns: Float[Array, "day instrument"]) -> Sensitivities:
    """Of portfolios of covered instruments, on days without gaps; also for instruments that are not held."""

    def gradient(figure: Callable[[Weights], Figures]) -> Weights:
        # A portfolio's figure depends on its own weights alone, so the sum's gradient has everyone's.
        return jax.grad(lambda moved: jnp.sum(figure(moved)))(weights)

    levels = range(len(CONFIDENCE_LEVELS))
    return Sensitivities(
        volatility=gradient(partial(_volatility, returns)),
        value_at_risk=jnp.stack([gradient(lambda moved, at=at: _tails(returns, moved, at)[0]) for at in levels]),
        conditional_value_at_risk=jnp.stack(
            [gradient(lambda moved, at=at: _tails(returns, moved, at)[1]) for at in levels]
        ),
    )


def _volatility(returns: Float[Array, "day instrument"], weights: Weights) -> Figures:
    daily = weights @ returns.T
    deviations = daily - jnp.mean(daily, axis=1, keepdims=True)
    return jnp.sqrt(jnp.sum(deviations**2, axis=1) / (returns.shape[0] - DDOF) * PERIODS_PER_YEAR)


def _tails(returns: Float[Array, "day instrument"], weights: Weights, level: int) -> tuple[Figures, Figures]:
    """VaR and CVaR as in `value_at_risk.historical`, of what can be differentiated."""
    confidence, days = CONFIDENCE_LEVELS[level], returns.shape[0]
    worst = -jnp.sort(weights @ returns.T, axis=1)[:, : tail_count(days, confidence)]
    var = worst[:, -1]
    return var, var + jnp.sum(worst - var[:, None], axis=1) / ((1 - confidence) * days)
