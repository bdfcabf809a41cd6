"""Books, journal and prices as frames: exact, until one function makes them floats."""

from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics.frames import (
    PORTFOLIOS,
    POSITIONS,
    PRICES,
    TRANSACTIONS,
    book_frames,
    float64,
    from_cents,
    prices,
    transactions,
)
from portfolio.book import Mark, MarkedBook
from portfolio.decide import NO_MARKS, decide
from portfolio.status import Status
from portfolio.valuation import value
from tests.oracles.builders import (
    NOW,
    PORTFOLIO,
    X,
    book_of,
    buy,
    decided,
    deposit,
    minutes,
    opening,
    sell,
    transaction,
)
from tests.oracles.playing import play
from tests.oracles.strategies import History, histories


def test_a_book_is_a_row_of_what_its_state_shows_and_a_row_for_each_position() -> None:
    book = book_of(
        deposit("10000"), buy("100", "20", fee="1"), sell("40", "25.50"), transaction("SHORT", "Y", "-10", "50")
    )
    marks = {X: Mark(Decimal("30.00000001"), minutes(5))}
    frames = book_frames([MarkedBook(book, marks)])
    assert frames.portfolios.row(0, named=True) == {
        "portfolio_id": PORTFOLIO,
        "portfolio_name": "Balanced",
        "base_currency": "USD",
        "status": "ACTIVE",
        "version": 5,
        "as_of": minutes(5),
        "total_value": Decimal("10819.00"),
        "cash_balance": Decimal("9519.00"),
        "cash_weight": Decimal("0.879841"),
        "gross_exposure": Decimal("2300.00"),
        "net_exposure": Decimal("1300.00"),
        "realized_pnl": Decimal("220.000000"),
        "unrealized_pnl": Decimal("600.00"),
        "income": Decimal("0.00"),
        "fees": Decimal("1.00"),
        "taxes": Decimal("0.00"),
        "net_deposits": Decimal("10000.00"),
        "transfers_at_cost": Decimal("0.000000"),
    }
    assert frames.positions.row(0, named=True) == {
        "portfolio_id": PORTFOLIO,
        "version": 5,
        "as_of": minutes(5),
        "instrument_id": "X",
        "position_type": "LONG",
        "quantity": Decimal("60.00000000"),
        "mark_price": Decimal("30.00000001"),
        "mark_time": minutes(5),
        "mark_source": "market",
        "market_value": Decimal("1800.00"),
        "weight": Decimal("0.166374"),
        "cost_basis": Decimal("1200.000000"),
        "unrealized_pnl": Decimal("600.00"),
        "realized_pnl": Decimal("220.000000"),
        "last_updated": NOW,
    }
    short = frames.positions.row(1, named=True)
    assert (short["instrument_id"], short["position_type"], short["market_value"]) == ("Y", "SHORT", Decimal("-500.00"))


def test_without_value_above_zero_weights_are_null() -> None:
    book = book_of(buy("10", "20"), status=Status.ACTIVE)
    owing = MarkedBook(book, {X: Mark(Decimal(10), minutes(1))})
    frames = book_frames([owing])
    assert frames.portfolios["cash_weight"].to_list() == frames.positions["weight"].to_list() == [None]


@given(st.lists(histories(broken=False), max_size=3))
def test_frames_hold_every_decimal_of_every_book(drawn: list[History]) -> None:
    books = [play(history).book for history in drawn]
    frames = book_frames([MarkedBook(book, NO_MARKS) for book in books])
    valuations = [value(book, NO_MARKS) for book in books]
    assert frames.portfolios["total_value"].to_list() == [item.total_value for item in valuations]
    assert frames.positions.select("quantity", "cost_basis", "market_value", "weight").rows() == [
        (item.position.quantity, item.position.cost_basis, item.market_value, valuation.weight(item.market_value))
        for valuation in valuations
        for item in valuation.positions
    ]


def test_the_largest_position_at_the_largest_price_has_room() -> None:
    book = book_of(buy("999999999999.99999999", "0.00000001"))
    marked = MarkedBook(book, {X: Mark(Decimal("999999999999.99999999"), minutes(1))})
    assert book_frames([marked]).positions["market_value"].to_list() == [Decimal("999999999999999999980000.00")]


def test_a_transaction_is_a_row_as_the_list_of_transactions_shows_it() -> None:
    opened = decide(None, opening(cash="100"), now=NOW)
    booked = decided(opened.book, buy("3", "20.5", fee="0.25"), now=minutes(2), effective_at=minutes(1))
    rows = transactions([*opened.entries, *booked.entries])
    assert rows["transaction_type"].to_list() == ["DEPOSIT", "BUY"]
    assert rows.row(1, named=True) == {
        "portfolio_id": PORTFOLIO,
        "version": 3,
        "transaction_id": str(booked.entries[0].transaction_id),  # type: ignore[union-attr]
        "instrument_id": "X",
        "transaction_type": "BUY",
        "quantity": Decimal("3.00000000"),
        "price": Decimal("20.50000000"),
        "transaction_value": Decimal("61.50"),
        "fee": Decimal("0.25"),
        "transaction_date": minutes(1),
        "recorded_at": minutes(2),
    }


def test_prices_keep_their_eight_decimals() -> None:
    found = prices(b"instrument_id,price_date,close,adjusted_close\n123,2024-01-02,999999999999.12345678,0.00000001\n")
    assert found.schema == PRICES
    assert found.rows() == [
        ("123", date(2024, 1, 2), Decimal("999999999999.12345678"), Decimal("0.00000001")),
    ]


@pytest.mark.parametrize(
    ("frame", "schema"),
    [
        (book_frames([]).portfolios, PORTFOLIOS),
        (book_frames([]).positions, POSITIONS),
        (transactions([]), TRANSACTIONS),
        (prices(b"instrument_id,price_date,close,adjusted_close\n"), PRICES),
    ],
)
def test_frames_of_nothing_have_all_their_columns(frame: pl.DataFrame, schema: pl.Schema) -> None:
    assert frame.schema == schema
    assert frame.is_empty()


@given(histories(broken=False))
def test_each_decimal_becomes_a_float_of_the_same_sixteen_digits(history: History) -> None:
    exact = transactions(play(history).entries)
    floats = float64(exact)
    for name in ("quantity", "price", "transaction_value"):
        assert floats[name].to_list() == [pytest.approx(float(number), rel=1e-15) for number in exact[name]]
    assert floats.drop(pl.selectors.float()).equals(exact.drop(pl.selectors.decimal()))


@given(st.lists(st.integers(-(10**30), 10**30) | st.integers(-(10**15), 10**15), min_size=1))
@example([9_007_199_254_748_911])
def test_cents_become_the_nearest_float_however_large_they_are(cents: list[int]) -> None:
    kind = np.int64 if max(map(abs, cents)) < 2**63 else object
    assert from_cents(np.array(cents, dtype=kind)).tolist() == [float(Decimal(count).scaleb(-2)) for count in cents]
