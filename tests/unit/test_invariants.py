"""A book that breaks a law is found, whichever law it is."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from portfolio.book import Book, Position
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId
from portfolio.invariants import check_book
from portfolio.status import Status
from tests.oracles.builders import X, book_of, buy, transaction
from tests.oracles.playing import play
from tests.oracles.strategies import History, histories

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


@pytest.mark.parametrize(
    "spoil",
    [
        lambda held: replace(held, quantity=Decimal(0)),
        lambda held: replace(held, quantity=-held.quantity),
        lambda held: replace(held, cost_basis=held.cost_basis + Decimal("0.000001")),
        lambda held: replace(held, instrument_id=InstrumentId("OTHER")),
        lambda held: None,
    ],
    ids=["flat", "of the other side", "of another cost", "filed under another name", "gone"],
)
def test_what_differs_from_a_sound_book_is_looked_at(spoil: Callable[[Position], Position | None]) -> None:
    before = book_of(buy("1", "1"), transaction("BUY", "Y", "2", "3"))
    after = book_of(buy("1", "1"), transaction("BUY", "Y", "2", "3"), buy("1", "1"))
    check_book(after, before)
    spoilt = {name: spoil(held) if name == X else held for name, held in after.positions.items()}
    book = replace(after, positions={name: held for name, held in spoilt.items() if held is not None})
    for known in (None, before):
        with pytest.raises(Corrupt):
            check_book(book, known)


@given(histories(steps_max=6))
def test_a_book_is_as_sound_after_another_as_alone(history: History) -> None:
    books = play(history).books
    for before, book in pairwise(books):
        check_book(book, before)
        check_book(book)
        with pytest.raises(Corrupt, match="differ from their sources"):
            check_book(replace(book, cash=book.cash + CENT), before)
