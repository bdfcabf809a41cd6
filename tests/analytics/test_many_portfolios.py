"""Compiled kernels beside NumPy at more than 16,385 portfolios: jax 0.10.2 computes wrong results from there on."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from analytics.exposure import exposure
from analytics.jax_setup import host, jnp
from analytics.money_weighted import money_weighted_return
from analytics.performance_analysis import analyse_performance
from analytics.risk_analysis import analyse_risk
from analytics.stress import stressed
from analytics.tail_contributions import tail_contributions
from tests.analytics import reference
from tests.analytics.samples import Floats, assert_close, random_returns, random_weights

PORTFOLIOS: Final = 16_900
LOOKED_AT: Final = [0, 1, 8_191, 8_192, 16_383, 16_384, 16_385, 16_386, 16_640, PORTFOLIOS - 1]
DAYS: Final = 41
INSTRUMENTS: Final = 9


@pytest.fixture(scope="module")
def weights() -> Floats:
    """[portfolio, instrument]"""
    return random_weights(PORTFOLIOS, INSTRUMENTS, seed=4)


@pytest.fixture(scope="module")
def returns() -> Floats:
    """[day, instrument]"""
    return random_returns(DAYS, INSTRUMENTS, seed=5)


def test_risk(weights: Floats, returns: Floats) -> None:
    benchmark = returns.mean(axis=1)
    found = analyse_risk(weights, returns, np.ones(INSTRUMENTS, dtype=bool), benchmark)
    # All of them in what NumPy does in one expression, some of them in the rest.
    daily = weights @ returns.T
    assert_close(found.volatility, daily.std(axis=1, ddof=1) * np.sqrt(252), rtol=1e-11)
    assert_close(found.beta, (daily @ (benchmark - benchmark.mean())) / (DAYS * benchmark.var()), rtol=1e-11)
    assert_close(found.tracking_error, (daily - benchmark).std(axis=1, ddof=1) * np.sqrt(252), rtol=1e-11)
    assert_close(found.component.sum(axis=1), found.volatility, rtol=1e-11)
    for index in LOOKED_AT:
        for name, expected in reference.risk(weights[index], returns, benchmark).items():
            ours = getattr(found, name)[index] if hasattr(found, name) else getattr(found.historical, name)[index]
            assert_close(ours, expected, rtol=1e-11, what=name)


def test_performance() -> None:
    chance = np.random.default_rng(6)
    shape = (PORTFOLIOS, DAYS)
    inflows = np.where(chance.random(shape) < 0.1, chance.uniform(0, 500, shape), 0.0)
    outflows = np.where(chance.random(shape) < 0.1, chance.uniform(0, 300, shape), 0.0)
    values = np.asarray(10_000 * np.cumprod(1 + chance.normal(0, 0.01, shape), axis=1), dtype=np.float64)
    opening = np.full(PORTFOLIOS, 10_000.0)
    days = np.datetime64("2020-01-01") + np.arange(DAYS)
    found = analyse_performance(
        days, values, inflows, outflows, np.ones(shape, dtype=bool), opening_values=opening, risk_free_rate=0.02
    )
    before = np.column_stack([opening, values[:, :-1]])
    daily = (values + outflows) / (before + inflows) - 1
    assert_close(found.twr, np.prod(1 + daily, axis=1) - 1, rtol=1e-11)
    assert_close(found.annualised_volatility, daily.std(axis=1, ddof=1) * np.sqrt(252), rtol=1e-11)
    for index in LOOKED_AT:
        one = reference.day_returns(values[index], inflows[index], outflows[index], 10_000.0)
        for name, expected in reference.performance(one, 1.02 ** (1 / 252) - 1).items():
            assert_close(getattr(found, name)[index], expected, rtol=1e-11, what=name)


def test_money_weighted_returns() -> None:
    chance = np.random.default_rng(8)
    amounts = np.column_stack([-chance.uniform(50, 150, (PORTFOLIOS, 3)), chance.uniform(300, 500, PORTFOLIOS)])
    years = np.tile([0.0, 0.5, 1.25, 3.0], (PORTFOLIOS, 1))
    found = host(money_weighted_return(jnp.asarray(amounts), jnp.asarray(years), jnp.ones(amounts.shape, dtype=bool)))
    assert (found.roots == 1).all()
    worth = (amounts * (1 + found.rate[:, None]) ** -years).sum(axis=1)
    assert_close(worth, 0, atol=1e-10)


def test_exposure(weights: Floats) -> None:
    covered = np.arange(INSTRUMENTS) % 3 > 0
    values, cash = weights * 1e6, np.linspace(1e5, 9e5, PORTFOLIOS)
    found = host(exposure(jnp.asarray(values), jnp.asarray(cash), jnp.asarray(covered)))
    assert_close(found.gross_exposure, np.abs(values).sum(axis=1), rtol=1e-11)
    for index in LOOKED_AT:
        for name, expected in reference.exposure(values[index], cash[index], covered).items():
            assert_close(getattr(found, name)[index], expected, rtol=1e-11, what=name)


def test_stress(weights: Floats, returns: Floats) -> None:
    found, known = stressed(jnp.asarray(weights), jnp.asarray(returns))
    assert_close(found, weights @ returns.T, rtol=1e-11)
    assert np.asarray(known).all()


def test_parts_of_the_tails(weights: Floats, returns: Floats) -> None:
    everything = np.ones(INSTRUMENTS, dtype=bool)
    parts = tail_contributions(weights, returns, everything)
    for part, figure in zip(parts, analyse_risk(weights, returns, everything).historical, strict=True):
        assert_close(part.sum(axis=2), figure, rtol=1e-10)
    order = np.argsort(weights @ returns.T, axis=1)
    for column, place in enumerate((2, 0)):
        assert_close(parts.value_at_risk[:, column], -weights * returns[order[:, place]], rtol=1e-11)
