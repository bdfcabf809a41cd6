"""From a request, a portfolio and the prices known to a problem in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from analytics.optimise.estimates import CompleteReturns, complete_returns, yearly_covariance, yearly_means
from analytics.optimise.holdings import Holdings
from analytics.optimise.limits import GroupLimit, Limits
from analytics.optimise.problem import Problem
from analytics.optimise.request import Group, OptimiseRequest, Others, Range
from analytics.panel import PricePanel
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId


def market_returns(request: OptimiseRequest, held: Holdings, prices: PricePanel) -> CompleteReturns:
    """The returns of the instruments that are optimised, and after them of those that are only tracked.

    Raises InvalidRequest where one of them has too few prices, or all of them together.
    """
    universe, known = held.universe, set(held.universe)
    beside = [InstrumentId(name) for name in _tracked(request) if name not in known]
    field = "benchmark_weights" if request.benchmark is None else "benchmark"
    return complete_returns(prices, {"instruments": universe, field: beside}, request.window)


def formulated(request: OptimiseRequest, held: Holdings, returns: CompleteReturns) -> Problem:
    """What is to be solved; `returns` are those of `market_returns`. Raises InvalidRequest where it names what is not there."""
    _check_names(request, held)
    universe = held.universe
    count = len(universe)
    own = returns.values[:, :count]
    covariance = yearly_covariance(returns.values, request.covariance)
    expected = yearly_means(own, universe, request.expected_returns)
    tracked = _tracked(request)
    target = np.array([tracked.get(name, 0.0) for name in returns.instruments])
    return Problem(
        objective=request.objective,
        limits=_limits(request, held, expected),
        covariance=covariance[:count, :count],
        expected=expected,
        scenarios=own,
        tracked_covariance=(covariance @ target)[:count],
        tracked_variance=float(target @ covariance @ target),
        risk_aversion=request.risk_aversion,
        confidence_level=request.confidence_level,
        risk_free_rate=request.risk_free_rate,
        budgets=np.array([request.budgets.get(name, 1.0) for name in universe]),
    )


def _tracked(request: OptimiseRequest) -> Mapping[str, float]:
    """The weights of what is tracked: all of one instrument, or a portfolio. None where nothing is."""
    return request.benchmark_weights if request.benchmark is None else {request.benchmark: 1.0}


def _limits(request: OptimiseRequest, held: Holdings, expected: Float64[np.ndarray, " instrument"]) -> Limits:
    universe = held.universe
    bounds = [_bounds(request, name) for name in universe]
    aside = held.weights(held.others)
    gross_aside = float(np.abs(aside).sum())
    stays = request.others is Others.HOLD
    return Limits(
        names=universe,
        lower=np.array([lower for lower, _ in bounds]),
        upper=np.array([upper for _, upper in bounds]),
        current=held.weights(universe),
        invested=_ends(request.invested),
        groups=tuple(_group(name, group, universe) for name, group in request.groups.items()),
        leverage_max=np.inf if request.leverage_max is None else request.leverage_max,
        turnover_max=np.inf if request.turnover_max is None else request.turnover_max,
        costs=np.array([request.costs.get(name, request.cost) for name in universe]),
        expected=expected,
        return_min=-np.inf if request.target_return is None else request.target_return,
        invested_aside=float(aside.sum()) if stays else 0.0,
        leverage_aside=gross_aside if stays else 0.0,
        turnover_aside=0.0 if stays else gross_aside,
    )


def _group(name: str, group: Group, universe: Sequence[InstrumentId]) -> GroupLimit:
    lower, upper = _ends(group)
    return GroupLimit(name=name, members=np.isin(np.array(universe), group.instruments), lower=lower, upper=upper)


def _check_names(request: OptimiseRequest, held: Holdings) -> None:
    """Without `instruments` the request could not tell which names are known; the portfolio can."""
    named: dict[str, Iterable[str]] = {
        "bounds": request.bounds,
        "expected_returns": request.expected_returns,
        "budgets": request.budgets,
        "costs": request.costs,
    }
    named |= {f"groups.{name}.instruments": group.instruments for name, group in request.groups.items()}
    for field, names in named.items():
        _check_known(field, names, held.universe, "the instruments that are optimised")
    _check_known("lots", request.lots, (*held.universe, *held.others), "the instruments that are optimised or held")


def _check_known(field: str, names: Iterable[str], known: tuple[InstrumentId, ...], what: str) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise InvalidRequest(
            f"{field} has {unknown[0]}, which is not among {what}", field=field, instrument_id=unknown[0]
        )


def _bounds(request: OptimiseRequest, name: InstrumentId) -> tuple[float, float]:
    lower, upper = _ends(request.bounds.get(name, request.weight))
    return (max(lower, 0.0) if request.long_only else lower), upper


def _ends(limits: Range) -> tuple[float, float]:
    return (-np.inf if limits.lower is None else limits.lower), (np.inf if limits.upper is None else limits.upper)
