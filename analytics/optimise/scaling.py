"""Objectives scaled to about 1, so that one tolerance means the same for a variance of 0.0001 a day and of 0.04 a year."""

from __future__ import annotations

from jaxtyping import Array, Float

from analytics.jax_setup import jnp
from analytics.optimise.program import Point, Program


def scaled(program: Program) -> tuple[Program, Float[Array, ""]]:
    """The program with its objective divided by the largest number in it, and that number.

    Splits of nothing, which padding adds, get a cost of 1 instead of none: without one they could be of any size.
    """
    sizes = (jnp.diagonal(program.quadratic), program.linear, program.over_costs, program.under_costs)
    size = jnp.max(jnp.stack([jnp.max(jnp.abs(numbers), initial=0.0) for numbers in sizes]))
    size = jnp.where(size > 0, size, 1.0)
    is_real = jnp.any(program.split_rows != 0, axis=-1)
    smaller = program._replace(
        quadratic=program.quadratic / size,
        linear=program.linear / size,
        over_costs=jnp.where(is_real, program.over_costs / size, 1.0),
        under_costs=jnp.where(is_real, program.under_costs / size, 1.0),
    )
    return smaller, size


def unscaled(point: Point, size: Float[Array, ""]) -> Point:
    """The solution of a scaled program with multipliers in units of the objective as it was."""
    return point._replace(
        lower_multiplier=point.lower_multiplier * size,
        upper_multiplier=point.upper_multiplier * size,
        over_multiplier=point.over_multiplier * size,
        under_multiplier=point.under_multiplier * size,
        split_multiplier=point.split_multiplier * size,
        row_multiplier=point.row_multiplier * size,
    )
