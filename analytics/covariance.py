"""Covariance matrices of daily returns: sample, exponentially weighted, and shrunk as Ledoit and Wolf have it.

Returns are [instrument, day]; days that are not `present` do not count. Matrices are daily: times 252 for a year's.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from jaxtyping import Array, Bool, Float

from analytics.conventions import DDOF, EWMA_DECAY
from analytics.jax_setup import jax, jnp

_BLOCKS: Final = 4


class Shrunk(NamedTuple):
    """`(1 - shrinkage) * S + shrinkage * mean variance * identity`, with S dividing by T, as in scikit-learn."""

    covariance: Float[Array, "instrument instrument"]
    shrinkage: Float[Array, ""]


@jax.jit
def sample_covariance(
    returns: Float[Array, "instrument day"], present: Bool[Array, " day"]
) -> Float[Array, "instrument instrument"]:
    """About the mean, divided by T - 1."""
    deviations = centred(returns, present)
    return deviations @ deviations.T / (jnp.sum(present) - DDOF)


@jax.jit
def ewma_covariance(
    returns: Float[Array, "instrument day"], present: Bool[Array, " day"]
) -> Float[Array, "instrument instrument"]:
    """RiskMetrics: products weigh 0.94 of the next day's, and means are taken to be zero."""
    return (returns * ewma_weights(present)) @ jnp.where(present, returns, 0.0).T


@jax.jit
def ledoit_wolf_covariance(returns: Float[Array, "instrument day"], present: Bool[Array, " day"]) -> Shrunk:
    """Shrunk to a multiple of the identity, by the intensity that Ledoit and Wolf (2004) show to be optimal."""
    deviations = centred(returns, present)
    days = jnp.sum(present)
    covariance = deviations @ deviations.T / days
    everything = jnp.ones((1, returns.shape[0]), dtype=returns.dtype)
    shrinkage, variance = ledoit_wolf_shrinkage(everything, deviations, covariance, days)
    identity = jnp.eye(returns.shape[0], dtype=returns.dtype)
    return Shrunk((1 - shrinkage[0]) * covariance + shrinkage[0] * variance[0] * identity, shrinkage[0])


def ledoit_wolf_shrinkage(
    held: Float[Array, "portfolio instrument"],
    deviations: Float[Array, "instrument day"],
    covariance: Float[Array, "instrument instrument"],
    days: Float[Array, ""],
) -> tuple[Float[Array, " portfolio"], Float[Array, " portfolio"]]:
    """The shrinkage, 0 to 1, and the mean variance of the instruments that each portfolio holds (1; 0 for the others).

    `covariance` divides by T. With 0 and 1 for what is held, sums over a portfolio's own matrix are quadratic forms of
    everyone's: its squares sum to h' (S * S) h, and the fourth moments to |(X * X)' h|^2.
    """
    count = jnp.maximum(jnp.sum(held, axis=1), 1.0)
    variance = held @ jnp.diagonal(covariance) / count
    squares = _quadratic_forms(held, covariance * covariance)
    fourths = jnp.sum((held @ (deviations * deviations)) ** 2, axis=1)
    noise = (fourths / days - squares) / (days * count)
    distance = squares / count - variance**2
    # One instrument alone is its own target: the distance is nothing but rounding, and any shrinkage gives the same.
    shrinkage = jnp.where(distance > 0, jnp.clip(noise / jnp.where(distance > 0, distance, 1.0), 0.0, 1.0), 0.0)
    return shrinkage, variance


def _quadratic_forms(
    vectors: Float[Array, "portfolio instrument"], symmetric: Float[Array, "instrument instrument"]
) -> Float[Array, " portfolio"]:
    """`v' A v` of each row, by columns of blocks down to the diagonal: five eighths of the product `v A`."""
    size = symmetric.shape[0]
    bounds = [size * block // _BLOCKS for block in range(_BLOCKS + 1)]
    total = jnp.zeros_like(vectors[:, 0])
    for first, last in itertools.pairwise(bounds):
        # What is above the diagonal's block stands for its mirror image, too.
        twice = jnp.where(jnp.arange(last) < first, 2.0, 1.0)[:, None]
        products = vectors[:, :last] @ (twice * symmetric[:last, first:last])
        total += jnp.sum(products * vectors[:, first:last], axis=1)
    return total


def centred(returns: Float[Array, "instrument day"], present: Bool[Array, " day"]) -> Float[Array, "instrument day"]:
    """Deviations from each instrument's mean; zero on absent days."""
    kept = jnp.where(present, returns, 0.0)
    mean = jnp.sum(kept, axis=1, keepdims=True) / jnp.sum(present)
    return jnp.where(present, kept - mean, 0.0)


def ewma_weights(present: Bool[Array, " day"]) -> Float[Array, " day"]:
    """Of the days that are there, the last the heaviest; they sum to 1. Three days: 0.3129, 0.3329, 0.3542."""
    age = jnp.sum(present) - jnp.cumsum(present)
    weights = jnp.where(present, EWMA_DECAY ** age.astype(float), 0.0)
    return weights / jnp.sum(weights)
