"""From a request and a marked book to weights, and to trades that the core books."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from analytics.optimise.answer import OptimiseAnswer, SolveStatus
from analytics.optimise.portfolio import optimise_portfolio
from analytics.optimise.request import OptimiseRequest
from analytics.panel import PricePanel
from portfolio.book import Book, Mark, MarkedBook
from portfolio.decide import decide
from portfolio.errors import InvalidRequest, StatusForbids
from portfolio.ids import InstrumentId
from portfolio.status import Status
from portfolio.transactions import Transaction
from tests.analytics.samples import real_prices
from tests.oracles.builders import NOW, book_of, minutes, transaction, update

APPLE, EXXON, MORGAN = map(InstrumentId, ("AAPL", "XOM", "JPM"))
UNIVERSE = ["AAPL", "JNJ", "JPM", "KO", "XOM"]


def panel(**missing: slice) -> PricePanel:
    """The sample's closes, without those of the days named for an instrument."""
    days, names, closes = real_prices()
    order = np.argsort(names)
    sorted_names = tuple(InstrumentId(names[place]) for place in order)
    kept = closes[:, order].copy()
    for name, days_out in missing.items():
        kept[days_out, sorted_names.index(InstrumentId(name))] = np.nan
    return PricePanel(days=days.astype("datetime64[D]"), instruments=sorted_names, closes=kept, adjusted=kept)


def holding(**changed: Any) -> Book:
    """1,000,000.00 at the sample's last closes, 533,290.50 of it in three shares."""
    bought = [("AAPL", "1000", "125.674"), ("XOM", "2000", "106.627"), ("JPM", "1500", "129.575")]
    return book_of(*(transaction("BUY", *one) for one in bought), cash="1000000", **changed)


def answered(book: Book, prices: PricePanel | None = None, **fields: Any) -> OptimiseAnswer:
    request = OptimiseRequest.model_validate({"objective": "minimum_variance", **fields})
    return optimise_portfolio(request, MarkedBook(book, {}), prices or panel())


def after(book: Book, answer: OptimiseAnswer) -> Book:
    """The book once the proposed trades are posted."""
    trades = (
        Transaction(
            transaction_type=trade.transaction_type,
            instrument_id=InstrumentId(trade.instrument_id),
            quantity=trade.quantity_change,
            price=trade.price,
        )
        for trade in answer.trades
    )
    return decide(book, update(*trades), now=minutes(1)).book


def test_proposed_trades_are_booked_and_lead_to_the_weights_that_were_told() -> None:
    book = holding(min_cash="0")
    answer = answered(book, instruments=UNIVERSE, weight={"upper": 0.4}, turnover_max=0.7)
    assert answer.status is SolveStatus.SOLVED
    assert answer.weights is not None
    assert answer.achieved_weights is not None
    booked = after(book, answer)
    assert booked.cash == answer.cash_after
    assert booked.cash >= 0
    for name, weight in answer.weights.items():
        position = booked.positions.get(InstrumentId(name))
        units = 0.0 if position is None else float(position.quantity * position.trade_mark.price)
        assert units / 1e6 == pytest.approx(answer.achieved_weights[name], abs=1e-8)
        # Within two lots: one of rounding, one that the cash did not reach for.
        assert answer.achieved_weights[name] == pytest.approx(weight, abs=4e-4)
    assert "turnover <= 0.7" in answer.solver.binding


def test_other_holdings_stay_and_count_or_are_sold() -> None:
    book = holding()
    stays = answered(book, instruments=["AAPL", "KO"])
    assert stays.weights is not None
    assert {trade.instrument_id for trade in stays.trades} == {"AAPL", "KO"}
    assert stays.weights["XOM"] == pytest.approx(0.213254)
    assert sum(stays.weights.values()) == pytest.approx(1.0)
    sold = answered(book, instruments=["AAPL", "KO"], others="sell")
    assert {trade.instrument_id for trade in sold.trades} == {"AAPL", "KO", "XOM", "JPM"}
    assert after(book, sold).positions.keys() == {"AAPL", "KO"}


def test_market_marks_are_what_is_traded_at() -> None:
    book = holding()
    request = OptimiseRequest.model_validate({"objective": "risk_parity"})
    marks = {APPLE: Mark(Decimal("140.5"), minutes(1))}
    answer = optimise_portfolio(request, MarkedBook(book, marks), panel())
    assert {trade.price for trade in answer.trades if trade.instrument_id == "AAPL"} == {Decimal("140.5")}


def test_an_infeasible_request_trades_nothing_and_says_why() -> None:
    limits: dict[str, Any] = {
        "groups": {"tech": {"instruments": ["AAPL"], "upper": 0.1}},
        "bounds": {"AAPL": {"lower": 0.2}},
    }
    answer = answered(holding(), **limits)
    assert answer.status is SolveStatus.INFEASIBLE
    assert sorted(answer.solver.conflict) == ["AAPL >= 0.2", "group tech <= 0.1"]
    assert (answer.weights, answer.trades, answer.objective_value) == (None, [], None)


def test_risk_parity_sells_nothing_short_where_other_holdings_take_up_all_that_may_be_invested() -> None:
    bought = [("XOM", "12000", "106.627"), ("AAPL", "10", "125.674")]
    borrowing = book_of(*(transaction("BUY", *one) for one in bought), cash="1000000")
    answer = answered(borrowing, objective="risk_parity", instruments=["AAPL", "KO"])
    assert answer.status is SolveStatus.INFEASIBLE
    assert answer.solver.conflict == ["invested = 1", "AAPL >= 0", "KO >= 0"]
    assert (answer.weights, answer.trades) == (None, [])


def test_a_gain_without_risk_has_no_best_ratio() -> None:
    prices = panel()
    constant = prices.closes.copy()
    constant[:, prices.instruments.index(InstrumentId("KO"))] = 60.0
    riskless = replace(prices, closes=constant, adjusted=constant)
    for instruments in (["KO"], ["KO", "AAPL"]):
        answer = answered(
            holding(), riskless, objective="maximum_sharpe", instruments=instruments, expected_returns={"KO": 0.02}
        )
        assert answer.status is SolveStatus.UNBOUNDED
        assert answer.weights is None


def test_fewer_days_than_instruments_leave_no_volatility_rather_than_none_at_all() -> None:
    answer = answered(holding(), window=2)
    assert answer.volatility == pytest.approx(0, abs=1e-6)


def test_an_overdraft_is_allowed_where_the_portfolio_has_no_minimum_of_its_own() -> None:
    borrowing: dict[str, Any] = {
        "instruments": ["AAPL", "KO"],
        "invested": {"lower": 1.3, "upper": 1.3},
        "allow_overdraft": True,
    }
    free = holding()
    assert after(free, answered(free, **borrowing)).cash < -290_000
    kept = holding(min_cash="1000")
    assert after(kept, answered(kept, **borrowing)).cash >= 1_000


def test_an_instrument_without_enough_prices_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="JPM has too few prices") as caught:
        answered(holding(), panel(JPM=slice(-300, -30)))
    assert caught.value.cause["instrument_id"] == "JPM"
    with pytest.raises(InvalidRequest, match="ZZZ has no price above 0"):
        answered(holding(), instruments=["ZZZ"])


def test_days_without_a_price_are_left_out_for_all() -> None:
    whole, gap = answered(holding()), answered(holding(), panel(JPM=slice(-20, -15)))
    assert gap.status is SolveStatus.SOLVED
    assert gap.volatility != whole.volatility


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"bounds": {"KO": {"upper": 0.1}}}, "bounds has KO"),
        ({"costs": {"APPL": 0.01}}, "costs has APPL"),
        ({"instruments": ["AAPL"], "lots": {"XOMM": "10"}}, "lots has XOMM"),
        ({"long_only": False}, "allows no shorts"),
    ],
)
def test_what_does_not_fit_the_portfolio_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        answered(holding(allow_short=False), **fields)


def test_an_empty_portfolio_has_to_name_instruments_and_one_that_is_suspended_cannot_trade() -> None:
    with pytest.raises(InvalidRequest, match="holds nothing"):
        answered(book_of(cash="1000"))
    with pytest.raises(StatusForbids, match="SUSPENDED"):
        answered(holding(status=Status.SUSPENDED))


def test_an_answer_is_of_the_version_and_moment_that_were_looked_at() -> None:
    answer = answered(holding())
    assert (answer.version, answer.as_of) == (5, NOW)


def test_an_answer_says_from_which_days_and_how_it_was_estimated() -> None:
    prices = panel(KO=slice(-3, -1))
    answer = answered(
        holding(), prices, instruments=UNIVERSE, window=100, covariance="ledoit_wolf", risk_free_rate=0.02
    )
    # A gap of two closes takes three returns from everybody.
    assert (answer.window.periods, answer.observations) == (100, 97)
    assert (answer.window.start, answer.window.end) == (prices.days[-101].item(), prices.days[-1].item())
    assert (answer.conventions.covariance, answer.conventions.risk_free_rate) == ("ledoit_wolf", 0.02)


def test_what_is_held_and_still_the_best_is_found_in_one_turn() -> None:
    limits: dict[str, Any] = {"instruments": UNIVERSE, "lot": "0.00000001", "others": "sell"}
    book = holding()
    first = answered(book, **limits)
    again = answered(after(book, first), **limits)
    assert (first.status, again.status) == (SolveStatus.SOLVED, SolveStatus.SOLVED)
    assert again.solver.iterations == 1 < first.solver.iterations
    assert again.weights == pytest.approx(first.weights, abs=1e-9)


def test_a_price_that_never_moved_has_no_share_of_risk() -> None:
    flat = panel()
    flat.adjusted[:, flat.instruments.index(InstrumentId("KO"))] = 60.0
    answer = answered(holding(), flat, objective="risk_parity", instruments=["AAPL", "KO"])
    assert answer.status is SolveStatus.INFEASIBLE
    assert answer.solver.conflict == ["risk of KO > 0"]


@pytest.mark.parametrize("tracked", [{"benchmark": "NONE"}, {"benchmark_weights": {"AAPL": 0.5, "NONE": 0.5}}])
def test_what_is_tracked_and_has_no_prices_is_named(tracked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"NONE has too few prices \(no_prices\)") as refused:
        answered(holding(), objective="tracking", **tracked)
    assert refused.value.cause["field"] == next(iter(tracked))
