"""The one form that every convex problem here is brought to before it is solved.

    least   x'Px / 2 + q'x + a'over + b'under
    so that rows x + row_splits (over + under)  = row_bounds    (or <=)
            split_rows x - over + under         = split_offsets
            lower <= x <= upper,   over, under >= 0

A split row tells by how much a sum of weights is over or under an offset. With it are written: an inequality (nothing may
be over), an absolute value (over + under, which a row may limit: leverage, turnover, or a cost weigh), and the loss beyond a
threshold in one scenario of many (over has a cost). The splits are diagonal in the equations that a solver works with,
so that only as many unknowns as there are weights remain, however many scenarios there are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from analytics.jax_setup import jnp


class Program(NamedTuple):
    """One problem, or a batch of them along a first axis, in arrays of JAX or of NumPy.

    A variable with `lower` equal to `upper` is fixed; infinite bounds are none. `row_is_equality` False means at most.
    A split without `has_over` cannot be over (an inequality <=), one without `has_under` cannot be under.
    """

    quadratic: Float[Any, "*batch variable variable"]
    linear: Float[Any, "*batch variable"]
    lower: Float[Any, "*batch variable"]
    upper: Float[Any, "*batch variable"]
    rows: Float[Any, "*batch row variable"]
    row_splits: Float[Any, "*batch row split"]
    row_bounds: Float[Any, "*batch row"]
    row_is_equality: Bool[Any, "*batch row"]
    split_rows: Float[Any, "*batch split variable"]
    split_offsets: Float[Any, "*batch split"]
    over_costs: Float[Any, "*batch split"]
    under_costs: Float[Any, "*batch split"]
    has_over: Bool[Any, "*batch split"]
    has_under: Bool[Any, "*batch split"]


class Point(NamedTuple):
    """Where a solver stands: the variables, their distances from what bounds them, and a multiplier for each limit.

    Multipliers of bounds, of `over`, `under` and of rows that are inequalities are 0 or above; those of equalities and of
    splits have either sign. Where there is no limit, the distance is 1 and the multiplier 0.
    """

    x: Float[Any, " variable"]
    above_lower: Float[Any, " variable"]
    below_upper: Float[Any, " variable"]
    lower_multiplier: Float[Any, " variable"]
    upper_multiplier: Float[Any, " variable"]
    over: Float[Any, " split"]
    under: Float[Any, " split"]
    over_multiplier: Float[Any, " split"]
    under_multiplier: Float[Any, " split"]
    split_multiplier: Float[Any, " split"]
    row_slack: Float[Any, " row"]
    row_multiplier: Float[Any, " row"]


class Residuals(NamedTuple):
    """What is missing from the conditions of optimality (Karush, Kuhn, Tucker), each by its equation."""

    x: Float[Array, " variable"]
    over: Float[Array, " split"]
    under: Float[Array, " split"]
    rows: Float[Array, " row"]
    splits: Float[Array, " split"]


def is_fixed(program: Program) -> Bool[Array, " variable"]:
    """Which variables have no room to move."""
    fixed: Array = program.lower == program.upper
    return fixed


def objective_value(program: Program, point: Point) -> Float[Array, ""]:
    """The objective at `point`, of one problem."""
    quadratic = point.x @ (program.quadratic @ point.x) / 2
    linear = program.linear @ point.x + program.over_costs @ point.over + program.under_costs @ point.under
    value: Array = quadratic + linear
    return value


def residuals(program: Program, point: Point) -> Residuals:
    """The linear conditions at `point`, of one problem; complementarity is the products of distances and multipliers."""
    in_rows = program.row_splits.T @ point.row_multiplier
    gradient = program.quadratic @ point.x + program.linear
    held = program.rows.T @ point.row_multiplier + program.split_rows.T @ point.split_multiplier
    slack = jnp.where(program.row_is_equality, 0.0, point.row_slack)
    return Residuals(
        # A fixed variable is held by its bounds whatever the gradient is.
        x=jnp.where(is_fixed(program), 0.0, gradient + held - point.lower_multiplier + point.upper_multiplier),
        over=jnp.where(
            program.has_over, program.over_costs + in_rows - point.split_multiplier - point.over_multiplier, 0.0
        ),
        under=jnp.where(
            program.has_under, program.under_costs + in_rows + point.split_multiplier - point.under_multiplier, 0.0
        ),
        rows=program.rows @ point.x + program.row_splits @ (point.over + point.under) + slack - program.row_bounds,
        splits=program.split_rows @ point.x - point.over + point.under - program.split_offsets,
    )


def limits_of(program: Program) -> Bool[Array, " limit"]:
    """Which limits there are, in the order of `distances` and `multipliers`."""
    is_free = ~is_fixed(program)
    has_lower, has_upper = is_free & jnp.isfinite(program.lower), is_free & jnp.isfinite(program.upper)
    return jnp.concatenate([has_lower, has_upper, program.has_over, program.has_under, ~program.row_is_equality])


def distances(point: Point) -> Float[Array, " limit"]:
    """How far `point` is from each limit: bounds below and above, over, under, rows."""
    return jnp.concatenate([point.above_lower, point.below_upper, point.over, point.under, point.row_slack])


def multipliers(point: Point) -> Float[Array, " limit"]:
    """The multiplier of each limit; of rows that are equations, where there is no distance, too."""
    return jnp.concatenate(
        [
            point.lower_multiplier,
            point.upper_multiplier,
            point.over_multiplier,
            point.under_multiplier,
            point.row_multiplier,
        ]
    )


def complementarity(point: Point) -> Float[Array, ""]:
    """The sum of all products of a distance and its multiplier: the gap between primal and dual objective."""
    return distances(point) @ multipliers(point)
