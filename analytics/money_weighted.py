"""Money-weighted returns (XIRR) of many portfolios: the rate at which all flows are worth nothing today.

With growth z over the longest span, a flow at the fraction s of it is discounted by exp(-z s), which neither overflows nor
has a pole, so every portfolio is searched on the same interval of z, however long its span.
"""

from __future__ import annotations

import math
import sys
from typing import Final, NamedTuple

from jaxtyping import Array, Bool, Float, Int

from analytics.jax_setup import jax, jnp

GROWTH_MAX: Final = 32.0
"""Rates are looked for where money grows or shrinks by at most exp(32), 8e13, over the whole span."""

_STEPS: Final = 256
"""Grid steps over the interval, 0.03 wide about 0 and wider outwards: two roots within one step are taken for none."""

_ITERATIONS_MAX: Final = 100
_PRECISION: Final = sys.float_info.epsilon


class MoneyWeighted(NamedTuple):
    """`rate` a year where `roots` is 1."""

    rate: Float[Array, " portfolio"]
    roots: Int[Array, " portfolio"]


class _Search(NamedTuple):
    """Safeguarded Newton: the root is between `low` and `high`, where the value has the sign of `sign_low` at `low`."""

    low: Float[Array, " portfolio"]
    high: Float[Array, " portfolio"]
    growth: Float[Array, " portfolio"]
    step: Float[Array, " portfolio"]
    iterations: Int[Array, ""]


@jax.jit
def money_weighted_return(
    amounts: Float[Array, "portfolio flow"],
    years: Float[Array, "portfolio flow"],
    present: Bool[Array, "portfolio flow"],
) -> MoneyWeighted:
    """Of flows as the investor has them: paid in below zero, taken out and what is left above.

    `years` count from the first flow, ACT/365. -200, and 210 after 364 days: 0.05014075.
    """
    flows = jnp.where(present, amounts, 0.0)
    span = jnp.max(jnp.where(present, years, 0.0), axis=1)
    fractions = jnp.where(present, years, 0.0) / jnp.where(span > 0, span, 1.0)[:, None]
    place, roots = _bracket(flows, fractions)
    growth = _root_within(flows, fractions, _grid(place), _grid(place + 1))
    rate = jnp.expm1(growth / span)
    # A fifth more in a day is 1e29 a year, but a hundredfold is more than a float holds, and no rate.
    return MoneyWeighted(rate=rate, roots=jnp.where((span > 0) & jnp.isfinite(rate), roots, 0))


def _bracket(
    flows: Float[Array, "portfolio flow"], fractions: Float[Array, "portfolio flow"]
) -> tuple[Int[Array, " portfolio"], Int[Array, " portfolio"]]:
    """The grid step in which the sign changes, and in how many it does."""

    def step(
        index: int, found: tuple[Int[Array, " portfolio"], Int[Array, " portfolio"], Bool[Array, " portfolio"]]
    ) -> tuple[Int[Array, " portfolio"], Int[Array, " portfolio"], Bool[Array, " portfolio"]]:
        place, roots, was_positive = found
        is_positive = _present_value(flows, fractions, jnp.full_like(flows[:, 0], _grid(index))) > 0
        changed = is_positive != was_positive
        return jnp.where(changed, index - 1, place), roots + changed, is_positive

    lowest = jnp.full_like(flows[:, 0], -GROWTH_MAX)
    none = jnp.zeros_like(lowest, dtype=int)
    place, roots, _ = jax.lax.fori_loop(1, _STEPS + 1, step, (none, none, _present_value(flows, fractions, lowest) > 0))
    return place, roots


def _grid(index: Array | int) -> Array:
    """Growth at grid points, -32 to 32."""
    return jnp.sinh((2 * jnp.asarray(index) / _STEPS - 1) * math.asinh(GROWTH_MAX))


def _root_within(
    flows: Float[Array, "portfolio flow"],
    fractions: Float[Array, "portfolio flow"],
    low: Float[Array, " portfolio"],
    high: Float[Array, " portfolio"],
) -> Float[Array, " portfolio"]:
    """Newton from the middle of a grid step; where it would leave the bracket or hardly moves it, the bracket is halved."""
    positive_low = _present_value(flows, fractions, low) > 0

    def refine(search: _Search) -> _Search:
        value, slope = jax.jvp(
            lambda growth: _present_value(flows, fractions, growth), (search.growth,), (jnp.ones_like(search.growth),)
        )
        above_low = (value > 0) == positive_low
        low, high = jnp.where(above_low, search.growth, search.low), jnp.where(above_low, search.high, search.growth)
        newton = search.growth - value / slope
        inside = (newton > low) & (newton < high) & (jnp.abs(newton - search.growth) < 0.5 * jnp.abs(search.step))
        growth = jnp.where(value == 0, search.growth, jnp.where(inside, newton, 0.5 * (low + high)))
        return _Search(low, high, growth, growth - search.growth, search.iterations + 1)

    def is_moving(search: _Search) -> Bool[Array, ""]:
        moved = jnp.abs(search.step) > _PRECISION * jnp.abs(search.growth)
        return (search.iterations < _ITERATIONS_MAX) & jnp.any(moved)

    begin = _Search(low, high, 0.5 * (low + high), high - low, jnp.asarray(0))
    return jax.lax.while_loop(is_moving, refine, begin).growth


def _present_value(
    flows: Float[Array, "portfolio flow"], fractions: Float[Array, "portfolio flow"], growth: Float[Array, " portfolio"]
) -> Float[Array, " portfolio"]:
    return jnp.sum(flows * jnp.exp(-growth[:, None] * fractions), axis=1)
