"""Solving a batch of programs: the quick method where it applies, the thorough one for what that leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Float64, Int

from analytics.jax_setup import jax
from analytics.optimise import active_set, interior_point
from analytics.optimise.interior_point import Accuracy, Solved
from analytics.optimise.padding import at_once, bucketed, call_size, chosen, with_spare_rows
from analytics.optimise.program import Point, Program
from analytics.optimise.scaling import scaled, unscaled
from analytics.shapes import padded

SETTLED: Final = 1e-10
"""What the quick method has to reach; short of it the thorough one decides. Both are checked by the same residuals."""


class Solutions(NamedTuple):
    """What was found for each problem of a batch, in NumPy arrays with the problem as first axis.

    `accuracy` is relative; see docs/optimisation.md. How a problem ended is for status.py to say.
    """

    point: Point
    accuracy: Accuracy
    iterations: Int[np.ndarray, " problem"]

    def worst(self) -> Float64[np.ndarray, " problem"]:
        """The largest residual of each problem; infinite where there is no solution."""
        worst = np.max(np.stack(self.accuracy), axis=0)
        return np.where(np.isfinite(worst), worst, np.inf)


def solve(programs: Program, near: Float64[np.ndarray, "problem variable"] | None = None) -> Solutions:
    """The solution of every problem of a batch. `near` are solutions of similar problems, which save turns."""
    splits = programs.split_offsets.shape[-1]
    grown = bucketed(programs)
    start = _starts(grown) if near is None else padded(near, grown.linear.shape)
    everything = np.arange(len(programs.linear))
    if splits or not np.all(programs.row_is_equality):
        return _trimmed(_in_calls(_thorough, with_spare_rows(grown), start, everything), programs)
    found = _in_calls(_quick, grown, start, everything)
    left = np.flatnonzero(found.worst() > SETTLED)
    if len(left):
        again = _trimmed(_in_calls(_thorough, with_spare_rows(grown), start, left), grown)
        for kept, newer in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
            kept[left] = newer
    return _trimmed(found, programs)


@jax.jit
@jax.vmap
def _quick(program: Program, near: Float[Array, " variable"]) -> Solved:
    smaller, size = scaled(program)
    solved = active_set.solve(smaller, near)
    return solved._replace(point=unscaled(solved.point, size))


@jax.jit
@jax.vmap
def _thorough(program: Program, near: Float[Array, " variable"]) -> Solved:
    smaller, size = scaled(program)
    solved = interior_point.solve(smaller, interior_point.interior(smaller, near))
    return solved._replace(point=unscaled(solved.point, size))


def _starts(programs: Program) -> Float64[np.ndarray, "problem variable"]:
    """Where nothing is known: halfway between the bounds, or 1 from the only one."""
    with np.errstate(invalid="ignore"):
        middle = (programs.lower + programs.upper) / 2
    one_sided = np.where(np.isfinite(programs.lower), programs.lower + 1, programs.upper - 1)
    return np.where(np.isfinite(middle), middle, np.where(np.isfinite(one_sided), one_sided, 0.0))


def _in_calls(
    kernel: Callable[[Program, np.ndarray], Solved], programs: Program, start: np.ndarray, picked: np.ndarray
) -> Solutions:
    """The picked problems' solutions, as many in one call as memory allows."""
    most = at_once(programs)
    parts = []
    for first in range(0, len(picked), most):
        here = picked[first : first + most]
        size = call_size(len(here), most)
        solved = kernel(*jax.tree.map(lambda array: chosen(array, here, size), (programs, start)))  # noqa: B023 - called at once
        parts.append(jax.tree.map(lambda array: np.asarray(array)[: len(here)], solved))  # noqa: B023 - called at once
    whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return Solutions(whole.point, whole.accuracy, whole.iterations)


def _trimmed(found: Solutions, programs: Program) -> Solutions:
    """Without what padding added to `programs`."""
    sizes = {"over": programs.split_offsets, "under": programs.split_offsets, "split": programs.split_offsets}
    sizes["row"] = programs.row_bounds
    point = {
        name: array[:, : sizes.get(name.split("_")[0], programs.linear).shape[-1]]
        for name, array in found.point._asdict().items()
    }
    return found._replace(point=Point(**point))
