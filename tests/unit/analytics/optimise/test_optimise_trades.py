"""Trade lists lead toward what is wished, in whole lots, and never cost more than there is."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.optimise.trades import Purse, Wish, trade_list
from portfolio.ids import InstrumentId
from portfolio.transactions import Transaction, TransactionType
from tests.oracles.builders import book_of, booked, deposit, transaction

NO_MINIMUM = Decimal(0)


def wish(name: str, held: str, wanted: str, price: str, lot: str = "1") -> Wish:
    numbers = {"held": held, "wanted": wanted, "price": price, "lot": lot}
    return Wish(instrument_id=InstrumentId(name), **{field: Decimal(text) for field, text in numbers.items()})


def trades(*wishes: Wish, cash: str = "1000000", cash_min: str | None = "0", value_min: str = "0") -> list[str]:
    least = None if cash_min is None else Decimal(cash_min)
    found = trade_list(wishes, Purse(cash=Decimal(cash), cash_min=least), value_min=Decimal(value_min))
    return [f"{one.transaction_type} {one.instrument_id} {one.quantity.normalize():f}" for one in found]


def test_purchases_that_miss_most_get_another_lot_as_long_as_the_cash_lasts() -> None:
    found = trades(wish("A", "0", "6.9", "100.00"), wish("B", "0", "7.75", "40.00"), cash="1000.00")
    assert found == ["BUY A 7", "BUY B 7"]


def test_sales_come_first_and_pay_for_purchases() -> None:
    assert trades(wish("A", "0", "10", "50"), wish("B", "10", "0", "50"), cash="0") == ["SELL B -10", "BUY A 10"]


def test_cash_is_kept_at_its_minimum_or_above() -> None:
    assert trades(wish("A", "0", "10", "100"), cash="1000", cash_min="250") == ["BUY A 7"]


def test_a_lot_more_costs_what_it_adds_to_the_value_that_is_booked() -> None:
    # One unit of 0.333 is booked at 0.33, two at 0.67: a cent more than there is.
    assert trades(wish("A", "0", "2", "0.333"), cash="0.66") == ["BUY A 1"]
    assert trades(wish("A", "0", "2", "0.333"), cash="0.67") == ["BUY A 2"]


def test_without_a_minimum_everything_is_bought() -> None:
    assert trades(wish("A", "0", "10", "100"), cash="0", cash_min=None) == ["BUY A 10"]


def test_nothing_is_bought_where_the_cash_is_below_its_minimum_already() -> None:
    assert trades(wish("A", "0", "10", "100"), cash="-5") == []


@pytest.mark.parametrize(
    ("held", "wanted", "found"),
    [
        ("10", "-5", ["SELL A -10", "SHORT A -5"]),
        ("-10", "5", ["COVER A 10", "BUY A 5"]),
        ("-10", "-15", ["SHORT A -5"]),
        ("-10", "-4", ["COVER A 6"]),
        ("10.4", "0", ["SELL A -10.4"]),
        ("-10.4", "0", ["COVER A 10.4"]),
        ("9.6", "0.05", ["SELL A -9"]),
        ("-9.6", "-0.05", ["COVER A 9"]),
        ("10", "10.4", []),
    ],
)
def test_a_position_goes_to_its_side_in_lots_and_wholly_where_it_is_to_go(
    held: str, wanted: str, found: list[str]
) -> None:
    assert trades(wish("A", held, wanted, "10")) == found


def test_lots_may_be_parts_of_a_unit_or_many() -> None:
    assert trades(wish("A", "0", "1.23456", "10", "0.001"), wish("B", "0", "260", "10", "100")) == [
        "BUY A 1.235",
        "BUY B 300",
    ]


def test_trades_below_the_least_value_are_left_out() -> None:
    found = trades(wish("A", "0", "9", "10"), wish("B", "0", "10", "10"), wish("C", "9", "0", "10"), value_min="100")
    assert found == ["BUY B 10"]


_QUANTITIES = st.decimals(-1000, 1000, places=8)
_PRICES = st.decimals("0.00000001", 5000, places=8)
_LOTS = st.sampled_from([Decimal("0.00000001"), Decimal("0.01"), Decimal(1), Decimal(100)])
_WISHES = st.tuples(_QUANTITIES, _QUANTITIES, _PRICES, _LOTS)


@given(st.lists(_WISHES, min_size=1, max_size=5), st.decimals(-1000, 100_000, places=2))
def test_any_trade_list_is_booked_and_leaves_the_cash_at_its_minimum_or_no_lower_than_before(
    drawn: list[tuple[Decimal, Decimal, Decimal, Decimal]], cash: Decimal
) -> None:
    wishes = [
        Wish(instrument_id=InstrumentId(f"I{place}"), held=held, wanted=wanted, price=price, lot=lot)
        for place, (held, wanted, price, lot) in enumerate(drawn)
    ]
    book = book_of(deposit("10000000"))
    held = [_transfer(one) for one in wishes if one.held]
    book = booked(book, *held, transaction("WITHDRAWAL", "USD", f"{cash - 10_000_000:f}", "1"))
    found = trade_list(wishes, Purse(cash=cash, cash_min=Decimal(0)), value_min=NO_MINIMUM)
    after = booked(book, *found) if found else book
    assert after.cash >= min(Decimal(0), cash)
    for one in wishes:
        position = after.positions.get(one.instrument_id)
        quantity = Decimal(0) if position is None else position.quantity
        assert min(one.held, one.wanted) - one.lot <= quantity <= max(one.held, one.wanted) + one.lot
        assert quantity * one.wanted >= 0 or quantity * one.held > 0


def _transfer(one: Wish) -> Transaction:
    return Transaction(
        transaction_type=TransactionType.TRANSFER_IN,
        instrument_id=one.instrument_id,
        quantity=one.held,
        price=one.price,
    )
