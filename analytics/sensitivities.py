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

    return Sensitivities(
        volatility=_gradient(partial(_volatility, returns), weights),
        value_at_risk=jnp.stack([_gradient(partial(_var, returns, level), weights) for level in CONFIDENCE_LEVELS]),
        conditional_value_at_risk=jnp.stack(
            [_gradient(partial(_cvar, returns, level), weights) for level in CONFIDENCE_LEVELS]
        ),
    )


def _gradient(figure: Callable[[Weights], Figures], weights: Weights) -> Weights:
    # A portfolio's figure depends on its own weights alone, so the gradient of the sum has everyone's.
    found: Weights = jax.grad(lambda moved: jnp.sum(figure(moved)))(weights)
    return found


def _volatility(returns: Float[Array, "day instrument"], weights: Weights) -> Figures:
    daily = weights @ returns.T
    deviations = daily - jnp.mean(daily, axis=1, keepdims=True)
    return jnp.sqrt(jnp.sum(deviations**2, axis=1) / (returns.shape[0] - DDOF) * PERIODS_PER_YEAR)


def _var(returns: Float[Array, "day instrument"], confidence: float, weights: Weights) -> Figures:
    """As in `value_at_risk.historical`, and so is `_cvar`: sorted by JAX, which can differentiate it."""
    return _worst(returns, confidence, weights)[:, -1]


def _cvar(returns: Float[Array, "day instrument"], confidence: float, weights: Weights) -> Figures:
    worst = _worst(returns, confidence, weights)
    var = worst[:, -1]
    return var + jnp.sum(worst - var[:, None], axis=1) / ((1 - confidence) * returns.shape[0])


def _worst(
    returns: Float[Array, "day instrument"], confidence: float, weights: Weights
) -> Float[Array, "portfolio loss"]:
    """The losses of the tail, the largest first."""
    return -jnp.sort(weights @ returns.T, axis=1)[:, : tail_count(returns.shape[0], confidence)]
