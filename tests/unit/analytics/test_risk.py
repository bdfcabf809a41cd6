"""Risk of a few portfolios: what is said where there is no figure, stress, exposure and tails."""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from analytics import stress, value_at_risk
from analytics.exposure import exposure
from analytics.jax_setup import host, jnp
from analytics.reasons import Reason
from analytics.risk_analysis import RiskAnalysis, analyse_risk

Floats = NDArray[np.float64]
DAYS: Final = 10
CHANCE: Final = np.random.default_rng(1)
RETURNS: Final[Floats] = CHANCE.normal(0, 0.01, (DAYS, 3))
EVERYTHING: Final = np.ones(3, dtype=bool)


def reason(analysis: RiskAnalysis, figure: str, portfolio: int = 0) -> Reason:
    return Reason(analysis.reasons[figure][portfolio])


def assert_missing_exactly_where_reasons_say(analysis: RiskAnalysis) -> None:
    for figure, codes in analysis.reasons.items():
        method = figure.removeprefix("value_at_risk.")
        found = analysis.component if figure == "contributions" else getattr(analysis, method)
        for array in found if isinstance(found, tuple) else [found]:
            known = np.isfinite(array).reshape(len(codes), -1).all(axis=1)
            np.testing.assert_array_equal(known, codes == Reason.NONE, err_msg=figure)


def test_what_cannot_be_told_has_a_reason() -> None:
    returns = RETURNS.copy()
    returns[:, 1] = 0.001
    returns[:-1, 2] = np.nan
    weights = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1.0, 0], [0.5, 0, 0.5]])
    found = analyse_risk(weights, returns, EVERYTHING, RETURNS[:, 0])
    assert reason(found, "information_ratio", 0) is Reason.NO_ACTIVE_RISK
    assert found.tracking_error[0] == pytest.approx(0, abs=1e-12)
    assert found.beta[0] == pytest.approx(1)
    assert reason(found, "volatility", 1) is Reason.NO_COVERED_HOLDINGS
    assert reason(found, "contributions", 2) is Reason.ZERO_VOLATILITY
    assert reason(found, "value_at_risk.cornish_fisher", 2) is Reason.ZERO_VOLATILITY
    assert found.historical.value_at_risk[2] == pytest.approx([-0.001, -0.001])
    assert reason(found, "volatility", 3) is Reason.TOO_FEW_OBSERVATIONS
    assert_missing_exactly_where_reasons_say(found)


@pytest.mark.parametrize(
    ("benchmark", "why"),
    [
        (None, Reason.NO_BENCHMARK),
        (np.full(DAYS, np.nan), Reason.BENCHMARK_WITHOUT_PRICES),
        (np.where(np.arange(DAYS) == 3, 0.01, np.nan), Reason.TOO_FEW_OBSERVATIONS),
        (np.full(DAYS, 0.01), Reason.BENCHMARK_WITHOUT_VARIANCE),
    ],
)
def test_beta_needs_a_benchmark_that_moves(benchmark: Floats | None, why: Reason) -> None:
    found = analyse_risk(np.array([[0.5, 0.3, 0.2]] * 4), RETURNS, EVERYTHING, benchmark)
    assert reason(found, "beta") is why
    assert_missing_exactly_where_reasons_say(found)


def test_a_benchmark_without_a_day_in_common_has_prices_all_the_same() -> None:
    returns, benchmark = RETURNS.copy(), np.full(DAYS, 0.01)
    returns[: DAYS // 2], benchmark[DAYS // 2 :] = np.nan, np.nan
    found = analyse_risk(np.array([[0.5, 0.3, 0.2]]), returns, EVERYTHING, benchmark)
    assert reason(found, "beta") is Reason.TOO_FEW_OBSERVATIONS


def test_historical_tails_of_a_thousand_days() -> None:
    """Losses of 0.1 % to 100 %: of a thousand days the 50 worst begin at 95.1 %, and their mean is 97.55 %."""
    losses = np.random.default_rng(2).permutation(np.arange(1, 1_001)) / 1_000
    found = value_at_risk.historical(-losses[None, :])
    np.testing.assert_allclose(found.value_at_risk, [[0.951, 0.991]])
    np.testing.assert_allclose(found.conditional_value_at_risk, [[0.9755, 0.9955]])


def test_a_shortfall_counts_the_last_day_for_its_part() -> None:
    """Of 30 days 1.5 are the tail: the worst, 30 %, in full, and the next, 29 %, by half."""
    losses = np.arange(1, 31) / 100
    found = value_at_risk.historical(-losses[None, :])
    np.testing.assert_allclose(found.value_at_risk[0], [0.29, 0.30])
    np.testing.assert_allclose(found.conditional_value_at_risk[0], [(0.30 + 0.29 / 2) / 1.5, 0.30])


def test_exposure_counts_shorts() -> None:
    values = jnp.asarray([[60.0, -40.0, 0.0]])
    found = host(exposure(values, jnp.asarray([80.0]), jnp.asarray([True, False, True])))
    assert found._asdict() == pytest.approx(
        {
            "total_value": 100,
            "cash": 80,
            "long_exposure": 60,
            "short_exposure": -40,
            "gross_exposure": 100,
            "net_exposure": 20,
            "leverage": 1.0,
            "cash_weight": 0.8,
            "herfindahl_index": 0.52,
            "effective_positions": 1 / 0.52,
            "position_count": 2,
            "coverage": 0.6,
        }
    )


DAYS_OF_2020: Final = np.array(
    ["2020-02-18", "2020-02-19", "2020-02-20", "2020-03-20", "2020-03-23", "2020-03-24"], dtype="datetime64[D]"
)
PRICES: Final = np.array([[9, 5.0], [10, 5.0], [9, 4.5], [8, 4.0], [6, np.nan], [7, 4.4]])


def test_a_window_gone_by_is_between_its_closes() -> None:
    found = stress.historical("crash", date(2020, 2, 19), date(2020, 3, 23), days=DAYS_OF_2020, prices=PRICES)
    assert found is not None
    assert (found.start, found.end, found.kind) == (
        date(2020, 2, 19),
        date(2020, 3, 23),
        stress.ScenarioKind.HISTORICAL,
    )
    np.testing.assert_allclose(found.returns, [-0.4, np.nan])


def test_a_window_that_ends_on_a_holiday_ends_at_the_close_before() -> None:
    found = stress.historical("crash", date(2020, 2, 23), date(2020, 3, 22), days=DAYS_OF_2020, prices=PRICES)
    assert found is not None
    assert (found.start, found.end) == (date(2020, 2, 20), date(2020, 3, 20))


@pytest.mark.parametrize(
    ("start", "end"), [(date(2020, 2, 17), date(2020, 3, 20)), (date(2020, 3, 20), date(2020, 4, 1))]
)
def test_a_window_beyond_the_prices_is_none(start: date, end: date) -> None:
    assert stress.historical("crash", start, end, days=DAYS_OF_2020, prices=PRICES) is None


def test_the_known_windows_are_those_that_prices_reach() -> None:
    assert [one.name for one in stress.known_windows(DAYS_OF_2020, PRICES)] == ["covid_crash_2020"]


def test_the_worst_windows_are_the_references() -> None:
    worst = stress.worst_windows(DAYS_OF_2020, PRICES, PRICES[:, 0])
    assert [(one.name, one.start, one.end) for one in worst] == [
        ("worst_day", date(2020, 3, 20), date(2020, 3, 23)),
        ("worst_5_days", date(2020, 2, 18), date(2020, 3, 24)),
    ]


def test_holdings_are_held_through_a_shock() -> None:
    shock = stress.shock("tech", ["A", "B", "C"], {"A": -0.3}, everything_else=-0.1)
    unknown = np.array([np.nan, -0.5, -0.5])
    weights = jnp.asarray([[0.5, 0.5, 0.0], [0.0, -1.0, 0.5]])
    found, known = stress.stressed(weights, jnp.asarray([shock.returns, unknown]))
    np.testing.assert_allclose(found[:, 0], [-0.2, 0.05])
    np.testing.assert_array_equal(known, [[True, False], [True, True]])
