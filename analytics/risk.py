"""Risk of holdings, for many portfolios over the same days: two matrix products, and passes over what they give.

Weights are fractions of total value, [portfolio, instrument]; returns are daily, [instrument, day]. Weights are held still:
the returns of a portfolio are those of what it holds today.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from analytics.conventions import DDOF, PERIODS_PER_YEAR
from analytics.covariance import centred, ewma_weights, ledoit_wolf_shrinkage
from analytics.jax_setup import jax, jnp


class Sample(NamedTuple):
    """The days that some portfolios have in common. Returns on days that are not `present` do not count."""

    returns: Float[Array, "instrument day"]
    present: Bool[Array, " day"]
    benchmark: Float[Array, " day"]
    """Simple returns; NaN where there is none."""


class Moments(NamedTuple):
    """Of a portfolio's daily returns. `deviation` divides by T - 1; skewness and excess kurtosis are the population's."""

    mean: Float[Array, " portfolio"]
    deviation: Float[Array, " portfolio"]
    skewness: Float[Array, " portfolio"]
    excess_kurtosis: Float[Array, " portfolio"]


class Against(NamedTuple):
    """Figures against the benchmark, on the days it has; `tracking_error` and `active_return` are a year's."""

    observations: Int[Array, ""]
    variance: Float[Array, ""]
    beta: Float[Array, " portfolio"]
    tracking_error: Float[Array, " portfolio"]
    active_return: Float[Array, " portfolio"]


class SampleRisk(NamedTuple):
    """`deviations` are daily returns less their mean, volatilities a year's, `marginal` the volatility's change with the
    weight of each instrument that is held."""

    observations: Int[Array, ""]
    deviations: Float[Array, "portfolio day"]
    moments: Moments
    volatility: Float[Array, " portfolio"]
    ewma_volatility: Float[Array, " portfolio"]
    ledoit_wolf_volatility: Float[Array, " portfolio"]
    marginal: Float[Array, "portfolio instrument"]
    component: Float[Array, "portfolio instrument"]
    """Weight times marginal; a portfolio's sum to its volatility."""
    against: Against


def sample_risk(weights: Float[Array, "portfolio instrument"], sample: Sample) -> SampleRisk:
    """Every figure that does not need the returns in order."""
    present = sample.present
    days = jnp.sum(present)
    returns = jnp.where(present, sample.returns, 0.0)
    instruments = centred(returns, present)
    # Means come off the instruments, so that deviations of portfolios come out of the product with no digits cancelled.
    deviations = weights @ instruments
    mean = weights @ (jnp.sum(returns, axis=1) / days)
    moments, variance = _moments(mean, deviations, days)
    year = jnp.sqrt(jnp.asarray(PERIODS_PER_YEAR, dtype=weights.dtype))
    gradient = deviations @ instruments.T * (year / (days - DDOF) / moments.deviation)[:, None]
    return SampleRisk(
        observations=days,
        deviations=deviations,
        moments=moments,
        volatility=moments.deviation * year,
        ewma_volatility=year * _ewma_deviation(mean, deviations, present),
        ledoit_wolf_volatility=year * _ledoit_wolf_deviation(weights, variance, instruments, days),
        marginal=jnp.where(weights != 0, gradient, 0.0),
        component=weights * gradient,
        against=_against(mean, deviations, sample),
    )


def _moments(
    mean: Float[Array, " portfolio"], deviations: Float[Array, "portfolio day"], days: Int[Array, ""]
) -> tuple[Moments, Float[Array, " portfolio"]]:
    """With the variance that divides by T."""
    squares = deviations * deviations
    variance = jnp.sum(squares, axis=1) / days
    skewness = jnp.sum(squares * deviations, axis=1) / days / variance**1.5
    excess_kurtosis = jnp.sum(squares * squares, axis=1) / days / variance**2 - 3
    return Moments(mean, jnp.sqrt(variance * days / (days - DDOF)), skewness, excess_kurtosis), variance


def _ewma_deviation(
    mean: Float[Array, " portfolio"], deviations: Float[Array, "portfolio day"], present: Bool[Array, " day"]
) -> Float[Array, " portfolio"]:
    """About zero, as RiskMetrics has it."""
    return jnp.sqrt((deviations + mean[:, None]) ** 2 @ ewma_weights(present))


def _ledoit_wolf_deviation(
    weights: Float[Array, "portfolio instrument"],
    variance: Float[Array, " portfolio"],
    instruments: Float[Array, "instrument day"],
    days: Int[Array, ""],
) -> Float[Array, " portfolio"]:
    """By the covariance of a portfolio's own holdings, shrunk as they alone would be."""
    held = (weights != 0).astype(weights.dtype)
    covariance = instruments @ instruments.T / days
    shrinkage, mean_variance = ledoit_wolf_shrinkage(held, instruments, covariance, days)
    return jnp.sqrt((1 - shrinkage) * variance + shrinkage * mean_variance * jnp.sum(weights * weights, axis=1))


def _against(mean: Float[Array, " portfolio"], deviations: Float[Array, "portfolio day"], sample: Sample) -> Against:
    shared = sample.present & ~jnp.isnan(sample.benchmark)
    days = jnp.sum(shared)
    benchmark = jnp.where(shared, sample.benchmark, 0.0)
    benchmark_mean = jnp.sum(benchmark) / days
    benchmark_deviations = jnp.where(shared, benchmark - benchmark_mean, 0.0)
    squares = jnp.sum(benchmark_deviations**2)
    active = jnp.where(shared, deviations - benchmark_deviations, 0.0)
    # Deviations are from the mean of all days; where the benchmark lacks some, what is left has a small mean of its own.
    offset = jnp.sum(active, axis=1) / days
    spread = jnp.maximum(jnp.sum(active * active, axis=1) - days * offset**2, 0.0)
    return Against(
        observations=days,
        variance=squares / (days - DDOF),
        beta=deviations @ benchmark_deviations / squares,
        tracking_error=jnp.sqrt(spread / (days - DDOF) * PERIODS_PER_YEAR),
        active_return=(mean + offset - benchmark_mean) * PERIODS_PER_YEAR,
    )


risk_of_batch = jax.jit(sample_risk)
"""Portfolios that share their days and instruments."""

risk_of_each = jax.jit(jax.vmap(sample_risk))
"""Portfolios each with days and instruments of its own: a leading axis over batches of one."""
