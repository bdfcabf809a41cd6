"""What must be true of every book, always."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from portfolio import money
from portfolio.book import Book, Position
from portfolio.errors import Corrupt
from portfolio.ids import InstrumentId
from portfolio.status import Status


def check_book(book: Book, before: Book | None = None) -> None:
    """Raises Corrupt, naming the portfolio and the law that it breaks.

    The identity of ACCOUNTING holds exactly in cash and costs, whatever the marks are:
    cash + costs = net deposits + transfers at cost + realised + income - fees - taxes.
    Of a book that follows `before`, which kept the laws, only the positions that are not the same are looked at.
    """
    known: Mapping[InstrumentId, Position] = before.positions if before is not None else {}
    costs = _sources(before) - before.cash if before is not None else money.ZERO_6
    opened = 0
    for instrument_id in [name for name, held in book.positions.items() if known.get(name) is not held]:
        position = book.positions[instrument_id]
        _check_position(book, position)
        if instrument_id != position.instrument_id:
            raise _broken(book, f"the position of {instrument_id} is filed as {position.instrument_id}")
        costs = money.add(costs, position.cost_basis)
        if instrument_id in known:
            costs = money.add(costs, -known[instrument_id].cost_basis)
        else:
            opened += 1
    if len(known) + opened != len(book.positions):
        for closed in known.keys() - book.positions.keys():
            costs = money.add(costs, -known[closed].cost_basis)
    sources = _sources(book)
    if book.cash + costs != sources:
        raise _broken(book, f"cash {book.cash} and costs {costs} differ from their sources {sources}")
    if book.version < 1:
        raise _broken(book, f"version is {book.version}")
    if book.status is Status.CLOSED and (book.positions or book.cash):
        raise _broken(book, "it is CLOSED and not empty")


def _sources(book: Book) -> Decimal:
    return book.net_deposits + book.transfers_at_cost + book.realized_pnl + book.income - book.fees - book.taxes


def _check_position(book: Book, position: Position) -> None:
    if not position.quantity:
        raise _broken(book, f"{position.instrument_id} is flat and still listed")
    if position.cost_basis and (position.cost_basis > 0) != (position.quantity > 0):
        raise _broken(book, f"{position.instrument_id} has cost {position.cost_basis} for {position.quantity}")
    if not book.allow_short and position.quantity < 0:
        raise _broken(book, f"{position.instrument_id} is short")


def _broken(book: Book, law: str) -> Corrupt:
    return Corrupt(f"portfolio {book.portfolio_id} at version {book.version}: {law}", portfolio_id=book.portfolio_id)
