"""Best ratios by convex programs: the largest gain for a unit of risk is the least risk for a unit of gain.

With y = k w for a k above 0 every linear limit of w becomes one of y and k, and gain' y >= 1 fixes the scale; the weights are
y / k. G. Cornuejols, R. Tutuncu, Optimization Methods in Finance (2007), section 8.2.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64

from analytics.optimise.limits import Labels, Named
from analytics.optimise.program import Program

LEAST_SCALE: Final = 1e-8
"""A k below this is none: the ratio grows without end along weights that do."""


def per_unit_of_gain(
    named: Named, gain: Float64[np.ndarray, " asset"], weight_costs: Float64[np.ndarray, " split"]
) -> Named:
    """The program in y and k of least y'Py / 2 so that gain'y - weight_costs' (over + under) >= 1.

    Linear terms of the objective have no place in it and must be 0.
    """
    program, labels = named
    is_fixed = program.lower == program.upper
    fixed = np.c_[np.eye(len(gain))[is_fixed], -program.lower[is_fixed]]
    bounds, bound_labels = _bounds_as_inequalities(program, labels, ~is_fixed)
    splits, extra = len(program.split_offsets), len(bounds)
    asked = np.append(-gain, 0.0)
    no_splits = np.zeros((len(fixed), splits))
    larger = Program(
        quadratic=np.pad(program.quadratic, (0, 1)),
        linear=np.zeros(len(gain) + 1),
        lower=np.append(np.where((program.lower == 0) & ~is_fixed, 0.0, -np.inf), 0.0),
        upper=np.full(len(gain) + 1, np.inf),
        rows=np.vstack([np.c_[program.rows, -program.row_bounds], fixed, asked]),
        row_splits=np.pad(np.vstack([program.row_splits, no_splits, weight_costs]), ((0, 0), (0, extra))),
        row_bounds=np.append(np.zeros(len(program.row_bounds) + len(fixed)), -1.0),
        row_is_equality=np.concatenate([program.row_is_equality, np.ones(len(fixed), dtype=bool), [False]]),
        split_rows=np.concatenate([np.c_[program.split_rows, -program.split_offsets], bounds]),
        split_offsets=np.zeros(splits + extra),
        over_costs=np.zeros(splits + extra),
        under_costs=np.zeros(splits + extra),
        has_over=np.append(program.has_over, np.zeros(extra)).astype(bool),
        has_under=np.append(program.has_under, np.ones(extra)).astype(bool),
    )
    return Named(larger, _labels(labels, is_fixed, bound_labels))


def _labels(labels: Labels, is_fixed: np.ndarray, bound_labels: tuple[str | None, ...]) -> Labels:
    """Those of w, for what has become of each limit in y and k."""
    fixed = (name for name, is_one in zip(labels.lower, is_fixed, strict=True) if is_one)
    return Labels(
        lower=(*labels.lower, None),
        upper=(None,) * (len(is_fixed) + 1),
        rows=(*labels.rows, *fixed, None),
        splits=(*labels.splits, *bound_labels),
    )


def _bounds_as_inequalities(
    program: Program, labels: Labels, can_move: np.ndarray
) -> tuple[np.ndarray, tuple[str | None, ...]]:
    """lower k <= y <= upper k, but for a lower bound of 0, which stays one."""
    unit = np.eye(len(program.linear))
    has_upper = np.isfinite(program.upper) & can_move
    has_lower = np.isfinite(program.lower) & (program.lower != 0) & can_move
    uppers = np.c_[unit[has_upper], -program.upper[has_upper]]
    lowers = np.c_[-unit[has_lower], program.lower[has_lower]]
    names = [name for name, has in zip(labels.upper, has_upper, strict=True) if has]
    names += [name for name, has in zip(labels.lower, has_lower, strict=True) if has]
    return np.concatenate([uppers, lowers]), tuple(names)
