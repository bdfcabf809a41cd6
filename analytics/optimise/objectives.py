"""Each objective as a program, what a program's solution is in weights, and what an objective is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float64

from analytics.optimise.limits import Named, limited
from analytics.optimise.problem import Problem
from analytics.optimise.ratios import per_unit_of_gain
from analytics.optimise.request import Objective
from analytics.optimise.scenarios import with_tail_loss

RATIOS: Final = frozenset({Objective.MAXIMUM_SHARPE, Objective.MAXIMUM_DIVERSIFICATION})


def program_of(problem: Problem) -> Named:
    """The convex program of any objective but risk parity."""
    nothing = np.zeros(len(problem.limits.names))
    aversion, covariance = problem.risk_aversion, problem.covariance
    match problem.objective:
        case Objective.MINIMUM_VARIANCE:
            return limited(aversion * covariance, nothing, problem.limits)
        case Objective.MEAN_VARIANCE:
            return limited(aversion * covariance, -problem.expected, problem.limits)
        case Objective.TRACKING:
            assert problem.tracked_covariance is not None
            return limited(aversion * covariance, -aversion * problem.tracked_covariance, problem.limits)
        case Objective.MINIMUM_CVAR:
            return _tail_program(problem)
        case _:
            return _ratio_program(problem)


def _tail_program(problem: Problem) -> Named:
    """Losses and costs in units of the scenarios' deviation, for a day's are too small to solve well."""
    assert problem.scenarios is not None
    unit = float(np.std(problem.scenarios)) or 1.0
    count = len(problem.limits.names)
    limits = replace(problem.limits, costs=np.asarray(problem.limits.costs) / unit)
    plain = limited(np.zeros((count, count)), np.zeros(count), limits)
    return with_tail_loss(plain, problem.scenarios / unit, problem.confidence_level)


def _ratio_program(problem: Problem) -> Named:
    """Gains in units of the largest, so that the scale of the variables is about 1."""
    gains = gain(problem)
    unit = float(np.max(np.abs(gains))) or 1.0
    plain = limited(problem.covariance, np.zeros(len(gains)), problem.limits)
    return per_unit_of_gain(plain, gains / unit, plain.program.over_costs / unit)


def gain(problem: Problem) -> Float64[np.ndarray, " asset"]:
    """What a ratio's numerator has of each asset: its excess return, or its volatility."""
    if problem.objective is Objective.MAXIMUM_SHARPE:
        return problem.expected - problem.risk_free_rate
    return np.sqrt(np.diag(problem.covariance))


def weights_of(problem: Problem, x: Float64[np.ndarray, " variable"]) -> Float64[np.ndarray, " asset"]:
    """The weights that a solution of the problem's program stands for."""
    count = len(problem.limits.names)
    return x[:count] / x[count] if problem.objective in RATIOS else x[:count]


def value_of(problem: Problem, weights: Float64[np.ndarray, " asset"]) -> float:
    """The objective as docs/optimisation.md defines it, in its own units."""
    variance = problem.variance(weights)
    costs = float(np.sum(np.asarray(problem.limits.costs) * np.abs(weights - problem.limits.current)))
    match problem.objective:
        case Objective.MINIMUM_VARIANCE:
            return problem.risk_aversion * variance / 2 + costs
        case Objective.MEAN_VARIANCE:
            return problem.risk_aversion * variance / 2 + costs - float(problem.expected @ weights)
        case Objective.TRACKING:
            assert problem.tracked_covariance is not None
            difference = variance - 2 * float(problem.tracked_covariance @ weights) + problem.tracked_variance
            return problem.risk_aversion * difference / 2 + costs
        case Objective.MINIMUM_CVAR:
            assert problem.scenarios is not None
            return tail_loss(problem.scenarios @ weights, problem.confidence_level) + costs
        case Objective.RISK_PARITY:
            shares = weights * (problem.covariance @ weights) / variance
            return float(np.max(np.abs(shares - budgets_of(problem))))
        case _:
            return (float(gain(problem) @ weights) - costs) / math.sqrt(variance)


def tail_loss(returns: Float64[np.ndarray, " scenario"], level: float) -> float:
    """CVaR as a positive loss: the least over a of a + mean(max(loss - a, 0)) / (1 - level), which a loss attains."""
    losses = np.sort(-returns)
    beyond = (losses[::-1].cumsum()[::-1] - losses * np.arange(len(losses), 0, -1)) / len(losses)
    return float(np.min(losses + beyond / (1 - level)))


def budgets_of(problem: Problem) -> Float64[np.ndarray, " asset"]:
    """Shares of risk that sum to 1."""
    count = len(problem.limits.names)
    return np.full(count, 1 / count) if problem.budgets is None else problem.budgets / problem.budgets.sum()


def shape_of(named: Named) -> Sequence[int]:
    """What programs must share to be solved in one batch."""
    program = named.program
    return (*program.row_splits.shape, len(program.linear), int(np.all(program.row_is_equality)))
