"""Every convex program beside Clarabel's solution, and against the conditions of optimality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analytics.optimise.interior_point import Solved
from analytics.optimise.limits import Named
from analytics.optimise.objectives import program_of
from analytics.optimise.optimising import start_of
from analytics.optimise.program import Program
from analytics.optimise.request import Objective
from analytics.optimise.solving import solve
from tests.analytics.optimise.clarabel_oracle import solved_by_clarabel
from tests.analytics.optimise.optimality import worst_violations
from tests.analytics.optimise.problems import limited_in_every_way, limits, problem, samples
from tests.analytics.samples import real_returns

TOLERANCE = 1e-8
RATIOS = (Objective.MAXIMUM_SHARPE, Objective.MAXIMUM_DIVERSIFICATION)


def solved(named: Named, near: np.ndarray | None = None) -> tuple[Program, Solved]:
    batch = Program(*(array[None] for array in named.program))
    return batch, solve(batch, None if near is None else near[None])


def assert_optimal(named: Named, near: np.ndarray | None = None) -> None:
    """Residuals at most 1e-8, and an objective that is within 1e-8 of Clarabel's, in the objective's largest number."""
    program = named.program
    batch, found = solved(named, near)
    assert found.worst()[0] <= TOLERANCE
    assert worst_violations(batch, found)[0] <= TOLERANCE
    point = found.point
    value = point.x[0] @ program.quadratic @ point.x[0] / 2 + program.linear @ point.x[0]
    value += program.over_costs @ point.over[0] + program.under_costs @ point.under[0]
    theirs = solved_by_clarabel(program)
    assert str(theirs.status) in {"Solved", "AlmostSolved"}
    size = max(float(np.max(np.abs(program.quadratic))), float(np.max(np.abs(program.linear))), 1e-3)
    assert abs(value - theirs.obj_val) <= TOLERANCE * max(size, abs(theirs.obj_val))


@pytest.mark.parametrize("objective", [Objective.MINIMUM_VARIANCE, Objective.MEAN_VARIANCE, Objective.TRACKING])
@pytest.mark.parametrize("sample", samples())
def test_quadratic_programs_are_clarabels_within_every_kind_of_limit(objective: Objective, sample: str) -> None:
    returns = samples()[sample]
    for asked in limited_in_every_way(returns.shape[1]).values():
        assert_optimal(program_of(problem(objective, returns, asked)))


@pytest.mark.parametrize(
    "held", [[1.0], [0.5, 0.5], [-0.2, 1.2], [0.0, 1e4], [0.05] * 20], ids=["one", "two", "short", "large", "all"]
)
@pytest.mark.parametrize("sample", samples())
def test_whatever_is_held_leads_to_clarabels(sample: str, held: list[float]) -> None:
    returns = samples()[sample]
    current = np.zeros(returns.shape[1])
    current[: len(held)] = held[: len(current)]
    for kind in ("long only", "boxes", "a fixed weight", "short"):
        asked = replace(limited_in_every_way(returns.shape[1])[kind], current=current)
        one = problem(Objective.MEAN_VARIANCE, returns, asked)
        assert_optimal(program_of(one), start_of(one, program_of(one)))


@pytest.mark.parametrize("objective", RATIOS)
@pytest.mark.parametrize("kind", ["long only", "boxes", "a fixed weight", "all of them"])
def test_ratios_are_clarabels(objective: Objective, kind: str) -> None:
    for returns in samples().values():
        asked = limited_in_every_way(returns.shape[1])[kind]
        assert_optimal(program_of(problem(objective, returns, asked)))


def test_minimum_cvar_is_clarabels_within_every_limit_at_once() -> None:
    returns = samples()["real"]
    asked = limited_in_every_way(returns.shape[1])["all of them"]
    assert_optimal(program_of(problem(Objective.MINIMUM_CVAR, returns, asked)))


def test_minimum_cvar_of_504_scenarios_and_50_assets_is_clarabels() -> None:
    chance = np.random.default_rng(3)
    returns = real_returns(504)[:, chance.integers(0, 20, 50)] + chance.normal(0, 0.01, (504, 50))
    for level in (0.95, 0.99):
        assert_optimal(program_of(problem(Objective.MINIMUM_CVAR, returns, limits(50), confidence_level=level)))


@pytest.mark.parametrize("objective", [Objective.MINIMUM_VARIANCE, Objective.MEAN_VARIANCE, Objective.MAXIMUM_SHARPE])
def test_a_single_asset_is_held_wholly(objective: Objective) -> None:
    returns = np.abs(samples()["real"][:, :1])
    one = problem(objective, returns, limits(1), expected=np.array([0.1]))
    named = program_of(one)
    _, found = solved(named)
    assert found.worst()[0] <= TOLERANCE
    scale = found.point.x[0][1] if objective in RATIOS else 1.0
    assert found.point.x[0][0] / scale == pytest.approx(1.0, abs=1e-9)


def test_a_target_return_is_met_at_the_least_variance() -> None:
    returns = samples()["real"]
    asked = limits(20, return_min=0.15)
    one = problem(Objective.MINIMUM_VARIANCE, returns, asked)
    assert_optimal(program_of(one))
    _, found = solved(program_of(one))
    assert one.expected @ found.point.x[0] >= 0.15 - TOLERANCE
