"""Many problems at once: each is optimal, and its answer is its own."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.optimise.optimising import optimise, optimise_many
from analytics.optimise.program import Program
from analytics.optimise.request import Objective
from analytics.optimise.solving import solve
from benchmarks.optimisers import long_only
from tests.analytics.optimise.optimality import worst_violations
from tests.analytics.optimise.problems import limits, problem
from tests.analytics.samples import random_returns


def small_programs(count: int, assets: int, *, at_most: float) -> Program:
    """Long-only minimum variance of random covariances, no weight above `at_most`."""
    chance = np.random.default_rng(5)
    factors = chance.normal(size=(count, assets, 2 * assets))
    return long_only(np.einsum("pif,pjf->pij", factors, factors) / (2 * assets), at_most)


def as_inequality(programs: Program) -> Program:
    """The same with the sum of weights at least 1, which only the thorough method takes."""
    return programs._replace(
        rows=-programs.rows, row_bounds=-programs.row_bounds, row_is_equality=~programs.row_is_equality
    )


@pytest.mark.parametrize("is_inequality", [False, True], ids=["active set", "interior point"])
def test_beyond_16_384_problems_numpy_finds_each_optimal_and_each_is_what_it_is_alone(is_inequality: bool) -> None:
    programs = small_programs(16_500, 6, at_most=0.4)
    programs = as_inequality(programs) if is_inequality else programs
    together = solve(programs)
    assert worst_violations(programs, together).max() <= 1e-8
    for place in (0, 333, 16_384, 16_499):
        alone = solve(Program(*(array[place : place + 1] for array in programs)))
        np.testing.assert_allclose(alone.point.x[0], together.point.x[place], rtol=0, atol=1e-12)


def test_a_start_near_the_solution_saves_turns_and_leads_to_the_same() -> None:
    programs = small_programs(200, 6, at_most=np.inf)
    cold = solve(programs)
    nearby = programs._replace(quadratic=programs.quadratic * 1.01)
    warm = solve(nearby, near=cold.point.x)
    np.testing.assert_allclose(warm.point.x, cold.point.x, rtol=0, atol=1e-12)
    assert warm.iterations.max() == 1 < cold.iterations.mean()


def test_outcomes_of_a_mixed_list_are_those_of_each_alone() -> None:
    mixed = [
        problem(objective, random_returns(120, assets, seed=assets), limits(assets))
        for assets, objective in ((5, Objective.MINIMUM_VARIANCE), (7, Objective.RISK_PARITY), (5, Objective.TRACKING))
    ]
    for one, outcome in zip(mixed, optimise_many(mixed), strict=True):
        alone = optimise(one)
        assert outcome.weights is not None
        assert alone.weights is not None
        np.testing.assert_allclose(outcome.weights, alone.weights, rtol=0, atol=1e-12)
