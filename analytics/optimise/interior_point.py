"""A primal-dual interior-point method (Mehrotra's predictor and corrector) for one problem; `jax.vmap` makes it many.

S. Mehrotra, On the implementation of a primal-dual interior point method, SIAM Journal on Optimization 2 (1992).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int

from analytics.jax_setup import jax, jnp
from analytics.optimise.newton import equations, step
from analytics.optimise.program import (
    Point,
    Program,
    complementarity,
    distances,
    is_fixed,
    limits_of,
    multipliers,
    objective_value,
    residuals,
)

ITERATIONS_MAX: Final = 80
WANTED: Final = 1e-11
"""The iteration goes on to here where rounding lets it, so that what is solved is so with room to spare."""
TO_THE_BORDER: Final = 0.995
"""How much of the way to the nearest border a step goes at most."""


class Accuracy(NamedTuple):
    """How far a point is from optimal; all are relative, see docs/optimisation.md."""

    primal: Float[Any, ""]
    dual: Float[Any, ""]
    gap: Float[Any, ""]

    def worst(self) -> Float[Array, ""]:
        """The largest of the three; infinite where one is no number."""
        worst = jnp.maximum(jnp.maximum(self.primal, self.dual), self.gap)
        return jnp.where(jnp.isfinite(worst), worst, jnp.inf)


class Search(NamedTuple):
    """Where the iteration stands, and the best point that it has seen."""

    point: Point
    best: Point
    best_worst: Float[Array, ""]
    iterations: Int[Array, ""]
    is_stuck: Bool[Array, ""]


class Solved(NamedTuple):
    """The best point found, after how many turns, of one problem or of a batch."""

    point: Point
    accuracy: Accuracy
    iterations: Int[Any, "*batch"]

    def worst(self) -> Float64[np.ndarray, "*batch"]:
        """The largest residual of each problem; infinite where there is no solution."""
        worst = np.max(np.stack([np.asarray(part) for part in self.accuracy]), axis=0)
        return np.where(np.isfinite(worst), worst, np.inf)


def solve(program: Program, start: Point) -> Solved:
    """The solution of a `program` whose objective is scaled to about 1 (see scaling.py), from an interior `start`."""
    begin = Search(start, start, accuracy(program, start).worst(), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    end = jax.lax.while_loop(_goes_on, lambda search: _iterated(program, search), begin)
    return Solved(end.best, accuracy(program, end.best), end.iterations)


def accuracy(program: Program, point: Point) -> Accuracy:
    """The residuals at `point`, relative to the sizes of what they are made of."""
    missing = residuals(program, point)
    bound_size = 1 + _largest(program.row_bounds) + _largest(program.split_offsets)
    value = objective_value(program, point)
    return Accuracy(
        primal=jnp.maximum(jnp.maximum(_largest(missing.rows), _largest(missing.splits)), _outside(program, point))
        / bound_size,
        dual=jnp.maximum(jnp.maximum(_largest(missing.x), _largest(missing.over)), _largest(missing.under)),
        gap=complementarity(point) / (1 + jnp.abs(value)),
    )


def _outside(program: Program, point: Point) -> Array:
    """How far a variable is beyond its bounds at most."""
    return _largest(jnp.maximum(jnp.maximum(program.lower - point.x, point.x - program.upper), 0.0))


def _largest(values: Array) -> Array:
    return jnp.max(jnp.abs(values), initial=0.0)


def _goes_on(search: Search) -> Array:
    return (search.best_worst > WANTED) & (search.iterations < ITERATIONS_MAX) & ~search.is_stuck


def _iterated(program: Program, search: Search) -> Search:
    point = _moved(program, search.point)
    worst = accuracy(program, point).worst()
    is_better = worst < search.best_worst
    best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), point, search.best)
    return Search(
        point,
        best,
        jnp.minimum(worst, search.best_worst),
        search.iterations + 1,
        # Past what rounding allows, steps only lead away.
        ~jnp.isfinite(worst) | (worst > 1e6 * search.best_worst),
    )


def _moved(program: Program, point: Point) -> Point:
    missing = residuals(program, point)
    found = equations(program, point)
    exists = limits_of(program)
    count = jnp.maximum(jnp.sum(exists), 1)
    mean = complementarity(point) / count

    def aimed(_: int, so_far: tuple[Point, Array]) -> tuple[Point, Array]:
        """The predictor, which goes for 0 and knows of no way so far, then the corrector."""
        way, target = so_far
        way = step(program, point, missing, found, _targets(exists, point, way, target))
        after = complementarity(_at(point, way, _reach(exists, point, way, 1.0))) / count
        # Without any limit there is nothing to centre on.
        centring = jnp.where(mean > 0, after / jnp.where(mean > 0, mean, 1.0), 0.0) ** 3
        return way, centring * mean

    nowhere = jax.tree.map(jnp.zeros_like, point)
    way, _ = jax.lax.fori_loop(0, 2, aimed, (nowhere, jnp.zeros_like(mean)))
    return _at(point, way, _reach(exists, point, way, jnp.maximum(TO_THE_BORDER, 1 - mean)))


def _targets(exists: Array, point: Point, predicted: Point, target: Array) -> Array:
    """What products of distances and multipliers are to be, less what the predicted way adds to them beyond first order."""
    wanted = target - distances(predicted) * multipliers(predicted)
    return jnp.where(exists, wanted / jnp.where(exists, distances(point), 1.0) - multipliers(point), 0.0)


def _reach(exists: Array, point: Point, way: Point, share: Array | float) -> Array:
    """The part of `way` to go: at most 1, and at most `share` of the way to the nearest border."""
    here = jnp.concatenate([distances(point), multipliers(point)])
    change = jnp.concatenate([distances(way), multipliers(way)])
    comes_nearer = jnp.concatenate([exists, exists]) & (change < 0)
    borders = jnp.where(comes_nearer, -here / jnp.where(comes_nearer, change, -1.0), jnp.inf)
    return jnp.minimum(1.0, share * jnp.min(borders, initial=jnp.inf))


def _at(point: Point, way: Point, part: Array) -> Point:
    moved: Point = jax.tree.map(lambda here, change: here + part * change, point, way)
    return moved


def interior(program: Program, near: Float[Array, " variable"]) -> Point:
    """A point from which an iteration can start: `near`, but well within its bounds, everything else at 1."""
    is_free = ~is_fixed(program)
    has_lower, has_upper = is_free & jnp.isfinite(program.lower), is_free & jnp.isfinite(program.upper)
    x = jnp.where(is_free, _well_within(program, near), program.lower)
    apart = program.split_rows @ x - program.split_offsets
    is_two_sided = program.has_over & program.has_under
    over = jnp.where(program.has_over, jnp.where(is_two_sided, jnp.maximum(apart, 0) + 1, jnp.maximum(apart, 1)), 0.0)
    under = jnp.where(program.has_under, jnp.where(is_two_sided, over - apart, jnp.maximum(-apart, 1)), 0.0)
    slack = program.row_bounds - program.rows @ x - program.row_splits @ (over + under)
    return Point(
        x=x,
        above_lower=jnp.where(has_lower, x - program.lower, 1.0),
        below_upper=jnp.where(has_upper, program.upper - x, 1.0),
        lower_multiplier=has_lower.astype(x.dtype),
        upper_multiplier=has_upper.astype(x.dtype),
        over=over,
        under=under,
        over_multiplier=program.has_over.astype(x.dtype),
        under_multiplier=program.has_under.astype(x.dtype),
        split_multiplier=jnp.zeros_like(over),
        row_slack=jnp.where(program.row_is_equality, 0.0, jnp.maximum(slack, 1.0)),
        row_multiplier=(~program.row_is_equality).astype(x.dtype),
    )


def _well_within(program: Program, near: Array) -> Array:
    """`near`, at least a quarter of the way between two bounds, or 1 from the only one, away from them."""
    room = program.upper - program.lower
    margin = jnp.where(jnp.isfinite(room), room / 4, 1.0)
    return jnp.clip(near, program.lower + margin, program.upper - margin)
