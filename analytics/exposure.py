"""How much a portfolio has in the market and how it is spread, from market values."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from analytics.jax_setup import jax, jnp


class Exposure(NamedTuple):
    """Amounts in the base currency; leverage, `cash_weight` and `coverage` are fractions."""

    total_value: Float[Array, " portfolio"]
    cash: Float[Array, " portfolio"]
    long_exposure: Float[Array, " portfolio"]
    short_exposure: Float[Array, " portfolio"]
    """The market value of what is sold short: below zero, or zero."""
    gross_exposure: Float[Array, " portfolio"]
    net_exposure: Float[Array, " portfolio"]
    leverage: Float[Array, " portfolio"]
    cash_weight: Float[Array, " portfolio"]
    herfindahl_index: Float[Array, " portfolio"]
    effective_positions: Float[Array, " portfolio"]
    position_count: Int[Array, " portfolio"]
    coverage: Float[Array, " portfolio"]


@jax.jit
def exposure(
    market_values: Float[Array, "portfolio instrument"],
    cash: Float[Array, " portfolio"],
    covered: Bool[Array, " instrument"],
) -> Exposure:
    """Concentration is of gross exposure, so that shorts count: HHI = sum((|value| / gross)^2), and 1 / HHI positions.

    Long 60 and short 40, with cash 80: total 100, gross 100, net 20, leverage 1, HHI 0.52, 1.923 positions.
    """
    sizes = jnp.abs(market_values)
    net = jnp.sum(market_values, axis=1)
    gross = jnp.sum(sizes, axis=1)
    total = cash + net
    concentration = jnp.sum((sizes / gross[:, None]) ** 2, axis=1)
    return Exposure(
        total_value=total,
        cash=cash,
        long_exposure=jnp.sum(jnp.maximum(market_values, 0.0), axis=1),
        short_exposure=jnp.sum(jnp.minimum(market_values, 0.0), axis=1),
        gross_exposure=gross,
        net_exposure=net,
        leverage=gross / total,
        cash_weight=cash / total,
        herfindahl_index=concentration,
        effective_positions=1 / concentration,
        position_count=jnp.sum(market_values != 0, axis=1),
        coverage=jnp.sum(jnp.where(covered, sizes, 0.0), axis=1) / gross,
    )
