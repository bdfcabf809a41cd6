"""Solving a batch of programs: the quick method where it applies, the thorough one for what that leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from jaxtyping import Array, Float, Float64

from analytics.jax_setup import jax
from analytics.optimise import active_set, interior_point
from analytics.optimise.active_set import Guess
from analytics.optimise.interior_point import Solved
from analytics.optimise.padding import at_once, bucketed, call_size, chosen, with_spare_rows
from analytics.optimise.program import Point, Program
from analytics.optimise.scaling import scaled, unscaled
from analytics.shapes import padded

SETTLED: Final = 1e-10
"""What the quick method has to reach; short of it the thorough one decides. Both are checked by the same residuals."""
FEW_TURNS: Final = 5
"""Seven of eight minimum variances of fifty assets need no more."""
MORE_TURNS: Final = 16
"""What needs more than this is going round in circles."""


def solve(programs: Program, near: Float64[np.ndarray, "problem variable"] | None = None) -> Solved:
    """The solution of every problem of a batch, in NumPy arrays with the problem as first axis.

    `near` are solutions of similar problems, NaN where nothing is known, and save turns of the quick method. How a problem
    ended is for its accuracy to say.
    """
    splits = programs.split_offsets.shape[-1]
    grown = bucketed(programs)
    cold = _starts(grown)
    if splits or not np.all(programs.row_is_equality):
        return _trimmed(_in_calls(_thorough, with_spare_rows(grown), cold, np.arange(len(cold))), programs)
    found = _quickly(grown, cold if near is None else _known_or(cold, padded(near, cold.shape)))
    left = np.flatnonzero(found.worst() > SETTLED)
    if len(left):
        _put(found, left, _trimmed(_in_calls(_thorough, with_spare_rows(grown), cold, left), grown))
    return _trimmed(found, programs)


def _quickly(programs: Program, start: np.ndarray) -> Solved:
    """All for as many turns as most need, then those that need more on their own: in one call none ends before the last."""
    few: Solved
    few, guess = _in_calls(lambda *given: _quick(*given, FEW_TURNS), programs, start, np.arange(len(start)))
    left = np.flatnonzero(few.worst() > SETTLED)
    if len(left):
        start = np.where(guess.is_free, _starts(programs), guess.resting)
        more, _ = _in_calls(lambda *given: _quick(*given, MORE_TURNS), programs, start, left)
        _put(few, left, more._replace(iterations=more.iterations + FEW_TURNS))
    return few


def _known_or(cold: np.ndarray, near: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(near), cold, near)


def _put(found: Solved, places: np.ndarray, newer: Solved) -> None:
    for kept, better in zip(jax.tree.leaves(found), jax.tree.leaves(newer), strict=True):
        kept[places] = better


@jax.jit
@partial(jax.vmap, in_axes=(0, 0, None))
def _quick(program: Program, near: Float[Array, " variable"], turns_max: int) -> tuple[Solved, Guess]:
    smaller, size = scaled(program)
    solved, guess = active_set.solve(smaller, near, turns_max)
    return solved._replace(point=unscaled(solved.point, size)), guess


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
    kernel: Callable[[Program, np.ndarray], Any], programs: Program, start: np.ndarray, picked: np.ndarray
) -> Any:
    """What the kernel makes of the picked problems, in NumPy arrays, as many in one call as memory allows."""
    most = at_once(programs)
    parts = []
    for first in range(0, len(picked), most):
        here = picked[first : first + most]
        size = call_size(len(here), most)
        found = kernel(*jax.tree.map(lambda array: chosen(array, here, size), (programs, start)))  # noqa: B023 - called at once
        parts.append(jax.tree.map(lambda array: np.asarray(array)[: len(here)], found))  # noqa: B023 - called at once
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _trimmed(found: Solved, programs: Program) -> Solved:
    """Without what padding added to `programs`."""
    sizes = {"over": programs.split_offsets, "under": programs.split_offsets, "split": programs.split_offsets}
    sizes["row"] = programs.row_bounds
    point = {
        name: array[:, : sizes.get(name.split("_")[0], programs.linear).shape[-1]]
        for name, array in found.point._asdict().items()
    }
    return found._replace(point=Point(**point))
