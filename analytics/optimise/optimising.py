"""From problems to outcomes: programs of one shape are solved together, and what has no solution is told why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from analytics.conventions import DEVIATION_MIN, PERIODS_PER_YEAR
from analytics.jax_setup import jax
from analytics.optimise.answer import SolveStatus
from analytics.optimise.conflicts import BROKEN, Elastic
from analytics.optimise.interior_point import Solved
from analytics.optimise.limits import Named, limited
from analytics.optimise.objectives import RATIOS, budgets_of, gain, program_of, shape_of, weights_of
from analytics.optimise.padding import call_size
from analytics.optimise.problem import Outcome, Problem
from analytics.optimise.program import Program
from analytics.optimise.ratios import LEAST_SCALE
from analytics.optimise.request import Objective
from analytics.optimise.risk_parity import risk_parity
from analytics.optimise.solving import solve
from analytics.shapes import bucket, padded

SOLVED: Final = 1e-8
INACCURATE: Final = 1e-5
FAR: Final = 1e3
"""A weight beyond this is on its way to infinity: requests have none above 100."""
RISKLESS: Final = 1e-6
"""A volatility below this part of the largest asset's is none: weights are solved to about 1e-8."""
NO_VARIANCE: Final = DEVIATION_MIN**2 * PERIODS_PER_YEAR
"""A year's variance below this is rounding: the price has not moved."""
_TOGETHER_MAX: Final = 4_096
"""Risk parity problems in one call."""


def optimise(problem: Problem) -> Outcome:
    """The outcome of one problem."""
    return optimise_many([problem])[0]


def optimise_many(problems: Sequence[Problem]) -> list[Outcome]:
    """The outcome of each problem, in their order.

    Where there are only bounds, what is held now is where one begins: it was the best not long ago.
    """
    outcomes: dict[int, Outcome] = {}
    parity = [index for index, problem in enumerate(problems) if problem.objective is Objective.RISK_PARITY]
    outcomes |= zip(parity, _balanced([problems[index] for index in parity]), strict=True)
    programs = {index: program_of(problem) for index, problem in enumerate(problems) if index not in outcomes}
    alike: dict[Sequence[int], list[int]] = defaultdict(list)
    for index, named in programs.items():
        alike[shape_of(named)].append(index)
    for indices in alike.values():
        start = np.stack([start_of(problems[index], programs[index]) for index in indices])
        solutions = solve(_stacked([programs[index] for index in indices]), start)
        for place, index in enumerate(indices):
            outcomes[index] = _outcome(problems[index], programs[index], solutions, place)
    return [outcomes[index] for index in range(len(problems))]


def _stacked(programs: Sequence[Named]) -> Program:
    return Program(*map(np.stack, zip(*(named.program for named in programs), strict=True)))


def start_of(problem: Problem, named: Named) -> Float64[np.ndarray, " variable"]:
    """The current weights, unless none of them is free to move or the program's variables are no weights; NaN is not known."""
    start, limits = np.full(len(named.program.linear), np.nan), problem.limits
    is_free = (limits.current > limits.lower) & (limits.current < limits.upper)
    if is_free.any() and problem.objective not in RATIOS:
        start[: len(is_free)] = limits.current
    return start


def _outcome(problem: Problem, named: Named, solutions: Solved, place: int) -> Outcome:
    one = jax.tree.map(lambda array: array[place : place + 1], solutions)
    status, conflict = _status(problem, one)
    weights = binding = None
    if status in (SolveStatus.SOLVED, SolveStatus.INACCURATE):
        weights = weights_of(problem, one.point.x[0])
        binding = _binding(named, one)
    residuals = [float(figure[0]) if np.isfinite(figure[0]) else None for figure in one.accuracy]
    return Outcome(
        status=status,
        weights=weights,
        iterations=int(one.iterations[0]),
        primal_residual=residuals[0],
        dual_residual=residuals[1],
        gap=residuals[2],
        binding=tuple(binding or ()),
        conflict=conflict,
    )


def _status(problem: Problem, one: Solved) -> tuple[SolveStatus, tuple[str, ...]]:
    """How the iteration ended, and the limits that are to blame if none could have ended well."""
    worst = one.worst()[0]
    if worst <= INACCURATE:
        if problem.objective in RATIOS and _is_endless(problem, one.point.x[0]):
            return SolveStatus.UNBOUNDED, ()
        return SolveStatus.SOLVED if worst <= SOLVED else SolveStatus.INACCURATE, ()
    count = len(problem.limits.names)
    limits = limited(np.zeros((count, count)), np.zeros(count), problem.limits)
    if conflict := Elastic(limits).conflict():
        return SolveStatus.INFEASIBLE, tuple(conflict)
    if problem.objective is Objective.MAXIMUM_SHARPE and not _can_gain(problem):
        return SolveStatus.NO_EXCESS_RETURN, ()
    return (SolveStatus.UNBOUNDED if _goes_far(program_of(problem)) else SolveStatus.ITERATION_LIMIT), ()


def _is_endless(problem: Problem, x: Float64[np.ndarray, " variable"]) -> bool:
    """Whether the ratio grows without end: with the weights, or because what is gained has no risk."""
    if x[len(problem.limits.names)] < LEAST_SCALE:
        return True
    largest = float(np.max(np.diag(problem.covariance)))
    return problem.variance(weights_of(problem, x)) <= RISKLESS**2 * largest


def _can_gain(problem: Problem) -> bool:
    """Whether any weights within the limits and not too large have an excess return, after costs."""
    count = len(problem.limits.names)
    best = limited(np.zeros((count, count)), -gain(problem), problem.limits)
    solution = solve(_stacked([_fenced(best)]))
    value = gain(problem) @ solution.point.x[0] - best.program.over_costs @ (
        solution.point.over[0] + solution.point.under[0]
    )
    return bool(value > BROKEN)


def _goes_far(named: Named) -> bool:
    """Whether the program, kept from infinity by a fence, runs into it."""
    solution = solve(_stacked([_fenced(named)]))
    return bool(solution.worst()[0] <= INACCURATE and np.max(np.abs(solution.point.x[0])) > 0.99 * FAR)


def _fenced(named: Named) -> Named:
    program = named.program
    return named._replace(
        program=program._replace(lower=np.maximum(program.lower, -FAR), upper=np.minimum(program.upper, FAR))
    )


def _binding(named: Named, one: Solved) -> list[str]:
    """Limits that hold the solution where it is: their multiplier is larger than the room that is left."""
    program, point = named.program, jax.tree.map(lambda array: array[0], one.point)
    size = (
        max(
            float(np.max(np.abs(numbers), initial=0.0))
            for numbers in (program.quadratic, program.linear, program.over_costs)
        )
        or 1.0
    )
    is_limit = ~program.has_over
    pairs = [
        (named.labels.rows, point.row_slack, np.where(program.row_is_equality, 0.0, point.row_multiplier)),
        (named.labels.splits, point.under, np.where(is_limit, point.under_multiplier, 0.0)),
        (named.labels.lower, point.above_lower, point.lower_multiplier),
        (named.labels.upper, point.below_upper, point.upper_multiplier),
    ]
    return [
        label
        for labels, room, multiplier in pairs
        for label, left, pressing in zip(labels, room, multiplier / size, strict=True)
        if label is not None and pressing > max(left, BROKEN)
    ]


def _balanced(problems: Sequence[Problem]) -> list[Outcome]:
    """Risk parity, all problems of one size in one call."""
    outcomes: dict[int, Outcome] = {}
    alike: dict[int, list[int]] = defaultdict(list)
    for index, problem in enumerate(problems):
        alike[bucket(len(problem.limits.names))].append(index)
    for size, indices in alike.items():
        for first in range(0, len(indices), _TOGETHER_MAX):
            here = indices[first : first + _TOGETHER_MAX]
            outcomes |= zip(here, _balanced_alike([problems[index] for index in here], size), strict=True)
    return [outcomes[index] for index in range(len(problems))]


def _balanced_alike(problems: Sequence[Problem], size: int) -> list[Outcome]:
    # The last one is repeated up to a size that was compiled before.
    filled = [*problems, *[problems[-1]] * (call_size(len(problems), _TOGETHER_MAX) - len(problems))]
    found = risk_parity(
        np.stack([padded(problem.covariance, (size, size)) for problem in filled]),
        np.stack([padded(budgets_of(problem), (size,)) for problem in filled]),
        np.stack([np.arange(size) < len(problem.limits.names) for problem in filled]),
    )
    weights, errors, iterations = map(np.asarray, found)
    return [
        _parity_outcome(problem, weights[place], float(errors[place]), int(iterations[place]))
        for place, problem in enumerate(problems)
    ]


def _parity_outcome(problem: Problem, weights: np.ndarray, error: float, iterations: int) -> Outcome:
    names, wanted = problem.limits.names, problem.limits.invested[1]
    total = wanted - problem.limits.invested_aside
    if total <= 0:
        # Holdings that stay take up all that may be invested: what is left to share out would be shorts.
        conflict = (f"invested = {wanted:.12g}", *(f"{name} >= 0" for name in names))
        return _nothing_found(SolveStatus.INFEASIBLE, conflict)
    if riskless := [name for name, own in zip(names, np.diag(problem.covariance), strict=True) if own < NO_VARIANCE]:
        return _nothing_found(SolveStatus.INFEASIBLE, tuple(f"risk of {name} > 0" for name in riskless))
    is_solved = error <= SOLVED
    return Outcome(
        status=SolveStatus.SOLVED if is_solved else SolveStatus.ITERATION_LIMIT,
        weights=weights[: len(names)] * total if is_solved else None,
        iterations=iterations,
        primal_residual=0.0,
        dual_residual=error if np.isfinite(error) else None,
        gap=0.0,
    )


def _nothing_found(status: SolveStatus, conflict: tuple[str, ...]) -> Outcome:
    return Outcome(
        status=status,
        weights=None,
        iterations=0,
        primal_residual=None,
        dual_residual=None,
        gap=None,
        conflict=conflict,
    )
