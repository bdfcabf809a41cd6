"""Performance of a few portfolios: other systems' figures, worked numbers, and what is said where there is no figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from analytics.performance_analysis import PerformanceAnalysis, analyse_performance
from analytics.reasons import Reason

_CASES = Path(__file__).parents[2] / "cases" / "performance.json"
CASES: Final = {case["name"]: case for case in json.loads(_CASES.read_text(encoding="utf-8"))}
DAYS: Final = 8

Rows: TypeAlias = Sequence[Sequence[float]]


def analyse(
    values: Rows,
    inflows: Rows | None = None,
    outflows: Rows | None = None,
    *,
    opening: Sequence[float] | None = None,
    days: NDArray[np.datetime64] | None = None,
) -> PerformanceAnalysis:
    """Rows of values, NaN where a portfolio is not there; on consecutive days of 2020."""
    table = np.array(values, dtype=np.float64)
    nothing = np.zeros_like(table)
    return analyse_performance(
        np.datetime64("2020-01-02") + np.arange(table.shape[1]) if days is None else days,
        np.nan_to_num(table),
        nothing if inflows is None else np.array(inflows, dtype=np.float64),
        nothing if outflows is None else np.array(outflows, dtype=np.float64),
        ~np.isnan(table),
        opening_values=None if opening is None else np.array(opening, dtype=np.float64),
        opening_day=None if opening is None else np.datetime64("2020-01-01"),
    )


def reason(analysis: PerformanceAnalysis, figure: str, portfolio: int = 0) -> Reason:
    return Reason(analysis.reasons[figure][portfolio])


def assert_missing_exactly_where_reasons_say(analysis: PerformanceAnalysis) -> None:
    for figure, codes in analysis.reasons.items():
        np.testing.assert_array_equal(np.isfinite(getattr(analysis, figure)), codes == Reason.NONE, err_msg=figure)


def test_the_chained_day_returns_of_portfolio_performance() -> None:
    case = CASES["twr_chained_daily"]
    inflows = [day.get("inflow", 0.0) for day in case["days"]]
    outflows = [day.get("outflow", 0.0) for day in case["days"]]
    changes = [
        day["gain"] + paid_in - paid_out for day, paid_in, paid_out in zip(case["days"], inflows, outflows, strict=True)
    ]
    values = case["start_value"] + np.cumsum(changes)
    found = analyse([[*values]], [inflows], [outflows], opening=[case["start_value"]])
    assert found.twr[0] == pytest.approx(case["expect_total"], abs=case["tolerance"])
    assert found.periods[0] == len(case["expect_returns"])
    wealth = np.cumprod(1 + np.array(case["expect_returns"]))
    assert found.max_drawdown[0] == pytest.approx(wealth[7] / wealth[5] - 1, abs=case["tolerance"])
    assert (found.max_drawdown_peak[0], found.max_drawdown_trough[0], found.max_drawdown_recovery[0]) == (5, 7, -1)


@pytest.mark.parametrize("name", ["xirr_one_year", "xirr_irregular"])
def test_the_rates_of_other_systems(name: str) -> None:
    """What is paid in comes in, what is taken out goes out; the value at the end is what the case ends with."""
    flows: dict[date, float] = {}
    for day, amount in CASES[name]["flows"]:
        flows[date.fromisoformat(day)] = amount
    days = sorted(flows)
    inflows = [max(-flows[day], 0.0) for day in days]
    values = [*np.cumsum(inflows)[:-1], max(flows[days[-1]], 0.0)]
    # Eight days, the shape of the other tests here; the first ones are from before the portfolio was there.
    padding = DAYS - len(days)
    earlier = np.datetime64(days[0]) - np.arange(padding, 0, -1)
    found = analyse(
        [[np.nan] * padding + values],
        [[0.0] * padding + inflows],
        days=np.concatenate([earlier, np.array(days, dtype="datetime64[D]")]),
    )
    assert found.mwr[0] == pytest.approx(CASES[name]["expect_xirr"], abs=CASES[name]["tolerance"])


def test_an_opening_day_counts_from_what_was_paid_in() -> None:
    found = analyse([[1_020, 1_020, 1_071, 1_071, 1_071, 1_071, 1_071, 1_071]], [[1_000] + [0] * 7])
    assert found.twr[0] == pytest.approx(0.071)
    assert (found.first[0], found.last[0], found.periods[0]) == (0, 7, 8)


def test_a_drawdown_has_its_days_and_begins_at_one() -> None:
    table: Rows = [
        [90, 95, 100, 110, 99, 104.5, 110, 120],  # From the start to day 0, and from day 3 to day 4: both 10 %.
        [101, 102, 103, 104, 105, 106, 107, 108],
        [100, 100, 80, 90, 100, 101, 99, 101],
        [120, 120, 90, 100, 119, 118, 117, 116],
    ]
    found = analyse(table, opening=[100.0] * 4)
    np.testing.assert_allclose(found.max_drawdown, [-0.1, 0.0, -0.2, -0.25])
    np.testing.assert_array_equal(found.max_drawdown_peak, [-1, -1, 1, 1])
    np.testing.assert_array_equal(found.max_drawdown_trough, [0, -1, 2, 2])
    np.testing.assert_array_equal(found.max_drawdown_recovery, [2, -1, 4, -1])
    assert reason(found, "calmar_ratio", 1) is Reason.NO_DRAWDOWN
    assert reason(found, "sortino_ratio", 1) is Reason.NO_DOWNSIDE
    assert_missing_exactly_where_reasons_say(found)


def test_what_cannot_be_told_has_a_reason() -> None:
    there_is_none = float("nan")
    table: Rows = [
        [100.0] * 8,
        [there_is_none] * 8,
        [there_is_none] * 7 + [102.0],
        [100, 50, -10, 20, 30, 40, 50, 60],
        [100, 50, 0, 0, 0, 0, 0, 0],
        [101, 102, 103, 104, 105, 106, 107, 108],
    ]
    inflows = [[0.0] * 8 for _ in table]
    inflows[2][7] = 100.0
    found = analyse(table, inflows, opening=[100.0, 0.0, 0.0, 100.0, 100.0, 100.0])
    assert reason(found, "sharpe_ratio", 0) is Reason.ZERO_VOLATILITY
    assert reason(found, "sortino_ratio", 0) is Reason.NO_DOWNSIDE
    assert found.annualised_volatility[0] == 0.0
    assert {Reason(codes[1]) for codes in found.reasons.values()} == {Reason.TOO_FEW_OBSERVATIONS, Reason.NO_RATE}
    assert found.twr[2] == pytest.approx(0.02)
    assert reason(found, "annualised_volatility", 2) is Reason.TOO_FEW_OBSERVATIONS
    assert reason(found, "mwr", 2) is Reason.NO_RATE
    assert reason(found, "twr", 3) is Reason.WEALTH_THROUGH_ZERO
    assert reason(found, "twr", 4) is Reason.WEALTH_THROUGH_ZERO
    assert reason(found, "mwr", 4) is Reason.NO_RATE
    assert_missing_exactly_where_reasons_say(found)


def test_money_with_two_rates_has_none() -> None:
    """1,000 in, 2,300 out a year later, 1,320 in after another, and nothing left: 10 % and 20 %."""
    days = np.array([f"{year}-01-01" for year in range(2015, 2023)], dtype="datetime64[D]")
    values = [1_000, 100, 0, 0, 0, 0, 0, 0]
    inflows, outflows = [1_000, 0, 1_320, 0, 0, 0, 0, 0], [0, 2_300, 0, 0, 0, 0, 0, 0]
    found = analyse([values], [inflows], [outflows], days=days)
    assert reason(found, "mwr") is Reason.SEVERAL_RATES
    assert np.isnan(found.mwr[0])


def test_what_no_float_holds_a_year_has_a_reason() -> None:
    absent = [float("nan")] * 7
    found = analyse([[*absent, 500_000.0]], opening=[100.0], days=np.datetime64("2020-01-02") + np.arange(8) - 7)
    assert found.twr[0] == pytest.approx(4_999)
    assert reason(found, "annualised_return") is Reason.TOO_FEW_OBSERVATIONS
    assert reason(found, "mwr") is Reason.NO_RATE
    assert_missing_exactly_where_reasons_say(found)


def test_days_without_capital_are_no_periods() -> None:
    """Everything is taken out on day 2, a dividend comes late, on day 4, and new money on day 6."""
    values = [100, 110, 0, 0, 1, 1, 51, 56.1]
    found = analyse([values], [[100, 0, 0, 0, 0, 0, 50, 0]], [[0, 0, 121, 0, 0, 0, 0, 0]])
    assert found.periods[0] == 6
    assert found.twr[0] == pytest.approx(1.1 * 1.1 * 1.1 - 1)


def test_portfolios_may_have_days_of_their_own() -> None:
    days = np.datetime64("2020-01-02") + np.array([np.arange(8), 2 * np.arange(8)])
    values = [[100, 100, 100, 100, 100, 100, 100, 107]] * 2
    found = analyse(values, [[100, 0, 0, 0, 0, 0, 0, 0]] * 2, days=days)
    np.testing.assert_allclose(found.mwr, [1.07 ** (365 / 7) - 1, 1.07 ** (365 / 14) - 1])
