"""Quadratic programs with bounds and equations alone, by guessing which bounds hold and mending the guess at once.

Each turn solves the equations that are left when the variables guessed to be at a bound are fixed there; then whatever is
beyond a bound goes to it, and whatever is at one with a multiplier of the wrong sign is set free. For covariances this
ends after a few turns with the exact solution (M. Hintermueller, K. Ito, K. Kunisch, The primal-dual active set strategy as a
semismooth Newton method, SIAM Journal on Optimization 13 (2002)), at a fifth of an interior-point method's work. It may
cycle and needs positive definite matrices, so its answers are checked, and what it leaves goes to the other method.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from jax.lax import linalg
from jaxtyping import Array, Bool, Float, Int

from analytics.jax_setup import jax, jnp
from analytics.optimise.interior_point import Solved, accuracy
from analytics.optimise.program import Point, Program, is_fixed

ROUNDING: Final = 1e-13
"""What lies beyond a bound by less, or has a multiplier that is wrong by less, stays."""


class Guess(NamedTuple):
    """Which variables are between their bounds, and where the others are."""

    is_free: Bool[Array, " variable"]
    resting: Float[Array, " variable"]


class Turn(NamedTuple):
    """The guess, what follows from it, and whether the next guess is the same."""

    guess: Guess
    x: Float[Array, " variable"]
    row_multiplier: Float[Array, " row"]
    gradient: Float[Array, " variable"]
    turns: Int[Array, ""]
    is_settled: Bool[Array, ""]


def solve(program: Program, near: Float[Array, " variable"], turns_max: Int[Array, ""] | int) -> tuple[Solved, Guess]:
    """The solution of a scaled `program` without splits and inequalities, and the guess to go on from if it is none.

    Guessed first are the bounds that `near` is at.
    """
    guess = _guess_at(program, near)
    begin = Turn(
        guess,
        near,
        jnp.zeros_like(program.row_bounds),
        jnp.zeros_like(near),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
    )
    end = jax.lax.while_loop(
        lambda turn: ~turn.is_settled & (turn.turns < turns_max), lambda turn: _next(program, turn), begin
    )
    point = _point(program, end)
    return Solved(point, accuracy(program, point), end.turns), end.guess


def _guess_at(program: Program, near: Array) -> Guess:
    is_free = (near > program.lower) & (near < program.upper)
    return Guess(is_free, jnp.where(near <= program.lower, program.lower, program.upper))


def _next(program: Program, turn: Turn) -> Turn:
    x, row_multiplier = _with_fixed(program, turn.guess)
    gradient = program.quadratic @ x + program.linear + program.rows.T @ row_multiplier
    guess = _mended(program, turn.guess, x, gradient)
    is_settled = jnp.all(guess.is_free == turn.guess.is_free)
    return Turn(guess, x, row_multiplier, gradient, turn.turns + 1, is_settled)


def _with_fixed(program: Program, guess: Guess) -> tuple[Array, Array]:
    """The least of the objective over the free variables, by the Schur complement of the rows."""
    is_free = guess.is_free
    fixed = jnp.where(is_free, 0.0, guess.resting)
    matrix = jnp.where(is_free[:, None] & is_free[None, :], program.quadratic, jnp.eye(len(fixed)))
    rows = jnp.where(is_free, program.rows, 0.0)
    pull = jnp.where(is_free, -program.linear - program.quadratic @ fixed, 0.0)
    factor = linalg.cholesky(matrix, symmetrize_input=False)
    half = linalg.triangular_solve(factor, jnp.concatenate([rows, pull[None]]).T, left_side=True, lower=True)
    half_rows, half_pull = half[:, :-1], half[:, -1]
    missing = program.row_bounds - program.rows @ fixed
    row_factor = linalg.cholesky(half_rows.T @ half_rows, symmetrize_input=False)
    right = (half_rows.T @ half_pull - missing)[:, None]
    right = linalg.triangular_solve(row_factor, right, left_side=True, lower=True)
    multiplier = linalg.triangular_solve(row_factor, right, left_side=True, lower=True, transpose_a=True)[:, 0]
    moved = (half_pull - half_rows @ multiplier)[:, None]
    x = linalg.triangular_solve(factor, moved, left_side=True, lower=True, transpose_a=True)[:, 0]
    return jnp.where(is_free, x, fixed), multiplier


def _mended(program: Program, guess: Guess, x: Array, gradient: Array) -> Guess:
    below, above = x < program.lower - ROUNDING, x > program.upper + ROUNDING
    pushes_out = jnp.where(guess.resting == program.lower, gradient >= -ROUNDING, gradient <= ROUNDING)
    is_free = jnp.where(guess.is_free, ~(below | above), ~(pushes_out | is_fixed(program)))
    resting = jnp.where(below, program.lower, jnp.where(above, program.upper, guess.resting))
    return Guess(is_free, resting)


def _point(program: Program, turn: Turn) -> Point:
    """The point with what its multipliers are; free variables have none, so that a wrong end shows in the residuals."""
    guess = turn.guess
    has_lower, has_upper = jnp.isfinite(program.lower), jnp.isfinite(program.upper)
    at_lower = ~guess.is_free & (guess.resting == program.lower)
    nothing = jnp.zeros_like(program.split_offsets)
    return Point(
        x=turn.x,
        above_lower=jnp.where(has_lower, turn.x - program.lower, 1.0),
        below_upper=jnp.where(has_upper, program.upper - turn.x, 1.0),
        lower_multiplier=jnp.where(at_lower, jnp.maximum(turn.gradient, 0.0), 0.0),
        upper_multiplier=jnp.where(~at_lower & ~guess.is_free, jnp.maximum(-turn.gradient, 0.0), 0.0),
        over=nothing,
        under=nothing,
        over_multiplier=nothing,
        under_multiplier=nothing,
        split_multiplier=nothing,
        row_slack=jnp.zeros_like(program.row_bounds),
        row_multiplier=turn.row_multiplier,
    )
