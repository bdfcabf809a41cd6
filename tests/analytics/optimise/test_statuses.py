"""What has no solution says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analytics.optimise.answer import SolveStatus
from analytics.optimise.limits import GroupLimit
from analytics.optimise.optimising import optimise
from analytics.optimise.request import Objective
from tests.analytics.optimise.problems import limits, problem
from tests.analytics.samples import random_returns

FOUR = random_returns(60, 4, seed=9)
EXPECTED = np.array([0.10, 0.20, 0.05, 0.01])


def group(name: str, members: list[bool], upper: float) -> GroupLimit:
    return GroupLimit(name=name, members=np.array(members), lower=-np.inf, upper=upper)


@pytest.mark.parametrize(
    ("asked", "conflict"),
    [
        (
            {
                "groups": (group("tech", [True, False, False, False], 0.1),),
                "lower": np.array([0.2, 0, 0, 0]),
            },
            {"group tech <= 0.1", "A0 >= 0.2"},
        ),
        ({"upper": np.full(4, 0.2)}, {"invested = 1", "A0 <= 0.2", "A1 <= 0.2", "A2 <= 0.2", "A3 <= 0.2"}),
        ({"upper": np.full(4, 0.2499999)}, {"invested = 1", *(f"A{place} <= 0.2499999" for place in range(4))}),
        ({"turnover_max": 0.1, "lower": np.array([0.5, 0, 0, 0])}, {"turnover <= 0.1", "A0 >= 0.5"}),
        (
            {
                "leverage_max": 1.2,
                "lower": np.full(4, -1.0),
                "groups": (group("shorts", [True, True, False, False], -0.3),),
            },
            {"invested = 1", "leverage <= 1.2", "group shorts <= -0.3"},
        ),
        (
            {"return_min": 0.25},
            {"invested = 1", "expected return >= 0.25", "A0 >= 0", "A2 >= 0", "A3 >= 0"},
        ),
    ],
)
def test_an_infeasible_problem_names_the_limits_that_exclude_each_other(
    asked: dict[str, Any], conflict: set[str]
) -> None:
    one = problem(Objective.MINIMUM_VARIANCE, FOUR, limits(4, **asked), expected=EXPECTED)
    outcome = optimise(replace(one, limits=replace(one.limits, expected=EXPECTED)))
    assert outcome.status is SolveStatus.INFEASIBLE
    assert set(outcome.conflict) == conflict
    assert outcome.weights is None


def test_without_any_excess_return_there_is_no_best_ratio() -> None:
    outcome = optimise(problem(Objective.MAXIMUM_SHARPE, FOUR, limits(4), expected=EXPECTED, risk_free_rate=0.3))
    assert outcome.status is SolveStatus.NO_EXCESS_RETURN
    assert outcome.conflict == ()


def test_returns_without_risk_or_limit_are_unbounded() -> None:
    free = limits(4, lower=np.full(4, -np.inf))
    one = problem(Objective.MEAN_VARIANCE, FOUR, free, covariance=np.zeros((4, 4)), expected=EXPECTED)
    assert optimise(one).status is SolveStatus.UNBOUNDED


def test_binding_limits_are_named() -> None:
    asked = limits(4, upper=np.array([0.3, 0.3, 1, 1]), turnover_max=0.2)
    one = problem(Objective.MEAN_VARIANCE, FOUR, asked, expected=EXPECTED, risk_aversion=1e-3)
    outcome = optimise(one)
    assert outcome.status is SolveStatus.SOLVED
    assert "A1 <= 0.3" in outcome.binding
    assert "turnover <= 0.2" in outcome.binding
    assert "A0 >= 0" not in outcome.binding
