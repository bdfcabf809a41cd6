"""A portfolio's figures are its own: no other portfolio, instrument, padding or mask changes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytics.performance_analysis import analyse_performance
from analytics.risk_analysis import RiskAnalysis, analyse_risk
from analytics.tail_contributions import tail_contributions
from tests.analytics.samples import Floats, assert_close, random_returns, random_weights

PORTFOLIOS, INSTRUMENTS, DAYS = 40, 13, 61

# Each shape is compiled, which takes a second or two of a core.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def weights() -> Floats:
    """[portfolio, instrument]"""
    return random_weights(PORTFOLIOS, INSTRUMENTS, seed=9, held=0.5)


@pytest.fixture(scope="module")
def gappy() -> Floats:
    """[day, instrument], some of which start late or have holes."""
    returns = random_returns(DAYS, INSTRUMENTS, seed=10)
    returns[:4, 2] = np.nan
    returns[17, 5] = np.nan
    returns[33, 6:8] = np.nan
    return returns


@pytest.fixture(scope="module")
def benchmark() -> Floats:
    """[day]"""
    prices = random_returns(DAYS, 1, seed=11)[:, 0]
    prices[[3, 40]] = np.nan
    return prices


def figures(analysis: Any, portfolio: int) -> dict[str, Any]:
    """Everything that `analysis` says of one portfolio, by name."""
    found = analysis._asdict()
    reasons = found.pop("reasons")
    for name in ("historical", "gaussian", "cornish_fisher"):
        if name in found:
            tail = found.pop(name)
            found |= {f"{name}.{key}": value for key, value in tail._asdict().items()}
    return {name: value[portfolio] for name, value in {**found, **reasons}.items()}


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert_close(value, theirs[name], rtol=1e-12, what=name)


@pytest.fixture(scope="module")
def whole(weights: Floats, gappy: Floats, benchmark: Floats) -> RiskAnalysis:
    """All portfolios at once, many of them on days of their own."""
    return analyse_risk(weights, gappy, np.ones(INSTRUMENTS, dtype=bool), benchmark)


def test_the_portfolios_have_days_in_common_and_days_of_their_own(whole: RiskAnalysis) -> None:
    counts = np.unique_counts(whole.observations)
    assert len(counts.values) >= 5
    assert counts.counts.max() < PORTFOLIOS


@pytest.mark.parametrize("portfolio", [0, 7, 23, 39])
def test_parts_of_the_tails_are_of_the_days_that_the_tails_are_of(
    whole: RiskAnalysis, weights: Floats, gappy: Floats, portfolio: int
) -> None:
    covered = np.ones(INSTRUMENTS, dtype=bool)
    parts = tail_contributions(weights, gappy, covered)
    alone = tail_contributions(weights[[portfolio]], gappy, covered)
    for part, one, figure in zip(parts, alone, whole.historical, strict=True):
        assert_close(part[portfolio], one[0], rtol=1e-12)
        assert_close(part[portfolio].sum(axis=1), figure[portfolio], rtol=1e-12)


@pytest.mark.parametrize("portfolio", [0, 7, 23, 39])
def test_risk_is_that_of_a_portfolio_alone(
    whole: RiskAnalysis, weights: Floats, gappy: Floats, benchmark: Floats, portfolio: int
) -> None:
    covered = np.ones(INSTRUMENTS, dtype=bool)
    alone = analyse_risk(weights[[portfolio]], gappy, covered, benchmark)
    assert_same(figures(whole, portfolio), figures(alone, 0))


@pytest.mark.parametrize("portfolio", [0, 7, 23, 39])
def test_risk_is_that_of_the_days_without_gaps(
    whole: RiskAnalysis, weights: Floats, gappy: Floats, benchmark: Floats, portfolio: int
) -> None:
    """The mask takes days out; it does not count them as zero."""
    days = ~np.isnan(gappy[:, weights[portfolio] != 0]).any(axis=1)
    alone = analyse_risk(
        weights[[portfolio]], np.nan_to_num(gappy[days]), np.ones(INSTRUMENTS, dtype=bool), benchmark[days]
    )
    assert_same(figures(whole, portfolio), figures(alone, 0))


def test_more_instruments_and_portfolios_change_nothing(
    whole: RiskAnalysis, weights: Floats, gappy: Floats, benchmark: Floats
) -> None:
    others = random_returns(DAYS, 30, seed=12)
    returns = np.column_stack([gappy, others])
    larger = np.zeros((3 * PORTFOLIOS, returns.shape[1]))
    larger[:PORTFOLIOS, :INSTRUMENTS] = weights
    larger[PORTFOLIOS:] = random_weights(2 * PORTFOLIOS, returns.shape[1], seed=13)
    found = analyse_risk(larger, returns, np.ones(returns.shape[1], dtype=bool), benchmark)
    for portfolio in range(PORTFOLIOS):
        ours = figures(found, portfolio)
        ours |= {name: ours[name][:INSTRUMENTS] for name in ("marginal", "component")}
        assert_same(ours, figures(whole, portfolio))


def test_what_is_not_covered_counts_as_not_held(weights: Floats, gappy: Floats, benchmark: Floats) -> None:
    covered = np.arange(INSTRUMENTS) != 2
    found = analyse_risk(weights, gappy, covered, benchmark)
    without = analyse_risk(np.where(covered, weights, 0), gappy, np.ones(INSTRUMENTS, dtype=bool), benchmark)
    for portfolio in range(PORTFOLIOS):
        assert_same(figures(found, portfolio), figures(without, portfolio))


def test_performance_is_that_of_a_portfolio_alone_on_its_own_days() -> None:
    chance = np.random.default_rng(14)
    shape = (PORTFOLIOS, DAYS)
    values = np.asarray(1_000 * np.cumprod(1 + chance.normal(0, 0.01, shape), axis=1), dtype=np.float64)
    # From day 28 at the latest, so that all fit one bucket of days.
    present = np.arange(DAYS) >= chance.integers(0, 28, PORTFOLIOS)[:, None]
    present[5, 50] = False
    opens = present & (np.cumsum(present, axis=1) == 1)
    inflows = np.where(opens, 1_000.0, np.where(chance.random(shape) < 0.1, 50.0, 0.0)) * present
    outflows = np.where(chance.random(shape) < 0.1, 20.0, 0.0) * present
    days = np.datetime64("2021-01-01") + np.arange(DAYS)
    whole = analyse_performance(days, values, inflows, outflows, present, risk_free_rate=0.01)
    for portfolio in range(PORTFOLIOS):
        kept = present[portfolio]
        rows = np.ix_([portfolio], kept)
        alone = analyse_performance(
            days[kept], values[rows], inflows[rows], outflows[rows], present[rows], risk_free_rate=0.01
        )
        ours, theirs = figures(whole, portfolio), figures(alone, 0)
        place = {int(day): index for index, day in enumerate(np.flatnonzero(kept))} | {-1: -1}
        for name in ("first", "last", "max_drawdown_peak", "max_drawdown_trough", "max_drawdown_recovery"):
            ours[name] = place[int(ours[name])]
        assert_same(ours, theirs)
