"""The life of a portfolio."""

from itertools import product

import pytest

from portfolio.decide import decide
from portfolio.entries import StatusChanged
from portfolio.errors import IllegalStatusChange
from portfolio.status import Status
from portfolio.transactions import Transaction
from tests.oracles.builders import NOW, USD, book_of, booked, change, minutes, transaction

LEGAL = {
    (Status.ACTIVE, Status.SUSPENDED),
    (Status.SUSPENDED, Status.ACTIVE),
    (Status.ACTIVE, Status.LIQUIDATING),
    (Status.LIQUIDATING, Status.ACTIVE),
    (Status.LIQUIDATING, Status.CLOSED),
}
ILLEGAL = sorted(set(product(Status, Status)) - LEGAL)


@pytest.mark.parametrize(("old", "new"), sorted(LEGAL))
def test_a_legal_change_is_one_version_and_one_entry(old: Status, new: Status) -> None:
    before = book_of(status=old)
    decision = decide(before, change(new), now=minutes(1))
    assert decision.entries == (
        StatusChanged(
            portfolio_id=before.portfolio_id,
            version=before.version + 1,
            effective_at=minutes(1),
            recorded_at=minutes(1),
            status=new,
        ),
    )
    assert (decision.book.status, decision.book.version, decision.book.last_updated) == (
        new,
        before.version + 1,
        minutes(1),
    )


@pytest.mark.parametrize(("old", "new"), ILLEGAL)
def test_any_other_change_is_refused(old: Status, new: Status) -> None:
    with pytest.raises(IllegalStatusChange, match=f"{old} cannot become {new}") as caught:
        decide(book_of(status=old), change(new), now=NOW)
    assert caught.value.cause == {"status": old}


@pytest.mark.parametrize(
    "asset", [transaction("DEPOSIT", USD, "0.01", "1"), transaction("TRANSFER_IN", "X", "0.00000001", "0")]
)
def test_a_portfolio_with_anything_left_cannot_close(asset: Transaction) -> None:
    book = book_of(asset, status=Status.LIQUIDATING)
    with pytest.raises(IllegalStatusChange, match="cash at zero"):
        decide(book, change(Status.CLOSED), now=NOW)


def test_a_portfolio_with_an_overdraft_cannot_close() -> None:
    book = book_of(transaction("FEE", USD, "-0.01", "1"), status=Status.LIQUIDATING)
    with pytest.raises(IllegalStatusChange, match=r"cash -0\.01"):
        decide(book, change(Status.CLOSED), now=NOW)


def test_a_portfolio_that_was_emptied_can_close() -> None:
    book = book_of(transaction("TRANSFER_IN", "X", "10", "5"), cash="100", status=Status.LIQUIDATING)
    book = booked(book, transaction("SELL", "X", "-10", "7"), transaction("WITHDRAWAL", USD, "-170", "1"))
    closed = decide(book, change(Status.CLOSED), now=NOW).book
    assert closed.status is Status.CLOSED
    assert closed.positions == {}
    assert [str(closed.cash), str(closed.realized_pnl)] == ["0.00", "20.000000"]
