"""What a book is worth at the marks known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from portfolio.book import Book, Mark
from portfolio.ids import InstrumentId
from portfolio.transactions import Transaction
from portfolio.valuation import MarkSource, microseconds, value
from tests.oracles.builders import NOW, X, book_of, booked, buy, minutes, sell, transaction

A, B = InstrumentId("A"), InstrumentId("B")


def mark(price: str, minute: int) -> Mark:
    return Mark(Decimal(price), minutes(minute))


def neutral() -> Book:
    """1,000 in cash at first, then 100 of A bought and 100 of B sold at 10."""
    return book_of(transaction("SELL", B, "-100", "10"), transaction("BUY", A, "100", "10"), cash="1000")


def test_an_empty_portfolio_is_worth_nothing_and_has_no_weights() -> None:
    valuation = value(book_of(), {})
    assert valuation.positions == ()
    figures = (valuation.total_value, valuation.gross_exposure, valuation.net_exposure, valuation.unrealized_pnl)
    assert [str(figure) for figure in figures] == ["0.00"] * 4
    assert valuation.revaluation == 0
    assert valuation.weight(Decimal(0)) is None


def test_exposures_add_up_longs_and_shorts_in_the_order_of_instruments() -> None:
    valuation = value(neutral(), {A: mark("9", 1), B: mark("11.005", 1)})
    assert [item.position.instrument_id for item in valuation.positions] == [A, B]
    assert [str(item.market_value) for item in valuation.positions] == ["900.00", "-1100.50"]
    assert [str(item.unrealized_pnl) for item in valuation.positions] == ["-100.00", "-100.50"]
    assert str(valuation.gross_exposure) == "2000.50"
    assert str(valuation.net_exposure) == "-200.50"
    assert str(valuation.unrealized_pnl) == "-200.50"
    assert str(valuation.total_value) == "799.50"


@pytest.mark.parametrize(("total", "weighs"), [("0.01", True), ("0", False), ("-0.01", False)])
def test_weights_need_a_total_value_above_zero(total: str, weighs: bool) -> None:
    valuation = replace(value(book_of(), {}), total_value=Decimal(total))
    assert (valuation.weight(Decimal("0.01")) is not None) is weighs


@pytest.mark.parametrize(
    ("part", "total", "weight"),
    [
        ("1", "3", "0.333333"),
        ("2", "3", "0.666667"),
        ("-900", "1100", "-0.818182"),
        ("1", "2000000", "0.000001"),
        ("0", "5", "0.000000"),
    ],
)
def test_a_weight_has_six_decimals_rounded_half_away_from_zero(part: str, total: str, weight: str) -> None:
    valuation = replace(value(book_of(), {}), total_value=Decimal(total))
    assert str(valuation.weight(Decimal(part))) == weight


@pytest.mark.parametrize(
    ("minute", "price", "source"),
    [(-1, "10", MarkSource.TRADE), (0, "10", MarkSource.TRADE), (1, "12", MarkSource.MARKET)],
)
def test_the_later_mark_counts_and_a_trade_wins_at_the_same_moment(minute: int, price: str, source: MarkSource) -> None:
    (item,) = value(book_of(buy("10", "10")), {X: mark("12", minute)}).positions
    assert (item.mark.price, item.source) == (Decimal(price), source)


def test_a_trade_takes_the_place_of_an_older_market_mark_and_gives_way_to_a_newer_one() -> None:
    book = booked(book_of(buy("10", "10")), buy("1", "13"), now=minutes(5))
    assert value(book, {X: mark("12", 4)}).positions[0].mark.price == 13
    assert value(book, {X: mark("12", 6)}).positions[0].mark.price == 12


def test_a_backdated_trade_leaves_a_later_market_mark_in_place() -> None:
    book = booked(book_of(), buy("10", "10"), now=minutes(5), effective_at=minutes(-5))
    assert value(book, {X: mark("12", -4)}).positions[0].mark.price == 12


@pytest.mark.parametrize(
    ("items", "market_value", "unrealized"),
    [
        ((buy("0.5", "0.01"),), "0.01", "0.00"),
        ((sell("0.5", "0.01"),), "-0.01", "0.00"),
        # 10.00 for 3 units, one sold: 6.666667 of cost against 6.67 at the price, and 0.00, not -0.00.
        ((buy("3", "3.33333333"), sell("1", "3.33333333")), "6.67", "0.00"),
        ((buy("1", "0.001"),), "0.00", "0.00"),
        ((sell("1", "0.001"),), "0.00", "0.00"),
    ],
)
def test_values_are_rounded_to_the_cent_without_negative_zeros(
    items: tuple[Transaction, ...], market_value: str, unrealized: str
) -> None:
    (item,) = value(book_of(*items), {}).positions
    assert (str(item.market_value), str(item.unrealized_pnl)) == (market_value, unrealized)


def test_the_revaluation_is_the_sum_of_the_times_of_the_market_marks_that_show() -> None:
    book = neutral()
    marks = {A: mark("9", 1), B: mark("11", 2), X: mark("1", 3)}
    assert value(book, marks).revaluation == microseconds(minutes(1)) + microseconds(minutes(2))
    assert value(book, {A: mark("9", 1), B: mark("11", -2)}).revaluation == microseconds(minutes(1))


def test_the_last_update_is_the_latest_of_the_book_and_the_market_marks_that_show() -> None:
    book = neutral()
    assert value(book, {X: mark("1", 9)}).last_updated == NOW
    assert value(book, {A: mark("9", 3), B: mark("11", 1)}).last_updated == minutes(3)


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), -500_000),
        (datetime(2025, 6, 21, 10, 0, 0, 1, tzinfo=UTC), 1_750_500_000_000_001),
        (datetime(2600, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), 19_880_899_200_999_999),
    ],
)
def test_moments_are_counted_in_whole_microseconds(moment: datetime, count: int) -> None:
    assert microseconds(moment) == count
    assert microseconds(moment + timedelta(microseconds=1)) == count + 1
