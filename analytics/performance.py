"""Performance of many portfolios from their daily values and flows, and of any daily returns.

Arrays are [portfolio, day]. Everything is linear passes over them; nothing crosses portfolios.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from analytics.conventions import DDOF, PERIODS_PER_YEAR
from analytics.jax_setup import jax, jnp


class DailyReturns(NamedTuple):
    """Time-weighted returns of days. A day that nothing was there for has none and is not `present`."""

    values: Float[Array, "portfolio day"]
    present: Bool[Array, "portfolio day"]
    through_zero: Bool[Array, " portfolio"]
    """On some day nothing or less was left, or the capital was negative. Returns mean nothing from there on."""


class Performance(NamedTuple):
    """Figures of [portfolio]; NaN or infinite where the reasons of `analyse_performance` say so."""

    periods: Int[Array, " portfolio"]
    twr: Float[Array, " portfolio"]
    annualised_return: Float[Array, " portfolio"]
    annualised_volatility: Float[Array, " portfolio"]
    sharpe_ratio: Float[Array, " portfolio"]
    sortino_ratio: Float[Array, " portfolio"]
    calmar_ratio: Float[Array, " portfolio"]
    downside_deviation: Float[Array, " portfolio"]
    max_drawdown: Float[Array, " portfolio"]
    max_drawdown_peak: Int[Array, " portfolio"]
    max_drawdown_trough: Int[Array, " portfolio"]
    max_drawdown_recovery: Int[Array, " portfolio"]


class Drawdown(NamedTuple):
    """The deepest fall of wealth below its last high, as a negative fraction, and the days of it.

    `peak` is the last day at that high, -1 where it is the 1 that wealth starts at. All are -1 where wealth never fell;
    `recovery` is where it has not come back.
    """

    depth: Float[Array, " portfolio"]
    peak: Int[Array, " portfolio"]
    trough: Int[Array, " portfolio"]
    recovery: Int[Array, " portfolio"]


@jax.jit
def daily_returns(
    values: Float[Array, "portfolio day"],
    inflows: Float[Array, "portfolio day"],
    outflows: Float[Array, "portfolio day"],
    present: Bool[Array, "portfolio day"],
    opening_values: Float[Array, " portfolio"],
) -> DailyReturns:
    """`(value + outflow) / (value before + inflow) - 1`: what comes in counts from the day's start, what goes out until its end.

    10,000 before, 200 in, 10,630 at the end: 10,630 / 10,200 - 1 = 4.2157 %. `opening_values` are from before the
    first day: 0 where a portfolio opens on it, so that the day counts if it was funded.
    """
    capital = _values_before(values, present, opening_values) + inflows
    left = values + outflows
    counted = present & (capital != 0)
    broken = counted & ((capital < 0) | (left <= 0))
    returns = jnp.where(counted, left / jnp.where(counted, capital, 1.0) - 1, 0.0)
    return DailyReturns(values=returns, present=counted, through_zero=jnp.any(broken, axis=1))


@jax.jit
def performance(
    returns: Float[Array, "portfolio day"], present: Bool[Array, "portfolio day"], risk_free_per_period: float
) -> Performance:
    """Every figure of daily returns; days that are not `present` count as if they were not there."""
    periods = jnp.sum(present, axis=1)
    kept = jnp.where(present, returns, 0.0)
    wealth = jnp.cumprod(1 + kept, axis=1)
    twr = wealth[:, -1] - 1
    annualised_return = wealth[:, -1] ** (PERIODS_PER_YEAR / periods) - 1
    deviation = _deviation(kept, present, periods)
    excess = jnp.sum(kept, axis=1) / periods - risk_free_per_period
    downside = _downside_deviation(kept - risk_free_per_period, present, periods)
    drawdown = deepest_drawdown(wealth, present)
    scale = jnp.sqrt(jnp.asarray(PERIODS_PER_YEAR, dtype=returns.dtype))
    return Performance(
        periods=periods,
        twr=twr,
        annualised_return=annualised_return,
        annualised_volatility=deviation * scale,
        sharpe_ratio=excess / deviation * scale,
        sortino_ratio=excess / downside * scale,
        calmar_ratio=annualised_return / -drawdown.depth,
        downside_deviation=downside * scale,
        max_drawdown=drawdown.depth,
        max_drawdown_peak=drawdown.peak,
        max_drawdown_trough=drawdown.trough,
        max_drawdown_recovery=drawdown.recovery,
    )


def deepest_drawdown(wealth: Float[Array, "portfolio day"], present: Bool[Array, "portfolio day"]) -> Drawdown:
    """Of wealth that started at 1 before the first day. Absent days repeat the wealth before them.

    1.1, 0.99, 0.88, 1.2: -20 %, from the high of day 0 to the low of day 2, made good on day 3.
    """
    day = jnp.arange(wealth.shape[1])
    highs = jnp.maximum(jax.lax.cummax(wealth, axis=1), 1.0)
    depths = wealth / highs - 1
    trough = jnp.argmin(depths, axis=1)
    depth = jnp.take_along_axis(depths, trough[:, None], axis=1)[:, 0]
    high = jnp.take_along_axis(highs, trough[:, None], axis=1)
    fell = depth < 0
    peak = jnp.max(jnp.where(present & (wealth >= high) & (day <= trough[:, None]), day, -1), axis=1)
    recovered = (wealth >= high) & (day > trough[:, None])
    recovery = jnp.where(jnp.any(recovered, axis=1), jnp.argmax(recovered, axis=1), -1)
    return Drawdown(
        depth=depth,
        peak=jnp.where(fell, peak, -1),
        trough=jnp.where(fell, trough, -1),
        recovery=jnp.where(fell, recovery, -1),
    )


def _values_before(
    values: Float[Array, "portfolio day"],
    present: Bool[Array, "portfolio day"],
    opening_values: Float[Array, " portfolio"],
) -> Float[Array, "portfolio day"]:
    """The value at the last present day before each day."""
    days = jnp.arange(values.shape[1])
    last_present = jax.lax.cummax(jnp.where(present, days, -1), axis=1)
    before = jnp.concatenate([jnp.full_like(last_present[:, :1], -1), last_present[:, :-1]], axis=1)
    known = jnp.take_along_axis(values, jnp.maximum(before, 0), axis=1)
    return jnp.where(before >= 0, known, opening_values[:, None])


def _deviation(
    kept: Float[Array, "portfolio day"], present: Bool[Array, "portfolio day"], periods: Int[Array, " portfolio"]
) -> Float[Array, " portfolio"]:
    mean = jnp.sum(kept, axis=1) / periods
    centred = jnp.where(present, kept - mean[:, None], 0.0)
    return jnp.sqrt(jnp.sum(centred**2, axis=1) / (periods - DDOF))


def _downside_deviation(
    excess: Float[Array, "portfolio day"], present: Bool[Array, "portfolio day"], periods: Int[Array, " portfolio"]
) -> Float[Array, " portfolio"]:
    """The root mean square of what falls short, over all periods, those above too."""
    short = jnp.where(present, jnp.minimum(excess, 0.0), 0.0)
    return jnp.sqrt(jnp.sum(short**2, axis=1) / periods)
