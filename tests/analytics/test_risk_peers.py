"""Risk figures beside those of empyrical, skfolio and scikit-learn, on real and on random returns."""

from __future__ import annotations

from statistics import NormalDist

import empyrical
import numpy as np
import pytest
import scipy.stats
import skfolio.measures
from skfolio import Portfolio, RiskMeasure
from sklearn.covariance import ledoit_wolf

from analytics.conventions import CONFIDENCE_LEVELS
from analytics.covariance import ewma_covariance, ledoit_wolf_covariance, sample_covariance
from analytics.jax_setup import jnp
from analytics.risk_analysis import RiskAnalysis, analyse_risk
from analytics.tail_contributions import tail_contributions
from tests.analytics.samples import Floats, assert_close, random_returns, random_weights, real_returns

PORTFOLIOS = 12
# Not multiples of 20 or 100 days, where skfolio takes one day more than ceil(alpha T): its 1 - 0.95 is above 0.05.
WINDOWS = {"real": 1_253, "random": 517}


@pytest.fixture(params=[*WINDOWS], scope="module")
def returns(request: pytest.FixtureRequest) -> Floats:
    """[day, instrument]"""
    window = WINDOWS[request.param]
    return real_returns(window) if request.param == "real" else random_returns(window, 37, seed=2)


@pytest.fixture(scope="module")
def weights(returns: Floats) -> Floats:
    """[portfolio, instrument]"""
    return random_weights(PORTFOLIOS, returns.shape[1], seed=3)


@pytest.fixture(scope="module")
def benchmark(returns: Floats) -> Floats:
    """[day]"""
    return np.asarray(returns.mean(axis=1))


@pytest.fixture(scope="module")
def analysed(weights: Floats, returns: Floats, benchmark: Floats) -> RiskAnalysis:
    """Everything, once."""
    return analyse_risk(weights, returns, np.ones(returns.shape[1], dtype=bool), benchmark)


def test_volatility_and_beta_are_empyricals(
    weights: Floats, returns: Floats, benchmark: Floats, analysed: RiskAnalysis
) -> None:
    daily = weights @ returns.T
    assert_close(analysed.volatility, [empyrical.annual_volatility(one) for one in daily])
    assert_close(analysed.beta, [empyrical.beta(one, benchmark) for one in daily])


def test_active_figures_are_those_of_the_active_returns(
    weights: Floats, returns: Floats, benchmark: Floats, analysed: RiskAnalysis
) -> None:
    active = weights @ returns.T - benchmark
    assert_close(analysed.tracking_error, [empyrical.annual_volatility(one) for one in active])
    # empyrical's is a day's.
    ratios = [empyrical.excess_sharpe(one, np.zeros_like(one)) * np.sqrt(252) for one in active]
    assert_close(analysed.information_ratio, ratios)


def test_historical_tails_are_skfolios(weights: Floats, returns: Floats, analysed: RiskAnalysis) -> None:
    daily = weights @ returns.T
    for column, level in enumerate(CONFIDENCE_LEVELS):
        var = [skfolio.measures.value_at_risk(one, beta=level) for one in daily]
        cvar = [skfolio.measures.cvar(one, beta=level) for one in daily]
        assert_close(analysed.historical.value_at_risk[:, column], var)
        assert_close(analysed.historical.conditional_value_at_risk[:, column], cvar)


def test_contributions_are_skfolios_and_sum_to_the_volatility(
    weights: Floats, returns: Floats, analysed: RiskAnalysis
) -> None:
    assert_close(analysed.component.sum(axis=1), analysed.volatility, rtol=1e-12)
    for one, component in zip(weights, analysed.component, strict=True):
        portfolio = Portfolio(X=returns, weights=one)
        theirs = portfolio.contribution(RiskMeasure.STANDARD_DEVIATION) * np.sqrt(252)
        # theirs are finite differences.
        assert_close(component, theirs, rtol=1e-5, atol=1e-7)


def test_marginals_are_the_closed_form(weights: Floats, returns: Floats, analysed: RiskAnalysis) -> None:
    covariance = np.cov(returns, rowvar=False) * 252
    gradient = weights @ covariance / np.sqrt(np.einsum("pi,ij,pj->p", weights, covariance, weights))[:, None]
    assert_close(analysed.marginal, np.where(weights != 0, gradient, 0))


def test_shrunk_volatility_is_by_scikit_learns_matrix_of_what_is_held(
    weights: Floats, returns: Floats, analysed: RiskAnalysis
) -> None:
    for one, volatility in zip(weights, analysed.ledoit_wolf_volatility, strict=True):
        matrix, _ = ledoit_wolf(returns[:, one != 0])
        assert volatility == pytest.approx(np.sqrt(one[one != 0] @ matrix @ one[one != 0] * 252), rel=1e-10)


def test_covariances_are_those_of_numpy_pandas_and_scikit_learn(returns: Floats) -> None:
    pd = pytest.importorskip("pandas")
    by_instrument, present = jnp.asarray(returns.T), jnp.ones(len(returns), dtype=bool)
    assert_close(sample_covariance(by_instrument, present), np.cov(returns, rowvar=False))
    matrix, shrinkage = ledoit_wolf(returns)
    ours = ledoit_wolf_covariance(by_instrument, present)
    assert_close(ours.covariance, matrix)
    assert float(ours.shrinkage) == pytest.approx(shrinkage, rel=1e-10)
    weighted = pd.DataFrame(returns**2).ewm(alpha=0.06).mean().iloc[-1]
    assert_close(jnp.diagonal(ewma_covariance(by_instrument, present)), weighted)


def test_ewma_volatility_is_by_the_ewma_matrix(weights: Floats, returns: Floats, analysed: RiskAnalysis) -> None:
    matrix = np.asarray(ewma_covariance(jnp.asarray(returns.T), jnp.ones(len(returns), dtype=bool)))
    expected = np.sqrt(np.einsum("pi,ij,pj->p", weights, matrix, weights) * 252)
    assert_close(analysed.ewma_volatility, expected)


def test_parametric_tails_are_scipys(weights: Floats, returns: Floats, analysed: RiskAnalysis) -> None:
    daily = weights @ returns.T
    mean, deviation = daily.mean(axis=1), daily.std(axis=1, ddof=1)
    skewness, kurtosis = scipy.stats.skew(daily, axis=1), scipy.stats.kurtosis(daily, axis=1)
    for column, level in enumerate(CONFIDENCE_LEVELS):
        gaussian = scipy.stats.norm(mean, deviation)
        assert_close(analysed.gaussian.value_at_risk[:, column], -gaussian.ppf(1 - level))
        z = NormalDist().inv_cdf(1 - level)
        moved = z + (z**2 - 1) * skewness / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skewness**2 / 36
        assert_close(analysed.cornish_fisher.value_at_risk[:, column], -(mean + deviation * moved))


def test_parametric_shortfalls_are_the_means_of_their_tails(
    weights: Floats, returns: Floats, analysed: RiskAnalysis
) -> None:
    daily = weights @ returns.T
    mean, deviation = daily.mean(axis=1), daily.std(axis=1, ddof=1)
    skewness, kurtosis = scipy.stats.skew(daily, axis=1), scipy.stats.kurtosis(daily, axis=1)
    for column, level in enumerate(CONFIDENCE_LEVELS):
        chances = (np.arange(400_000) + 0.5) / 400_000 * (1 - level)
        z = scipy.stats.norm.ppf(chances)
        linear, square = (z**2 - 1) / 6, (z**3 - 3 * z) / 24
        means = [z.mean(), linear.mean(), square.mean(), ((2 * z**3 - 5 * z) / 36).mean()]
        gaussian = -(mean + deviation * means[0])
        moved = -(mean + deviation * (means[0] + means[1] * skewness + means[2] * kurtosis - means[3] * skewness**2))
        assert_close(analysed.gaussian.conditional_value_at_risk[:, column], gaussian, rtol=1e-4)
        assert_close(analysed.cornish_fisher.conditional_value_at_risk[:, column], moved, rtol=1e-4)


def test_parts_of_the_tails_are_the_closed_forms(weights: Floats, returns: Floats) -> None:
    found = tail_contributions(weights, returns, np.ones(weights.shape[1], dtype=bool))
    order = np.argsort(weights @ returns.T, axis=1)
    days = len(returns)
    for column, level in enumerate(CONFIDENCE_LEVELS):
        reach = (1 - level) * days
        count = int(np.ceil(reach))
        worst = -returns[order[:, :count]]
        assert_close(found.value_at_risk[:, column], weights * worst[:, -1], atol=1e-17)
        shares = np.full(count, 1 / reach)
        shares[-1] = 1 - (count - 1) / reach
        tail = np.einsum("d,pdi->pi", shares, worst)
        assert_close(found.conditional_value_at_risk[:, column], weights * tail, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("days", [2, 19, 20, 21, 99, 100, 101, 1_000])
def test_parts_of_the_tails_add_up_to_them_for_whatever_number_of_days(days: int) -> None:
    """Of 20 and of 100 days a whole number makes the tail, which floats would miss without a guard."""
    weights, returns = random_weights(5, 3, seed=days), random_returns(days, 3, seed=days)
    everything = np.ones(3, dtype=bool)
    parts = tail_contributions(weights, returns, everything)
    for part, figure in zip(parts, analyse_risk(weights, returns, everything).historical, strict=True):
        assert_close(part.sum(axis=2), figure)


def test_parts_of_the_tails_add_up_to_them(weights: Floats, returns: Floats, analysed: RiskAnalysis) -> None:
    found = tail_contributions(weights, returns, np.ones(weights.shape[1], dtype=bool))
    for tails, ours in (
        (found.value_at_risk, analysed.historical.value_at_risk),
        (found.conditional_value_at_risk, analysed.historical.conditional_value_at_risk),
    ):
        assert_close(tails.sum(axis=2), ours)
