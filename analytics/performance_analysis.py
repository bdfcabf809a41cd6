"""The whole performance set of a batch of portfolios, NumPy in and out: padding, flows and reasons are seen to here."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.conventions import DAYS_PER_YEAR, DEVIATION_MIN, OBSERVATIONS_MIN, PERIODS_PER_YEAR, per_period
from analytics.jax_setup import host, jax, jnp
from analytics.money_weighted import money_weighted_return
from analytics.performance import daily_returns, performance
from analytics.reasons import Reason, Reasons, first_reason
from analytics.shapes import bucket, padded

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]


class PerformanceAnalysis(NamedTuple):
    """Figures of [portfolio]; NaN exactly where `reasons`, by the figures' names, has a reason.

    `first` and `last` are the indices of the days of the first and the last return, `periods` how many there are. The
    drawdown's `peak` is -1 where wealth never rose above its start; `recovery` is -1 where it has not recovered, and all
    three where there was no drawdown or none is known.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    periods: NDArray[np.int64]
    twr: Floats
    mwr: Floats
    annualised_return: Floats
    annualised_volatility: Floats
    sharpe_ratio: Floats
    sortino_ratio: Floats
    calmar_ratio: Floats
    max_drawdown: Floats
    max_drawdown_peak: NDArray[np.int64]
    max_drawdown_trough: NDArray[np.int64]
    max_drawdown_recovery: NDArray[np.int64]
    reasons: Reasons


def analyse_performance(
    days: Days,
    values: Floats,
    inflows: Floats,
    outflows: Floats,
    present: NDArray[np.bool_],
    *,
    opening_values: Floats | None = None,
    opening_day: np.datetime64 | Days | None = None,
    risk_free_rate: float = 0.0,
) -> PerformanceAnalysis:
    """Of portfolios' values at the ends of days, and what came in and went out on them: [portfolio, day], flows not negative.

    `days` are everyone's, [day], or each portfolio's own, [portfolio, day]; `present` says which of them a portfolio has.
    `opening_values`, [portfolio], are from before the first day, on `opening_day`, one or [portfolio]; without them
    portfolios open on their first day, whose return counts if it was funded.
    """
    opening = np.zeros(len(values)) if opening_values is None else opening_values
    shape = (bucket(values.shape[0]), bucket(values.shape[1]))
    series = (jnp.asarray(padded(array, shape)) for array in (values, inflows, outflows, present))
    returns = daily_returns(*series, jnp.asarray(padded(opening, shape[:1])))
    figures = performance(returns.values, returns.present, per_period(risk_free_rate))
    own_days = np.broadcast_to(days, values.shape)
    opening_days = np.broadcast_to(own_days[:, 0] if opening_day is None else opening_day, len(values))
    flows = _Flows(own_days, values, inflows, outflows, present, opening, opening_days)
    return _analysis(host(returns), host(figures), *_money_weighted(flows))


class _Flows(NamedTuple):
    """What money-weighted returns are made of."""

    days: Days
    values: Floats
    inflows: Floats
    outflows: Floats
    present: NDArray[np.bool_]
    opening_values: Floats
    opening_days: Days


def _money_weighted(flows: _Flows) -> tuple[Floats, NDArray[np.int64]]:
    """Rates, and how many there are."""
    amounts, years = _investors_flows(flows)
    shape = (bucket(amounts.shape[0]), bucket(amounts.shape[1]))
    inputs = (jnp.asarray(padded(array, shape)) for array in (amounts, years, amounts != 0))
    found = money_weighted_return(*inputs)
    return np.asarray(found.rate)[: len(amounts)], np.asarray(found.roots)[: len(amounts)]


def _investors_flows(flows: _Flows) -> tuple[Floats, Floats]:
    """[portfolio, flow], those that are not zero at the low end: paid in below zero, taken out and what is left above; and years."""
    at_days = np.where(flows.present, flows.outflows - flows.inflows, 0.0)
    rows = np.flatnonzero(flows.present.any(axis=1))
    last = flows.present.shape[1] - 1 - np.argmax(flows.present[rows, ::-1], axis=1)
    at_days[rows, last] += flows.values[rows, last]
    amounts = np.column_stack([-flows.opening_values, at_days])
    order = np.argsort(amounts == 0, axis=1, kind="stable")[
        :, : max(1, np.count_nonzero(amounts, axis=1).max(initial=0))
    ]
    days = np.column_stack([flows.opening_days, flows.days]).astype("datetime64[D]")
    chosen, on = (np.take_along_axis(array, order, axis=1) for array in (amounts, days))
    counted = (on - on[:, :1]).astype(np.float64)
    return chosen, np.where(chosen != 0, counted, 0.0) / DAYS_PER_YEAR


def _analysis(returns: Any, padded_figures: Any, rates: Floats, roots: NDArray[np.int64]) -> PerformanceAnalysis:
    """From `DailyReturns` and `Performance` of NumPy's arrays, padded."""
    count = len(rates)
    found = jax.tree.map(lambda array: array[:count], padded_figures)
    present = returns.present[:count]
    reasons = _reasons(found, returns.through_zero[:count], roots)

    def known(name: str, figure: Floats) -> Floats:
        return np.where(reasons[name] == Reason.NONE, figure, np.nan)

    is_fallen = reasons["max_drawdown"] == Reason.NONE
    figures = {name: known(name, getattr(found, name)) for name in reasons if name != "mwr"}
    places = ("max_drawdown_peak", "max_drawdown_trough", "max_drawdown_recovery")
    others: dict[str, Any] = figures | {name: np.where(is_fallen, getattr(found, name), -1) for name in places}
    return PerformanceAnalysis(
        first=np.argmax(present, axis=1),
        last=present.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1),
        periods=found.periods,
        mwr=known("mwr", rates),
        reasons=reasons,
        **others,
    )


def _reasons(found: Any, is_through_zero: NDArray[np.bool_], roots: NDArray[np.int64]) -> Reasons:
    chained = [(Reason.TOO_FEW_OBSERVATIONS, found.periods < 1), (Reason.WEALTH_THROUGH_ZERO, is_through_zero)]
    spread = [*chained, (Reason.TOO_FEW_OBSERVATIONS, found.periods < OBSERVATIONS_MIN)]
    # Twenty times as much after one day is more a year than a float holds.
    annual = [*chained, (Reason.TOO_FEW_OBSERVATIONS, ~np.isfinite(found.annualised_return))]
    least = DEVIATION_MIN * PERIODS_PER_YEAR**0.5
    return {
        "twr": first_reason(*chained),
        "mwr": first_reason((Reason.NO_RATE, roots == 0), (Reason.SEVERAL_RATES, roots > 1)),
        "annualised_return": first_reason(*annual),
        "annualised_volatility": first_reason(*spread),
        "sharpe_ratio": first_reason(*spread, (Reason.ZERO_VOLATILITY, found.annualised_volatility < least)),
        "sortino_ratio": first_reason(*spread, (Reason.NO_DOWNSIDE, found.downside_deviation < least)),
        "calmar_ratio": first_reason(*annual, (Reason.NO_DRAWDOWN, found.max_drawdown == 0)),
        "max_drawdown": first_reason(*chained),
    }
