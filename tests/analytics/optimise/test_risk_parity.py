"""Shares of risk are what was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.optimise.optimising import optimise, optimise_many
from analytics.optimise.request import Objective
from tests.analytics.optimise.problems import limits, problem, samples
from tests.analytics.samples import random_returns


def shares(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.asarray(weights * (covariance @ weights) / (weights @ covariance @ weights))


@pytest.mark.parametrize("sample", samples())
def test_every_asset_carries_the_same_share_of_risk(sample: str) -> None:
    returns = samples()[sample]
    one = problem(Objective.RISK_PARITY, returns, limits(returns.shape[1]))
    outcome = optimise(one)
    assert outcome.weights is not None
    count = returns.shape[1]
    assert outcome.weights.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(shares(outcome.weights, one.covariance), 1 / count, rtol=1e-8)


def test_given_shares_are_carried() -> None:
    returns = samples()["real"]
    budgets = np.linspace(0.01, 3.0, 20)
    one = problem(Objective.RISK_PARITY, returns, limits(20), budgets=budgets)
    outcome = optimise(one)
    assert outcome.weights is not None
    np.testing.assert_allclose(shares(outcome.weights, one.covariance), budgets / budgets.sum(), rtol=1e-8)


def test_five_hundred_problems_of_different_sizes_are_balanced() -> None:
    many = [
        problem(Objective.RISK_PARITY, random_returns(80, 9 + seed % 8, seed=seed), limits(9 + seed % 8))
        for seed in range(500)
    ]
    for one, outcome in zip(many, optimise_many(many), strict=True):
        assert outcome.weights is not None
        np.testing.assert_allclose(shares(outcome.weights, one.covariance), 1 / len(outcome.weights), rtol=1e-8)
