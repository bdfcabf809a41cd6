"""The linear equations of one interior-point step, brought down to as many unknowns as there are variables and rows.

Each distance s and multiplier z of a limit is to reach s z = target. Linearised, dz = t - (z / s) ds with
t = target / s - z, so that bounds add z / s to the diagonal, and what splits and slacks do follows from x and the rows'
multipliers (the Schur complements of two diagonal blocks). Left is

    [ H   R' ] [ dx      ]   [ b1 ]      H = P + diag(z / s of bounds) + F' diag(1 / e) F
    [ R  -C  ] [ d lambda ] = [ b2 ]      R = A + B diag(g / e) F

with F the split rows, A the rows, B what splits add to rows, o and u the ratios s / z of over and under, e = o + u, g = o - u.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from jax.lax import linalg
from jaxtyping import Array, Float

from analytics.jax_setup import jax, jnp
from analytics.optimise.program import Point, Program, Residuals, is_fixed

REGULARISATION: Final = 1e-13
"""Added to diagonals in proportion to them, so that a factor exists where assets are duplicates of each other; the step
is refined against the equations without it."""
ROW_REGULARISATION: Final = 1e-14


class _Targets(NamedTuple):
    """For each pair of a distance and a multiplier, the t of its linearised equation; see the module."""

    lower: Float[Array, " variable"]
    upper: Float[Array, " variable"]
    over: Float[Array, " split"]
    under: Float[Array, " split"]
    rows: Float[Array, " row"]


class Ratios(NamedTuple):
    """Distance by multiplier of over, under and row slacks; 0 where there is no such limit."""

    over: Float[Array, " split"]
    under: Float[Array, " split"]
    rows: Float[Array, " row"]


class Equations(NamedTuple):
    """The reduced equations of one point, factored."""

    ratios: Ratios
    split_stiffness: Float[Array, " split"]
    """1 / e."""
    split_lean: Float[Array, " split"]
    """g / e: 1 where only over gives way, -1 where only under does."""
    hessian: Float[Array, "variable variable"]
    rows: Float[Array, "row variable"]
    corner: Float[Array, "row row"]
    factor: Float[Array, "variable variable"]
    half_rows: Float[Array, "variable row"]
    row_factor: Float[Array, "row row"]


def equations(program: Program, point: Point) -> Equations:
    """The equations at `point`. Their right side comes with `step`."""
    ratios = _ratios(program, point)
    total = ratios.over + ratios.under
    stiffness, lean = 1 / total, (ratios.over - ratios.under) / total
    hessian = _hessian(program, point, stiffness)
    rows = jnp.where(is_fixed(program), 0.0, program.rows + (program.row_splits * lean) @ program.split_rows)
    # total - lean^2 total, without the cancellation.
    both = 4 * ratios.over * ratios.under * stiffness
    corner = (program.row_splits * both) @ program.row_splits.T + jnp.diag(ratios.rows)
    factor = linalg.cholesky(_firm(hessian, REGULARISATION), symmetrize_input=False)
    half_rows = linalg.triangular_solve(factor, rows.T, left_side=True, lower=True)
    row_factor = linalg.cholesky(_firm(half_rows.T @ half_rows + corner, ROW_REGULARISATION), symmetrize_input=False)
    return Equations(ratios, stiffness, lean, hessian, rows, corner, factor, half_rows, row_factor)


def _hessian(program: Program, point: Point, stiffness: Array) -> Array:
    """H, with a fixed variable's equation saying that it stays."""
    is_free = ~is_fixed(program)
    bounds = point.lower_multiplier / point.above_lower + point.upper_multiplier / point.below_upper
    hessian = program.quadratic + jnp.diag(bounds) + (program.split_rows.T * stiffness) @ program.split_rows
    return jnp.where(is_free[:, None] & is_free[None, :], hessian, jnp.eye(len(is_free)))


def _ratios(program: Program, point: Point) -> Ratios:
    def ratio(exists: Array, distance: Array, multiplier: Array) -> Array:
        return jnp.where(exists, distance / jnp.where(exists, multiplier, 1.0), 0.0)

    return Ratios(
        over=ratio(program.has_over, point.over, point.over_multiplier),
        under=ratio(program.has_under, point.under, point.under_multiplier),
        rows=ratio(~program.row_is_equality, point.row_slack, point.row_multiplier),
    )


def _firm(matrix: Array, share: float) -> Array:
    diagonal = jnp.diagonal(matrix)
    return matrix + jnp.diag(share * (1 + diagonal))


def step(program: Program, point: Point, missing: Residuals, found: Equations, wanted: Float[Array, " limit"]) -> Point:
    """The step from `point`, in every part, that makes up for what is `missing` and has the t of each limit as `wanted`."""
    ratios, targets = found.ratios, _by_kind(program, wanted)
    over_pull = jnp.where(program.has_over, targets.over - missing.over, 0.0)
    under_pull = jnp.where(program.has_under, targets.under - missing.under, 0.0)
    moved = ratios.over * over_pull + ratios.under * under_pull
    apart = missing.splits - ratios.over * over_pull + ratios.under * under_pull
    b1 = -missing.x + targets.lower - targets.upper - program.split_rows.T @ (found.split_stiffness * apart)
    b1 = jnp.where(is_fixed(program), 0.0, b1)
    b2 = -missing.rows - program.row_splits @ (moved + found.split_lean * apart) - ratios.rows * targets.rows
    dx, d_row = _solved(found, b1, b2)
    in_rows = program.row_splits.T @ d_row
    d_split = found.split_stiffness * (program.split_rows @ dx + apart) + found.split_lean * in_rows
    d_over = ratios.over * (over_pull + d_split - in_rows)
    d_under = ratios.under * (under_pull - d_split - in_rows)
    return Point(
        x=dx,
        above_lower=jnp.where(jnp.isfinite(program.lower), dx, 0.0),
        below_upper=jnp.where(jnp.isfinite(program.upper), -dx, 0.0),
        lower_multiplier=targets.lower - point.lower_multiplier / point.above_lower * dx,
        upper_multiplier=targets.upper + point.upper_multiplier / point.below_upper * dx,
        over=d_over,
        under=d_under,
        over_multiplier=_follows(program.has_over, targets.over, d_over, ratios.over),
        under_multiplier=_follows(program.has_under, targets.under, d_under, ratios.under),
        split_multiplier=d_split,
        row_slack=ratios.rows * (targets.rows - d_row),
        row_multiplier=d_row,
    )


def _by_kind(program: Program, wanted: Array) -> _Targets:
    variables, splits = len(program.linear), len(program.split_offsets)
    ends = (variables, 2 * variables, 2 * variables + splits, 2 * variables + 2 * splits)
    return _Targets(*jnp.split(wanted, ends))


def _follows(exists: Array, target: Array, moved: Array, ratio: Array) -> Array:
    return jnp.where(exists, target - moved / jnp.where(exists, ratio, 1.0), 0.0)


def _solved(found: Equations, b1: Array, b2: Array) -> tuple[Array, Array]:
    """The reduced equations' solution, refined once against what the factors were firmed by."""

    def refined(_: int, so_far: tuple[Array, Array]) -> tuple[Array, Array]:
        dx, d_row = so_far
        left1 = b1 - found.hessian @ dx - found.rows.T @ d_row
        left2 = b2 - found.rows @ dx + found.corner @ d_row
        more_x, more_row = _solved_by_factors(found, left1, left2)
        return dx + more_x, d_row + more_row

    # A loop, for what it holds is compiled once.
    dx, d_row = jax.lax.fori_loop(0, 2, refined, (jnp.zeros_like(b1), jnp.zeros_like(b2)))
    return dx, d_row


def _solved_by_factors(found: Equations, b1: Array, b2: Array) -> tuple[Array, Array]:
    half = _forward(found.factor, b1)
    d_row = _backward(found.row_factor, _forward(found.row_factor, found.half_rows.T @ half - b2))
    return _backward(found.factor, half - found.half_rows @ d_row), d_row


def _forward(factor: Array, right: Array) -> Array:
    return linalg.triangular_solve(factor, right[:, None], left_side=True, lower=True)[:, 0]


def _backward(factor: Array, right: Array) -> Array:
    return linalg.triangular_solve(factor, right[:, None], left_side=True, lower=True, transpose_a=True)[:, 0]
