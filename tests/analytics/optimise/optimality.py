"""The conditions of optimality, in NumPy and from their definition, for holding solutions against."""

from __future__ import annotations

import numpy as np

from analytics.optimise.interior_point import Solved
from analytics.optimise.program import Program


def worst_violations(programs: Program, found: Solved) -> np.ndarray:
    """The largest violation of any condition, of each problem: stationarity in the objective's largest number, the rest as it is."""
    point = found.point
    x, over, under = point.x, point.over, point.under
    size = np.max(
        [
            np.max(np.abs(numbers.reshape(len(x), -1)), axis=1, initial=0.0)
            for numbers in (programs.quadratic, programs.linear, programs.over_costs, programs.under_costs)
        ],
        axis=0,
    )
    size = np.where(size > 0, size, 1.0)[:, None]
    rows = np.einsum("pri,pi->pr", programs.rows, x) + np.einsum("prs,ps->pr", programs.row_splits, over + under)
    rows = rows - programs.row_bounds
    splits = np.einsum("psi,pi->ps", programs.split_rows, x) - over + under - programs.split_offsets
    held = np.einsum("pri,pr->pi", programs.rows, point.row_multiplier)
    held = held + np.einsum("psi,ps->pi", programs.split_rows, point.split_multiplier)
    gradient = np.einsum("pij,pj->pi", programs.quadratic, x) + programs.linear + held
    in_rows = np.einsum("prs,pr->ps", programs.row_splits, point.row_multiplier)
    over_price = programs.over_costs + in_rows - point.split_multiplier
    under_price = programs.under_costs + in_rows + point.split_multiplier
    conditions = [
        np.where(programs.row_is_equality, np.abs(rows), np.maximum(rows, 0)),
        np.where(programs.row_is_equality, 0, np.maximum(-point.row_multiplier / size, 0)),
        np.where(programs.row_is_equality, 0, np.abs(rows * point.row_multiplier / size)),
        np.abs(splits),
        np.maximum(-over, 0),
        np.maximum(-under, 0),
        np.where(programs.has_over, np.maximum(-over_price / size, 0), over),
        np.where(programs.has_under, np.maximum(-under_price / size, 0), under),
        np.abs(over * over_price / size),
        np.abs(under * under_price / size),
        np.maximum(programs.lower - x, 0),
        np.maximum(x - programs.upper, 0),
        _at_bounds(programs, x, gradient / size),
    ]
    return np.asarray(np.max(np.concatenate(conditions, axis=1), axis=1, initial=0.0))


def _at_bounds(programs: Program, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A gradient above 0 needs the lower bound to be met, one below 0 the upper; the product of both is what is missing."""
    room_below = np.where(np.isfinite(programs.lower), x - programs.lower, 1.0)
    room_above = np.where(np.isfinite(programs.upper), programs.upper - x, 1.0)
    room = np.where(gradient > 0, room_below, room_above)
    return np.where(programs.lower == programs.upper, 0.0, np.minimum(np.abs(gradient), np.abs(gradient * room)))
