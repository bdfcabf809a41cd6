"""Many problems at once: each is optimal, and its answer is its own."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.optimise.optimising import optimise, optimise_many
from analytics.optimise.program import Program
from analytics.optimise.request import Objective
from analytics.optimise.solving import solve
from tests.analytics.optimise.optimality import worst_violations
from tests.analytics.optimise.problems import limits, problem
from tests.analytics.samples import random_returns


def small_programs(count: int, assets: int, *, at_most: float) -> Program:
    """Long-only minimum variance of random covariances, no weight above `at_most`."""
    chance = np.random.default_rng(5)
    factors = chance.normal(size=(count, assets, 2 * assets))
    zeros = np.zeros((count, assets))
    none, neither = np.zeros((count, 0)), np.zeros((count, 0), dtype=bool)
    return Program(
        quadratic=np.einsum("pif,pjf->pij", factors, factors) / (2 * assets),
        linear=zeros,
        lower=zeros,
        upper=zeros + at_most,
        rows=np.ones((count, 1, assets)),
        row_splits=np.zeros((count, 1, 0)),
        row_bounds=np.ones((count, 1)),
        row_is_equality=np.ones((count, 1), dtype=bool),
        split_rows=np.zeros((count, 0, assets)),
        split_offsets=none,
        over_costs=none,
        under_costs=none,
        has_over=neither,
        has_under=neither,
    )


def as_inequality(programs: Program) -> Program:
    """The same with the sum of weights at least 1, which only the thorough method takes."""
    return programs._replace(
        rows=-programs.rows, row_bounds=-programs.row_bounds, row_is_equality=~programs.row_is_equality
    )


@pytest.mark.parametrize("count", [16_385, 20_000])
def test_conditions_of_optimality_hold_in_numpy_in_batches_beyond_16_384(count: int) -> None:
    programs = small_programs(count, 6, at_most=0.4)
    assert worst_violations(programs, solve(programs)).max() <= 1e-8


def test_they_hold_for_the_interior_point_method_alone() -> None:
    programs = as_inequality(small_programs(16_385, 6, at_most=0.4))
    assert worst_violations(programs, solve(programs)).max() <= 1e-8


def test_an_answer_does_not_depend_on_what_is_solved_with_it() -> None:
    programs = small_programs(700, 9, at_most=0.3)
    for batch in (programs, as_inequality(programs)):
        together = solve(batch).point.x
        for place in (0, 333, 699):
            alone = solve(Program(*(array[place : place + 1] for array in batch))).point.x
            np.testing.assert_allclose(alone[0], together[place], rtol=0, atol=1e-12)


def test_a_start_near_the_solution_saves_turns_and_leads_to_the_same() -> None:
    programs = small_programs(200, 30, at_most=np.inf)
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
