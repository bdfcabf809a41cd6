"""The same figures by NumPy, one portfolio at a time and as their definitions read."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tests.analytics.samples import Floats


def day_returns(values: Floats, inflows: Floats, outflows: Floats, opening: float) -> Floats:
    """Of one portfolio that is there every day."""
    before = np.concatenate([[opening], values[:-1]])
    return np.asarray((values + outflows) / (before + inflows) - 1)


def performance(returns: Floats, risk_free: float) -> dict[str, float]:
    """By the names of `Performance`."""
    wealth = np.concatenate([[1.0], np.cumprod(1 + returns)])
    excess = returns - risk_free
    deviation = returns.std(ddof=1)
    downside = math.sqrt(np.mean(np.minimum(excess, 0) ** 2))
    annualised = wealth[-1] ** (252 / len(returns)) - 1
    depths = wealth / np.maximum.accumulate(wealth) - 1
    trough = int(np.argmin(depths))
    peak = max(day for day in range(trough + 1) if wealth[day] == wealth[: trough + 1].max())
    recovered = [day for day in range(trough + 1, len(wealth)) if wealth[day] >= wealth[peak]]
    return {
        "twr": wealth[-1] - 1,
        "annualised_return": annualised,
        "annualised_volatility": deviation * math.sqrt(252),
        "sharpe_ratio": excess.mean() / deviation * math.sqrt(252),
        "sortino_ratio": excess.mean() / downside * math.sqrt(252),
        "calmar_ratio": annualised / -depths[trough],
        "max_drawdown": depths[trough],
        "max_drawdown_peak": peak - 1,
        "max_drawdown_trough": trough - 1,
        "max_drawdown_recovery": recovered[0] - 1 if recovered else -1,
    }


def net_present_value(rate: float, amounts: Floats, years: Floats) -> float:
    """Of flows at an annual rate."""
    return float(np.sum(amounts * (1 + rate) ** -years))


def risk(weights: Floats, returns: Floats, benchmark: Floats) -> dict[str, float | Floats]:
    """Of one portfolio from [day, instrument] without gaps, by the names of `RiskAnalysis`."""
    daily = returns @ weights
    covariance = np.cov(returns, rowvar=False)
    sigma = math.sqrt(weights @ covariance @ weights)
    active = daily - benchmark
    decay = 0.94 ** np.arange(len(daily))[::-1]
    held = weights != 0
    return {
        "volatility": sigma * math.sqrt(252),
        "ewma_volatility": math.sqrt(np.average(daily**2, weights=decay) * 252),
        "ledoit_wolf_volatility": math.sqrt(weights[held] @ ledoit_wolf(returns[:, held]) @ weights[held] * 252),
        "beta": np.cov(daily, benchmark)[0, 1] / benchmark.var(ddof=1),
        "tracking_error": active.std(ddof=1) * math.sqrt(252),
        "information_ratio": active.mean() / active.std(ddof=1) * math.sqrt(252),
        "component": weights * (covariance @ weights) / sigma * math.sqrt(252),
        "value_at_risk": np.array([_tail(daily, alpha)[0] for alpha in (5, 1)]),
        "conditional_value_at_risk": np.array([_tail(daily, alpha)[1] for alpha in (5, 1)]),
    }


def ledoit_wolf(returns: Floats) -> Floats:
    """From the paper's own sums: how far each day's products lie from their mean, and the mean from the identity."""
    days, instruments = returns.shape
    deviations = returns - returns.mean(axis=0)
    sample = deviations.T @ deviations / days
    target = np.trace(sample) / instruments * np.eye(instruments)
    products = np.einsum("ti,tj->tij", deviations, deviations)
    noise = ((products - sample) ** 2).sum() / days**2
    distance = ((sample - target) ** 2).sum()
    shrinkage = min(noise, distance) / distance if instruments > 1 else 0.0
    return np.asarray((1 - shrinkage) * sample + shrinkage * target)


def _tail(daily: Floats, alpha_percent: int) -> tuple[float, float]:
    """VaR and CVaR; whole percents keep the ceiling free of floats."""
    count = -(-alpha_percent * len(daily) // 100)
    worst = np.sort(daily)[:count]
    reach = alpha_percent * len(daily) / 100
    return -worst[-1], -(worst[:-1].sum() + (reach - count + 1) * worst[-1]) / reach


def exposure(market_values: Floats, cash: float, covered: NDArray[np.bool_]) -> dict[str, float]:
    """By the names of `Exposure`."""
    gross = np.abs(market_values).sum()
    total = cash + market_values.sum()
    return {
        "total_value": total,
        "long_exposure": market_values[market_values > 0].sum(),
        "short_exposure": market_values[market_values < 0].sum(),
        "gross_exposure": gross,
        "net_exposure": market_values.sum(),
        "leverage": gross / total,
        "cash_weight": cash / total,
        "herfindahl_index": ((market_values / gross) ** 2).sum(),
        "effective_positions": gross**2 / (market_values**2).sum(),
        "position_count": np.count_nonzero(market_values),
        "coverage": np.abs(market_values[covered]).sum() / gross,
    }
