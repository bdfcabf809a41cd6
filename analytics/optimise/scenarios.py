"""Conditional value at risk as a linear program over scenarios.

R. T. Rockafellar, S. Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2 (2000).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from analytics.optimise.limits import Labels, Named
from analytics.optimise.program import Program


def with_tail_loss(named: Named, returns: Float64[np.ndarray, "scenario asset"], level: float) -> Named:
    """The program with the CVaR of `returns` at `level` added to its objective, and the threshold as one variable more.

    CVaR is the least over a of a + mean(max(loss - a, 0)) / (1 - level): each scenario is a split row whose over is the
    loss beyond a. At the solution a is the value at risk.
    """
    program, labels = named
    scenarios = len(returns)
    tail = 1 / ((1 - level) * scenarios)
    none, zeros, ones = (None,) * scenarios, np.zeros(scenarios), np.ones(scenarios)
    larger = Program(
        quadratic=np.pad(program.quadratic, (0, 1)),
        linear=np.append(program.linear, 1.0),
        lower=np.append(program.lower, -np.inf),
        upper=np.append(program.upper, np.inf),
        rows=np.pad(program.rows, ((0, 0), (0, 1))),
        row_splits=np.pad(program.row_splits, ((0, 0), (0, scenarios))),
        row_bounds=program.row_bounds,
        row_is_equality=program.row_is_equality,
        split_rows=np.concatenate([np.pad(program.split_rows, ((0, 0), (0, 1))), np.c_[-returns, -ones]]),
        split_offsets=np.append(program.split_offsets, zeros),
        over_costs=np.append(program.over_costs, tail * ones),
        under_costs=np.append(program.under_costs, zeros),
        has_over=np.append(program.has_over, ones).astype(bool),
        has_under=np.append(program.has_under, ones).astype(bool),
    )
    names = Labels((*labels.lower, None), (*labels.upper, None), labels.rows, (*labels.splits, *none))
    return Named(larger, names)
