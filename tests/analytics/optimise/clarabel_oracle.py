"""Programs given to Clarabel as they are, every split as two variables of its own."""

from __future__ import annotations

from typing import Any

import clarabel
import numpy as np
from scipy import sparse

from analytics.optimise.program import Program


def solved_by_clarabel(program: Program) -> Any:
    """Clarabel's solution of one program, asked for at 1e-12: `obj_val` is the objective's value, `x` begins with the variables."""
    variables, splits = len(program.linear), len(program.split_offsets)
    equations, inequalities = _limits(program, variables, splits)
    matrix = np.vstack([equations[:, :-1], inequalities[:, :-1]])
    bounds = np.concatenate([equations[:, -1], inequalities[:, -1]])
    quadratic = np.zeros((variables + 2 * splits,) * 2)
    quadratic[:variables, :variables] = np.triu(program.quadratic)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    cones = [clarabel.ZeroConeT(len(equations)), clarabel.NonnegativeConeT(len(inequalities))]
    linear = np.concatenate([program.linear, program.over_costs, program.under_costs])
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix(quadratic), linear, sparse.csc_matrix(matrix), bounds, cones, settings
    )
    return solver.solve()


def _limits(program: Program, variables: int, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Equations and inequalities, each with its right side as last column."""
    unit = np.eye(variables + 2 * splits)
    own, over, under = unit[:variables], unit[variables : variables + splits], unit[variables + splits :]
    rows = np.hstack([program.rows, program.row_splits, program.row_splits])
    rows = np.c_[rows, program.row_bounds]
    split_rows = np.hstack([program.split_rows, -np.eye(splits), np.eye(splits)])
    is_fixed = program.lower == program.upper
    has_lower = np.isfinite(program.lower) & ~is_fixed
    has_upper = np.isfinite(program.upper) & ~is_fixed
    equations = [
        rows[program.row_is_equality],
        np.c_[split_rows, program.split_offsets],
        _zero(over[~program.has_over]),
        _zero(under[~program.has_under]),
        np.c_[own[is_fixed], program.lower[is_fixed]],
    ]
    inequalities = [
        rows[~program.row_is_equality],
        _zero(-over[program.has_over]),
        _zero(-under[program.has_under]),
        np.c_[-own[has_lower], -program.lower[has_lower]],
        np.c_[own[has_upper], program.upper[has_upper]],
    ]
    return np.concatenate(equations), np.concatenate(inequalities)


def _zero(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.c_[rows, np.zeros(len(rows))])
