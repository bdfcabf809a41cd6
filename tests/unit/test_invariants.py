"""A book that breaks a law is found, whichever law it is."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from portfolio.book import Book
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId
from portfolio.invariants import check_book
from portfolio.status import Status
from tests.oracles.builders import X, book_of, buy

CENT = Decimal("0.01")


def held(**changes: Any) -> Book:
    """A book with 10 units of X at 100.00, its position changed."""
    book = book_of(buy("10", "10"), cash="500")
    return replace(book, positions={X: replace(book.positions[X], **changes)})


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, CENT) for name in ("cash", "realized_pnl", "income", "fees", "taxes", "net_deposits", "transfers_at_cost")],
)
def test_a_total_that_is_a_cent_off_is_found(name: str, change: Decimal) -> None:
    book = held()
    check_book(book)
    with pytest.raises(Corrupt, match=r"PORTFOLIO-1 at version 3: cash .* differ from their sources"):
        check_book(replace(book, **{name: getattr(book, name) + change}))


@pytest.mark.parametrize(
    ("book", "law"),
    [
        (held(quantity=Decimal(0)), "X is flat and still listed"),
        (held(quantity=Decimal(-10)), "X has cost 100"),
        (held(cost_basis=Decimal("100.000001")), "differ from their sources"),
        (held(instrument_id=InstrumentId("Y")), "the position of X is filed as Y"),
        (replace(book_of(), version=0), "version is 0"),
        (replace(held(), status=Status.CLOSED), "CLOSED and not empty"),
        (replace(book_of(cash="1"), status=Status.CLOSED), "CLOSED and not empty"),
        (replace(book_of(buy("1", "1"), buy("1", "1")), positions={}), "differ from their sources"),
    ],
)
def test_a_broken_book_is_named_with_the_law_it_breaks(book: Book, law: str) -> None:
    with pytest.raises(Corrupt, match=law) as caught:
        check_book(book)
    assert caught.value.cause == {"portfolio_id": "PORTFOLIO-1"}


def test_a_short_in_a_portfolio_that_allows_none_is_found() -> None:
    book = held(quantity=Decimal(-10), cost_basis=Decimal(-100))
    with pytest.raises(Corrupt, match="X is short"):
        check_book(replace(book, allow_short=False))


def test_a_cost_that_rounded_to_nothing_is_no_breach() -> None:
    check_book(book_of(buy("0.00000001", "0.00000001")))
