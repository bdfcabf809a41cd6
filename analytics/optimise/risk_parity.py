"""Weights that each carry their share of the risk: Newton's method on a convex function.

    least  z'Cz / 2 - b'log z,   z > 0,   C the correlations, b the shares of risk

At the solution z_i (Cz)_i = b_i, so that z_i / volatility_i, scaled to the wanted sum, are the weights. Without limits on
weights there is exactly one. F. Spinu, An algorithm for computing risk parity weights (2013); the damping is that of
self-concordant functions (Y. Nesterov, Introductory Lectures on Convex Optimization (2004), section 4.1.5).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from jax.lax import linalg
from jaxtyping import Array, Bool, Float, Int

from analytics.jax_setup import jax, jnp

TURNS_MAX: Final = 100
WANTED: Final = 1e-13
"""Relative to each share of risk. Newton's method gets there in one turn from 1e-7."""
DAMPED_ABOVE: Final = 0.25
"""A full step is safe once the decrement is below this."""


class Balanced(NamedTuple):
    """Weights that sum to 1, the largest relative error of a share of risk, and the turns taken."""

    weights: Float[Array, " asset"]
    error: Float[Array, ""]
    iterations: Int[Array, ""]


@jax.jit
@jax.vmap
def risk_parity(
    covariance: Float[Array, "asset asset"], budgets: Float[Array, " asset"], present: Bool[Array, " asset"]
) -> Balanced:
    """The weights of one problem of a batch; `budgets` sum to 1 over the assets that are `present`, the others get 0."""
    deviation = jnp.sqrt(jnp.where(present, jnp.diagonal(covariance), 1.0))
    both = present[:, None] & present[None, :]
    correlation = jnp.where(both, covariance / jnp.outer(deviation, deviation), jnp.eye(len(budgets)))
    shares = jnp.where(present, budgets, jnp.sum(budgets) / jnp.sum(present))
    total = jnp.sum(jnp.where(both, correlation, 0.0))
    start = jnp.sqrt(shares) / jnp.sqrt(jnp.maximum(total / jnp.sum(present), 1e-6))

    def goes_on(state: tuple[Array, Array]) -> Array:
        place, count = state
        return (_error(correlation, shares, place) > WANTED) & (count < TURNS_MAX)

    place, count = jax.lax.while_loop(
        goes_on, lambda state: (_moved(correlation, shares, state[0]), state[1] + 1), (start, jnp.zeros((), jnp.int32))
    )
    weights = jnp.where(present, place / deviation, 0.0)
    return Balanced(weights / jnp.sum(weights), _error(correlation, shares, place), count)


def _error(correlation: Array, shares: Array, place: Array) -> Array:
    return jnp.max(jnp.abs(place * (correlation @ place) / shares - 1.0))


def _moved(correlation: Array, shares: Array, place: Array) -> Array:
    gradient = correlation @ place - shares / place
    factor = linalg.cholesky(correlation + jnp.diag(shares / place**2), symmetrize_input=False)
    half = linalg.triangular_solve(factor, gradient[:, None], left_side=True, lower=True)
    way = -linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)[:, 0]
    # The logarithms weigh `shares`; divided by the least of them the function is self-concordant.
    decrement = jnp.linalg.norm(half) / jnp.sqrt(jnp.min(shares))
    part = jnp.where(decrement > DAMPED_ABOVE, 1 / (1 + decrement), 1.0)
    return place + part * way
