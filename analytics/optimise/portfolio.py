"""One portfolio's optimisation, from what is asked to weights and trades that are ready to be posted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from jaxtyping import Float64

from analytics.optimise.answer import OptimiseAnswer, ProposedTrade, SolverReport
from analytics.optimise.estimates import complete_returns, yearly_covariance, yearly_means
from analytics.optimise.holdings import Holdings, holdings
from analytics.optimise.limits import GroupLimit, Limits
from analytics.optimise.objectives import value_of
from analytics.optimise.optimising import optimise
from analytics.optimise.problem import Outcome, Problem
from analytics.optimise.request import OptimiseRequest, Others, Range
from analytics.optimise.trades import Purse, Wish, trade_list
from analytics.panel import PricePanel
from portfolio import money
from portfolio.book import Book, MarkedBook
from portfolio.decide import TRANSACTIONS_MAX
from portfolio.errors import InvalidRequest
from portfolio.ids import InstrumentId
from portfolio.transactions import Transaction


def optimise_portfolio(request: OptimiseRequest, marked_book: MarkedBook, prices: PricePanel) -> OptimiseAnswer:
    """The best weights for a portfolio within the limits asked for, and the trades that lead there from what it holds.

    A problem without a solution is no error: its status says so, and why. Raises InvalidRequest where the request does not fit
    the portfolio or the prices known, StatusForbids where the portfolio takes no such trades.
    """
    held = holdings(request, marked_book, prices)
    problem = _problem(request, held, prices)
    outcome = optimise(problem)
    trades = [] if outcome.weights is None else _trades(request, held, outcome.weights)
    return _answer(request, held, _Found(problem, outcome, trades))


@dataclass(frozen=True, slots=True)
class _Found:
    problem: Problem
    outcome: Outcome
    trades: list[Transaction]


def _problem(request: OptimiseRequest, held: Holdings, prices: PricePanel) -> Problem:
    universe = held.universe
    tracked = (*request.benchmark_weights,) if request.benchmark is None else (request.benchmark,)
    beside = tuple(InstrumentId(name) for name in tracked if name not in set(universe))
    returns = complete_returns(prices, (*universe, *beside), request.window)
    covariance = yearly_covariance(returns, request.covariance)
    count = len(universe)
    expected = yearly_means(returns[:, :count], universe, request.expected_returns)
    target = _tracked_weights(request, (*universe, *beside))
    budgets = np.array([request.budgets.get(name, 1.0) for name in universe])
    return Problem(
        objective=request.objective,
        limits=_limits(request, held, expected),
        covariance=covariance[:count, :count],
        expected=expected,
        scenarios=returns[:, :count],
        tracked_covariance=(covariance @ target)[:count],
        tracked_variance=float(target @ covariance @ target),
        risk_aversion=request.risk_aversion,
        confidence_level=request.confidence_level,
        risk_free_rate=request.risk_free_rate,
        budgets=budgets,
    )


def _tracked_weights(
    request: OptimiseRequest, instruments: tuple[InstrumentId, ...]
) -> Float64[np.ndarray, " instrument"]:
    """The portfolio that is tracked: one instrument of it, or weights. Nothing where nothing is tracked."""
    weights = request.benchmark_weights if request.benchmark is None else {request.benchmark: 1.0}
    return np.array([weights.get(name, 0.0) for name in instruments], dtype=float)


def _limits(request: OptimiseRequest, held: Holdings, expected: Float64[np.ndarray, " instrument"]) -> Limits:
    universe = held.universe
    _check_names(request, held)
    bounds = [_bounds(request, name) for name in universe]
    aside = held.weights(held.others)
    stays = aside if request.others is Others.HOLD else np.zeros(0)
    sold = aside if request.others is Others.SELL else np.zeros(0)
    return Limits(
        names=universe,
        lower=np.array([lower for lower, _ in bounds]),
        upper=np.array([upper for _, upper in bounds]),
        current=held.weights(universe),
        invested=_ends(request.invested),
        groups=tuple(
            GroupLimit(
                name=name,
                members=np.isin(np.array(universe), group.instruments),
                lower=_ends(group)[0],
                upper=_ends(group)[1],
            )
            for name, group in request.groups.items()
        ),
        leverage_max=np.inf if request.leverage_max is None else request.leverage_max,
        turnover_max=np.inf if request.turnover_max is None else request.turnover_max,
        costs=np.array([request.costs.get(name, request.cost) for name in universe]),
        expected=expected,
        return_min=-np.inf if request.target_return is None else request.target_return,
        invested_aside=float(stays.sum()),
        leverage_aside=float(np.abs(stays).sum()),
        turnover_aside=float(np.abs(sold).sum()),
    )


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


def _trades(request: OptimiseRequest, held: Holdings, weights: Float64[np.ndarray, " instrument"]) -> list[Transaction]:
    total = held.valuation.total_value
    wanted = {
        name: money.divide(money.multiply(_decimal(weight), total), held.prices[name])
        for name, weight in zip(held.universe, weights, strict=True)
    }
    if request.others is Others.SELL:
        wanted |= dict.fromkeys(held.others, money.ZERO_8)
    wishes = [
        Wish(
            instrument_id=name,
            held=held.quantities.get(name, money.ZERO_8),
            wanted=quantity,
            price=held.prices[name],
            lot=request.lots.get(name, request.lot),
        )
        for name, quantity in wanted.items()
    ]
    purse = Purse(cash=held.book.cash, cash_min=_cash_min(request, held.book))
    trades = trade_list(wishes, purse, value_min=request.trade_value_min)
    if len(trades) > TRANSACTIONS_MAX:
        raise InvalidRequest(
            f"{len(trades)} trades would be needed, an update takes {TRANSACTIONS_MAX:,}", field="trade_value_min"
        )
    return trades


def _cash_min(request: OptimiseRequest, book: Book) -> Decimal | None:
    """What has to be left of the cash: the portfolio's own minimum, below which nothing is booked; without one, 0 unless asked."""
    if book.min_cash is not None:
        return book.min_cash
    return None if request.allow_overdraft else money.ZERO_2


def _decimal(weight: float) -> Decimal:
    """A weight to 10 decimals: what a solver leaves of a weight at its bound of 0 is no holding."""
    return Decimal(f"{weight:.10f}") or money.ZERO_8


def _answer(request: OptimiseRequest, held: Holdings, found: _Found) -> OptimiseAnswer:
    outcome, problem, weights = found.outcome, found.problem, found.outcome.weights
    is_found = weights is not None
    return OptimiseAnswer(
        portfolio_id=held.book.portfolio_id,
        version=held.book.version,
        as_of=held.valuation.last_updated,
        objective=request.objective,
        status=outcome.status,
        weights=None if weights is None else _named_weights(request, held, weights),
        achieved_weights=_achieved(held, found.trades) if is_found else None,
        trades=[_proposed(trade) for trade in found.trades],
        cash_after=_cash_after(held, found.trades) if is_found else None,
        objective_value=None if weights is None else value_of(problem, weights),
        expected_return=None if weights is None else float(problem.expected @ weights),
        volatility=None if weights is None else math.sqrt(problem.variance(weights)),
        solver=SolverReport(
            status=outcome.status,
            iterations=outcome.iterations,
            primal_residual=outcome.primal_residual,
            dual_residual=outcome.dual_residual,
            gap=outcome.gap,
            binding=list(outcome.binding),
            conflict=list(outcome.conflict),
        ),
    )


def _named_weights(
    request: OptimiseRequest, held: Holdings, weights: Float64[np.ndarray, " instrument"]
) -> dict[str, float]:
    aside = held.weights(held.others) * (request.others is Others.HOLD)
    names = (*held.universe, *held.others)
    return {name: float(weight) for name, weight in zip(names, np.append(weights, aside), strict=True)}


def _achieved(held: Holdings, trades: list[Transaction]) -> dict[str, float]:
    """Weights after the trades, of the total value before them, which trades at the marks do not change."""
    quantities = {name: held.quantities.get(name, money.ZERO_8) for name in (*held.universe, *held.others)}
    for trade in trades:
        quantities[trade.instrument_id] = money.add(quantities[trade.instrument_id], trade.quantity)
    total = held.valuation.total_value
    return {
        name: float(money.divide(money.round2(money.multiply(quantity, held.prices[name])), total))
        for name, quantity in quantities.items()
    }


def _cash_after(held: Holdings, trades: list[Transaction]) -> Decimal:
    spent = sum((money.round2(money.multiply(trade.quantity, trade.price)) for trade in trades), money.ZERO_2)
    return money.add(held.book.cash, -spent)


def _proposed(trade: Transaction) -> ProposedTrade:
    return ProposedTrade(
        instrument_id=trade.instrument_id,
        quantity_change=trade.quantity,
        price=trade.price,
        transaction_type=trade.transaction_type,
    )
