"""What settings, holdings and status allow."""

from decimal import Decimal

import pytest

from portfolio.book import Book
from portfolio.errors import InsufficientPosition, PortfolioError, ShortNotAllowed, StatusForbids
from portfolio.status import Status
from portfolio.transactions import Transaction
from tests.oracles.builders import USD, X, book_of, booked, buy, deposit, sell, split, transaction

LONG = transaction("TRANSFER_IN", "X", "10", "5")
SHORT = transaction("TRANSFER_IN", "X", "-10", "5")


def holding(units: int, *, allow_short: bool = True, status: Status = Status.ACTIVE) -> Book:
    """A portfolio with 10 units long, 10 short, or none."""
    transfers = {10: (LONG,), -10: (SHORT,), 0: ()}[units]
    return book_of(*transfers, cash="1000", allow_short=allow_short, status=status)


def trade(kind: str, quantity: str) -> Transaction:
    return transaction(kind, "X", quantity, "0" if kind == "TRANSFER_OUT" else "5")


@pytest.mark.parametrize(
    ("held", "item", "left"),
    [
        (10, trade("SELL", "-10.00000001"), "-0.00000001"),
        (0, trade("SELL", "-1"), "-1"),
        (-10, trade("SELL", "-1"), "-11"),
        (-10, trade("BUY", "25"), "15"),
        (0, trade("SHORT", "-1"), "-1"),
        (-10, trade("SHORT", "-1"), "-11"),
        (-10, trade("COVER", "10"), "0"),
        (10, trade("TRANSFER_OUT", "-10"), "0"),
        (-10, trade("TRANSFER_OUT", "4"), "-6"),
        (10, trade("TRANSFER_IN", "1"), "11"),
        (-10, trade("TRANSFER_IN", "-1"), "-11"),
    ],
)
def test_what_fits_the_holding_is_booked(held: int, item: Transaction, left: str) -> None:
    position = booked(holding(held), item).positions.get(X)
    assert (position.quantity if position is not None else Decimal(0)) == Decimal(left)


@pytest.mark.parametrize(
    ("held", "item"),
    [
        (10, trade("COVER", "1")),
        (0, trade("COVER", "1")),
        (-10, trade("COVER", "10.00000001")),
        (10, trade("TRANSFER_OUT", "-10.00000001")),
        (10, trade("TRANSFER_OUT", "1")),
        (-10, trade("TRANSFER_OUT", "-1")),
        (-10, trade("TRANSFER_OUT", "11")),
        (0, trade("TRANSFER_OUT", "-1")),
        (10, trade("TRANSFER_IN", "-1")),
        (-10, trade("TRANSFER_IN", "1")),
        (0, transaction("DIVIDEND", "X", "0", "1")),
        (0, split("2:1")),
    ],
)
def test_what_does_not_fit_the_holding_is_refused_with_what_is_held(held: int, item: Transaction) -> None:
    with pytest.raises(InsufficientPosition, match=item.transaction_type.value) as caught:
        booked(holding(held), item)
    assert caught.value.cause == {"instrument_id": "X", "held": held, "index": 0}


def test_a_short_is_refused_while_long() -> None:
    with pytest.raises(ShortNotAllowed, match="use SELL") as caught:
        booked(holding(10), trade("SHORT", "-1"))
    assert caught.value.cause == {"instrument_id": "X", "held": 10, "index": 0}


@pytest.mark.parametrize("quantity", ["-10.00000001", "-11"])
def test_a_sell_beyond_what_is_held_is_refused_without_shorts(quantity: str) -> None:
    with pytest.raises(InsufficientPosition) as caught:
        booked(holding(10, allow_short=False), trade("SELL", quantity))
    assert caught.value.cause["held"] == 10


def test_all_that_is_held_can_be_sold_without_shorts() -> None:
    assert booked(holding(10, allow_short=False), sell("10", "5")).positions == {}


@pytest.mark.parametrize(("held", "kind"), [(0, "SHORT"), (10, "SHORT"), (0, "TRANSFER_IN"), (10, "TRANSFER_IN")])
def test_no_short_comes_into_a_portfolio_that_allows_none(held: int, kind: str) -> None:
    with pytest.raises(ShortNotAllowed, match="allows no shorts"):
        booked(holding(held, allow_short=False), trade(kind, "-1"))


@pytest.mark.parametrize(
    ("held", "item"),
    [
        (10, trade("SELL", "-10")),
        (10, trade("SELL", "-1")),
        (-10, trade("BUY", "10")),
        (-10, trade("COVER", "1")),
        (10, trade("TRANSFER_OUT", "-1")),
        (10, transaction("DIVIDEND", "X", "0", "1")),
        (10, split("2:1")),
        (0, deposit("1")),
        (0, transaction("WITHDRAWAL", USD, "-1", "1")),
        (0, transaction("INTEREST", USD, "-1", "1")),
        (0, transaction("FEE", USD, "-1", "1")),
        (0, transaction("TAX", USD, "1", "1")),
    ],
)
def test_liquidating_takes_what_closes_and_cash_entries(held: int, item: Transaction) -> None:
    before = holding(held, status=Status.LIQUIDATING)
    assert booked(before, item).version == before.version + 1


@pytest.mark.parametrize(
    ("held", "item"),
    [
        (0, buy("1", "5")),
        (10, buy("1", "5")),
        (0, trade("SELL", "-1")),
        (-10, trade("SELL", "-1")),
        (10, trade("SELL", "-10.00000001")),
        (-10, trade("BUY", "10.00000001")),
        (0, trade("SHORT", "-1")),
        (-10, trade("SHORT", "-1")),
        (0, trade("TRANSFER_IN", "1")),
        (10, trade("TRANSFER_IN", "1")),
        (-10, trade("TRANSFER_IN", "1")),
    ],
)
def test_liquidating_refuses_what_opens_grows_or_turns_a_position(held: int, item: Transaction) -> None:
    with pytest.raises(StatusForbids, match="closer to zero") as caught:
        booked(holding(held, status=Status.LIQUIDATING), item)
    assert caught.value.cause == {"status": "LIQUIDATING", "instrument_id": "X", "held": held, "index": 0}


def test_liquidating_counts_what_the_same_update_has_already_sold() -> None:
    with pytest.raises(StatusForbids) as caught:
        booked(holding(10, status=Status.LIQUIDATING), sell("6", "5"), sell("5", "5"))
    assert (caught.value.cause["index"], caught.value.cause["held"]) == (1, 4)


@pytest.mark.parametrize("item", [deposit("1"), trade("SELL", "-1"), split("2:1")])
def test_suspended_takes_no_transactions(item: Transaction) -> None:
    with pytest.raises(StatusForbids) as caught:
        booked(holding(10, status=Status.SUSPENDED), item)
    assert caught.value.cause == {"status": "SUSPENDED", "index": 0}


@pytest.mark.parametrize("item", [deposit("1"), buy("1", "1")])
def test_closed_takes_no_transactions(item: Transaction) -> None:
    with pytest.raises(StatusForbids) as caught:
        booked(book_of(status=Status.CLOSED), item)
    assert caught.value.cause == {"status": "CLOSED", "index": 0}


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.CLOSED, Status.LIQUIDATING])
def test_a_malformed_transaction_is_invalid_in_every_status(status: Status) -> None:
    with pytest.raises(PortfolioError) as caught:
        booked(book_of(status=status), buy("-1", "5"))
    assert caught.value.code == "invalid-request"
