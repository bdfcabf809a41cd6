"""Performance figures beside empyrical's, to 1e-10."""

from __future__ import annotations

import empyrical
import numpy as np
import pytest

from analytics.conventions import per_period
from analytics.performance_analysis import PerformanceAnalysis, analyse_performance
from tests.analytics.samples import Floats, assert_close, random_returns, real_prices, real_returns

RISK_FREE = 0.03


@pytest.fixture(params=["real", "random"], scope="module")
def returns(request: pytest.FixtureRequest) -> Floats:
    """[series, day]"""
    daily = real_returns() if request.param == "real" else random_returns(777, 33, seed=1)
    return np.ascontiguousarray(daily.T)


@pytest.fixture(scope="module")
def analysed(returns: Floats) -> PerformanceAnalysis:
    """Of a million in each series, with nothing paid in later."""
    values = np.asarray(1e6 * np.cumprod(1 + returns, axis=1), dtype=np.float64)
    nothing = np.zeros_like(values)
    return analyse_performance(
        np.datetime64("2018-01-03") + np.arange(values.shape[1]),
        values,
        nothing,
        nothing,
        np.ones(values.shape, dtype=bool),
        opening_values=np.full(len(values), 1e6),
        opening_day=np.datetime64("2018-01-02"),
        risk_free_rate=RISK_FREE,
    )


def test_returns_and_volatility_are_empyricals(returns: Floats, analysed: PerformanceAnalysis) -> None:
    assert_close(analysed.twr, [empyrical.cum_returns_final(one) for one in returns])
    assert_close(analysed.annualised_return, [empyrical.annual_return(one) for one in returns])
    assert_close(analysed.annualised_volatility, [empyrical.annual_volatility(one) for one in returns])


def test_ratios_are_empyricals(returns: Floats, analysed: PerformanceAnalysis) -> None:
    daily = per_period(RISK_FREE)
    assert_close(analysed.sharpe_ratio, [empyrical.sharpe_ratio(one, daily) for one in returns])
    assert_close(analysed.sortino_ratio, [empyrical.sortino_ratio(one, daily) for one in returns])
    assert_close(analysed.calmar_ratio, [empyrical.calmar_ratio(one) for one in returns])


def test_drawdowns_are_empyricals(returns: Floats, analysed: PerformanceAnalysis) -> None:
    assert_close(analysed.max_drawdown, [empyrical.max_drawdown(one) for one in returns])


def test_the_days_of_a_drawdown_bound_it(returns: Floats, analysed: PerformanceAnalysis) -> None:
    for index, one in enumerate(returns):
        wealth = np.concatenate([[1.0], np.cumprod(1 + one)])
        # Index -1 is the start, before the first return.
        peak, trough, recovery = (
            int(days[index]) + 1
            for days in (analysed.max_drawdown_peak, analysed.max_drawdown_trough, analysed.max_drawdown_recovery)
        )
        assert wealth[trough] / wealth[peak] - 1 == pytest.approx(analysed.max_drawdown[index], rel=1e-12)
        assert wealth[peak] == wealth[: trough + 1].max()
        if recovery > 0:
            assert wealth[recovery] >= wealth[peak]
            assert (wealth[peak + 1 : recovery] < wealth[peak]).all()
        else:
            assert (wealth[peak + 1 :] < wealth[peak]).all()


def test_the_sample_has_drawdowns_with_and_without_recovery() -> None:
    _, names, closes = real_prices()
    assert len(names) == 20
    assert not np.isnan(closes).any()
