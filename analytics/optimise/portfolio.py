"""One portfolio's optimisation, from what is asked to weights and trades that are ready to be posted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from jaxtyping import Float64

from analytics.conventions import DDOF, EWMA_DECAY, PERIODS_PER_YEAR
from analytics.optimise.answer import EstimateConventions, OptimiseAnswer, ProposedTrade, SolverReport
from analytics.optimise.estimates import CompleteReturns
from analytics.optimise.formulation import formulated, market_returns
from analytics.optimise.holdings import Holdings, holdings
from analytics.optimise.objectives import value_of
from analytics.optimise.optimising import optimise
from analytics.optimise.problem import Outcome, Problem
from analytics.optimise.request import OptimiseRequest, Others
from analytics.optimise.trades import Purse, Wish, trade_list
from analytics.panel import PricePanel
from portfolio import money
from portfolio.book import Book, MarkedBook
from portfolio.decide import TRANSACTIONS_MAX
from portfolio.errors import InvalidRequest
from portfolio.transactions import Transaction


def optimise_portfolio(request: OptimiseRequest, marked_book: MarkedBook, prices: PricePanel) -> OptimiseAnswer:
    """The best weights for a portfolio within the limits asked for, and the trades that lead there from what it holds.

    A problem without a solution is no error: its status says so, and why. Raises InvalidRequest where the request does not fit
    the portfolio or the prices known, StatusForbids where the portfolio takes no such trades.
    """
    held = holdings(request, marked_book, prices)
    returns = market_returns(request, held, prices)
    problem = formulated(request, held, returns)
    outcome = optimise(problem)
    trades = [] if outcome.weights is None else _trades(request, held, outcome.weights)
    return _answer(request, held, _Found(returns=returns, problem=problem, outcome=outcome, trades=trades))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    returns: CompleteReturns
    problem: Problem
    outcome: Outcome
    trades: list[Transaction]


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
        window=found.returns.window,
        observations=len(found.returns.values),
        conventions=_conventions(request),
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


def _conventions(request: OptimiseRequest) -> EstimateConventions:
    return EstimateConventions(
        periods_per_year=PERIODS_PER_YEAR,
        ddof=DDOF,
        risk_free_rate=request.risk_free_rate,
        returns="simple",
        covariance=request.covariance,
        ewma_decay=EWMA_DECAY,
        expected_returns="what the request gives, else the mean of the window times periods_per_year",
        confidence_level=request.confidence_level,
        conditional_value_at_risk="Rockafellar-Uryasev",
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
