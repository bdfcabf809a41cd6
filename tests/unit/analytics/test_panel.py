"""Closes side by side, the returns made of them, and what is said of prices that are missing."""

import numpy as np
import polars as pl
import pytest

from analytics import frames
from analytics.panel import PricePanel, PriceStatus, columns_of, price_panel
from portfolio.ids import InstrumentId

HEADER = b"instrument_id,price_date,close,adjusted_close\n"
NAN = float("nan")


def panel(**closes: list[float]) -> PricePanel:
    """Instruments with a close a day from 2 January 2024 on; NaN where there is none."""
    matrix = np.array(list(closes.values())).T
    days = np.datetime64("2024-01-02") + np.arange(len(matrix))
    return PricePanel(days=days, instruments=tuple(map(InstrumentId, closes)), closes=matrix, adjusted=matrix)


def test_prices_in_any_order_become_days_and_instruments_in_order() -> None:
    found = price_panel(
        frames.prices(HEADER + b"B,2024-01-03,20.00000000,5\nA,2024-01-02,10.10000000,10.1\nB,2024-01-02,19.5,4.875\n")
    )
    assert found.instruments == ("A", "B")
    assert found.days.tolist() == pl.Series(["2024-01-02", "2024-01-03"]).str.to_date().to_list()
    np.testing.assert_array_equal(found.closes, [[10.1, 19.5], [NAN, 20.0]])
    np.testing.assert_array_equal(found.adjusted, [[10.1, 4.875], [NAN, 5.0]])


def test_without_prices_the_panel_has_no_days_and_every_instrument_is_without_prices() -> None:
    found = price_panel(frames.prices(HEADER))
    assert found.closes.shape == found.adjusted.shape == (0, 0)
    returns = found.returns(252).of([InstrumentId("A")])
    assert returns.start is None
    assert returns.values.shape == (0, 1)
    assert returns.statuses == (PriceStatus.NO_PRICES,)
    assert returns.covered.tolist() == [False]


def test_a_return_is_the_change_of_the_adjusted_close_from_one_day_to_the_next() -> None:
    prices = HEADER + b"A,2024-01-02,500,125\nA,2024-01-03,150,150\nA,2024-01-04,120,120\n"
    returns = price_panel(frames.prices(prices)).returns(252)
    np.testing.assert_array_equal(returns.values, [[150 / 125 - 1], [120 / 150 - 1]])
    assert returns.start == np.datetime64("2024-01-02")
    assert returns.days.tolist() == np.array(["2024-01-03", "2024-01-04"], "datetime64[D]").tolist()


def test_a_window_has_the_last_returns() -> None:
    returns = panel(A=[1.0, 2.0, 3.0, 4.5]).returns(2)
    np.testing.assert_array_equal(returns.values, [[0.5], [0.5]])
    assert returns.start == np.datetime64("2024-01-03")


def test_a_missing_close_leaves_both_returns_beside_it_missing() -> None:
    returns = panel(A=[1.0, NAN, 2.0, 3.0], B=[1.0, 1.0, 1.0, 1.0]).returns(252)
    np.testing.assert_array_equal(returns.values, [[NAN, 0.0], [NAN, 0.0], [0.5, 0.0]])


@pytest.mark.parametrize(
    ("closes", "status"),
    [
        ([1.0, 2.0, 3.0, 4.0], PriceStatus.COMPLETE),
        ([1.0, NAN, 3.0, 4.0], PriceStatus.GAPS),
        ([NAN, 2.0, NAN, 4.0], PriceStatus.GAPS),
        ([NAN, NAN, 3.0, 4.0], PriceStatus.SHORT_HISTORY),
        ([1.0, 2.0, 3.0, NAN], PriceStatus.STALE),
        ([NAN, 2.0, NAN, NAN], PriceStatus.STALE),
        ([NAN, NAN, NAN, NAN], PriceStatus.NO_PRICES),
    ],
)
def test_each_instrument_says_what_the_window_has_of_it(closes: list[float], status: PriceStatus) -> None:
    assert panel(A=closes, B=[1.0] * 4).returns(3).statuses == (status, PriceStatus.COMPLETE)


def test_what_lies_before_the_window_does_not_count() -> None:
    assert panel(A=[NAN, NAN, 1.0, 2.0, 3.0]).returns(2).statuses == (PriceStatus.COMPLETE,)
    assert panel(A=[1.0, 1.0, NAN, NAN, NAN]).returns(2).statuses == (PriceStatus.NO_PRICES,)


def test_nine_tenths_of_the_returns_cover_an_instrument() -> None:
    always = [1.0] * 21
    enough = [NAN, NAN, *always[2:]]  # 18 returns of 20
    too_few = [NAN, NAN, NAN, *always[3:]]
    assert panel(A=always, B=enough, C=too_few).returns(20).covered.tolist() == [True, True, False]


def test_returns_are_chosen_in_the_order_asked_for() -> None:
    returns = panel(A=[1.0, 2.0], C=[4.0, 2.0]).returns(1)
    chosen = returns.of([InstrumentId("C"), InstrumentId("B"), InstrumentId("A")])
    np.testing.assert_array_equal(chosen.values, [[-0.5, NAN, 1.0]])
    assert chosen.statuses == (PriceStatus.COMPLETE, PriceStatus.NO_PRICES, PriceStatus.COMPLETE)
    assert chosen.instruments == ("C", "B", "A")


def test_an_instrument_is_found_by_its_whole_name() -> None:
    ascending = tuple(map(InstrumentId, ("A", "AB", "C")))
    asked = tuple(map(InstrumentId, ("AB", "AA", "A", "D", "")))
    assert columns_of(ascending, asked).tolist() == [1, -1, 0, -1, -1]
