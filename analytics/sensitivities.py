"""How the tails of a portfolio's returns change with each weight, by JAX's derivatives of the figures.

For historical VaR these are minus the returns of the day that is the VaR, and for CVaR their mean over the tail: D. Tasche,
Risk contributions and performance measurement (1999). They are exact until a weight moves enough to change the order of days.
Both figures are homogeneous of degree one, so weights times sensitivities add up to them (Euler). Volatility's are in
`risk.py`, whose products have them at no cost.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from analytics.conventions import CONFIDENCE_LEVELS, COUNT_GUARD, tail_count
from analytics.jax_setup import jax, jnp


class TailSensitivities(NamedTuple):
    """Derivatives with respect to weights of the historical tails of a day, at each of `CONFIDENCE_LEVELS`."""

    value_at_risk: Float[Array, "level portfolio instrument"]
    conditional_value_at_risk: Float[Array, "level portfolio instrument"]


def tail_sensitivities(
    weights: Float[Array, "portfolio instrument"],
    returns: Float[Array, "instrument day"],
    present: Bool[Array, " day"],
) -> TailSensitivities:
    """Of portfolios on the same days; also for instruments that they do not hold."""
    tails, pull = jax.vjp(lambda moved: _tails(moved @ returns, present), weights)
    # A portfolio's figure depends on its own weights alone, so the gradient of all portfolios' sum has everyone's.
    figures = jnp.eye(len(tails))[:, :, None] * jnp.ones(tails.shape[1])
    (found,) = jax.vmap(pull)(figures)
    levels = len(CONFIDENCE_LEVELS)
    return TailSensitivities(found[:levels], found[levels:])


def _tails(daily: Float[Array, "portfolio day"], present: Bool[Array, " day"]) -> Float[Array, "figure portfolio"]:
    """VaR at each level and then CVaR, as `value_at_risk.historical` has them."""
    losses = jnp.where(present, -daily, -jnp.inf)
    # There are no more in any tail of the days that are present.
    worst, _ = jax.lax.top_k(losses, tail_count(losses.shape[1], CONFIDENCE_LEVELS[0]))
    pairs = [_tail(worst, jnp.sum(present), level) for level in CONFIDENCE_LEVELS]
    return jnp.stack([var for var, _ in pairs] + [cvar for _, cvar in pairs])


def _tail(
    worst: Float[Array, "portfolio loss"], days: Int[Array, ""], confidence: float
) -> tuple[Float[Array, " portfolio"], Float[Array, " portfolio"]]:
    reach = (1 - confidence) * days
    count = jnp.maximum(1, jnp.ceil(reach - COUNT_GUARD))
    place = jnp.arange(worst.shape[1])
    var = jnp.sum(jnp.where(place == count - 1, worst, 0.0), axis=1)
    return var, var + jnp.sum(jnp.where(place < count, worst - var[:, None], 0.0), axis=1) / reach


sensitivities_of_batch = jax.jit(tail_sensitivities)
"""Portfolios that share their days and instruments."""

sensitivities_of_each = jax.jit(jax.vmap(tail_sensitivities))
"""Portfolios each with days and instruments of its own: a leading axis over batches of one."""
